"""Maps of a material: their names, what their values may be, and how normals turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from materials import as_files, heights, material, normals

from pyengine import PyengineError
from pyengine.level import Exemplar
from pyengine.maps import (
    NAMES,
    Limits,
    Map,
    canonical,
    found_in,
    name_in,
    places,
    points_down,
    turned_normals,
    unit,
)

# ---------------------------------------------------------------------- names


def test_every_name_is_of_one_map():
    words = [word for known, (_, others) in NAMES.items() for word in (known, *others)]
    assert len(words) == len(set(words))
    for known, (_, others) in NAMES.items():
        for word in (known, *others):
            assert canonical(word, "exemplar") == canonical(word.upper(), "exemplar") == known
            assert name_in(f"rock_{word}.png") == ("rock", known)
            assert name_in(f"{word.title()}.tif") == ("", known)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rock-normal.png", ("rock", "normal")),
        ("rock normal.png", ("rock", "normal")),
        ("rock.normal.png", ("rock", "normal")),
        ("rock_nor_gl.png", ("rock", "normal")),  # not of a rock_nor
        ("rock_base_color.png", ("rock", "albedo")),
        ("rock_AmbientOcclusion.jpg", ("rock", "occlusion")),
        ("a/b.c/rock_2k_Rough.exr", ("rock_2k", "roughness")),
        ("_normal.png", ("", "normal")),
        ("rocknormal.png", ("rocknormal", None)),
        ("normal_rock.png", ("normal_rock", None)),
        ("abnormal.png", ("abnormal", None)),
        ("rock_normal_2.png", ("rock_normal_2", None)),
        ("rock.png", ("rock", None)),
    ],
)
def test_names_in_files(name, expected):
    assert name_in(name) == expected
    assert name_in(Path(name)) == expected


@pytest.mark.parametrize("name", ["normall", "", "alpha", " normal", None, 3, ("normal",), b"normal", "n" * 1000])
def test_what_is_no_name(name):
    with pytest.raises(PyengineError, match=r"^exemplars\[1\]: there is no map ") as error:
        canonical(name, "exemplars[1]")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_maps_in_a_folder(tmp_path):
    paths = as_files(tmp_path, material(16, 16))
    for other in ("notes.txt", "rock_normal.txt", "preview.png", "rock_normal"):
        (tmp_path / other).write_text("no picture")
    assert found_in(tmp_path) == found_in(str(tmp_path)) == paths
    assert paths["albedo"].rename(tmp_path / "rock_AO.PNG").exists()
    assert [*found_in(tmp_path)] == ["occlusion", "height", "normal", "roughness"]


def test_two_files_of_one_map(tmp_path):
    as_files(tmp_path, material(16, 16))
    as_files(tmp_path, {"disp": heights(16, 16)})
    with pytest.raises(
        PyengineError, match=f"^set {tmp_path}: both rock_disp.png and rock_height.png are the map 'hei"
    ):
        found_in(tmp_path)


def test_a_folder_without_maps(tmp_path):
    (tmp_path / "rock.png").write_bytes(b"")
    with pytest.raises(PyengineError, match=r"no picture there is named as a map, such as rock_albedo\.png"):
        found_in(tmp_path)
    for place in (tmp_path / "none", tmp_path / "rock.png"):
        with pytest.raises(PyengineError, match=f"^set {place}: cannot be read .*: name a folder of maps") as error:
            found_in(place)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "first", "name", "suffix", "expected"),
    [
        ("out.png", "albedo", "normal", None, "out_normal.png"),
        ("out.png", "albedo", "normal", ".exr", "out_normal.exr"),
        ("a/rock_albedo.png", "albedo", "normal", None, "a/rock_normal.png"),
        ("rock_BaseColor.png", "albedo", "roughness", ".jpg", "rock_roughness.jpg"),
        ("albedo.png", "albedo", "normal", None, "normal.png"),
        ("rock_normal.png", "albedo", "height", None, "rock_normal_height.png"),  # another map's name is but a name
        ("rock.v2.png", "albedo", "normal", None, "rock.v2_normal.png"),
        ("rock.v2_albedo.png", "albedo", "normal", None, "rock.v2_normal.png"),
        ("v1.2/rock", "albedo", "normal", ".png", "v1.2/rock_normal.png"),
    ],
)
def test_places_beside_another(path, first, name, suffix, expected):
    read = {first: ".png", name: suffix}
    assert places(path, read) == places(Path(path), read) == {first: Path(path), name: Path(expected)}


def test_a_place_that_is_named_as_another_map():
    with pytest.raises(PyengineError, match=r"^rock_normal\.png: it is named as the map 'normal', and 'albedo' is w"):
        places("rock_normal.png", {"albedo": ".png", "normal": ".png"})


# --------------------------------------------------------------------- values


def test_what_is_nearly_clear_is_clear():
    cut = np.zeros((64, 64), np.float32)
    cut[20:40, 20:50] = 1
    cut[19, 20:50] = 0.5
    noisy = cut + np.random.default_rng(0).normal(0, 0.02, cut.shape).astype(np.float32)
    limited = Limits.of([cut]).of_these(noisy.clip(0, 1))
    assert ((limited == 0) == (cut == 0)).mean() > 0.99
    assert ((limited == 1) == (cut == 1)).mean() > 0.99
    assert abs(limited[19, 20:50].mean() - 0.5) < 0.05
    smooth = np.random.default_rng(1).random((64, 64), np.float32)
    assert np.array_equal(Limits.of([smooth]).of_these(smooth), smooth)


def test_channels_and_what_is_seen_of_them():
    image = np.random.default_rng(0).random((4, 5, 7), np.float32)
    color, data = Map("albedo", "color", 0, 3), Map("height", "data", 6, 1)
    np.testing.assert_array_equal(color.of(image), image[:, :, :3])
    np.testing.assert_array_equal(data.of(image), image[:, :, [6, 6, 6]])
    assert color.of(alone := image[:, :, :3]) is alone
    assert [*map(Map.ranges.fget, (color, data))] == [(slice(0, 3),), (slice(6, 7),)]
    assert Map("normal", "normal", 3, 3).ranges == (slice(3, 5), slice(5, 6))
    assert Map("orm", "packed", 3, 3).ranges == (slice(3, 4), slice(4, 5), slice(5, 6))


def test_limits():
    two = [np.float32([[0, 1, 1]]), np.float32([[0, 0, 0]])]
    between = np.float32([[-1, 0.2, 0.5, 0.51, 3]])
    assert Limits.of(two) == Limits(0, 1, True, 4 / 6, 2 / 6)
    np.testing.assert_array_equal(Limits.of(two).of_these(between), [[0, 0, 0, 1, 1]])
    constant = Limits.of([np.full((2, 3), 0.1, np.float32)])
    np.testing.assert_array_equal(constant.of_these(between), np.full((1, 5), 0.1, np.float32))
    assert not Limits.of([*two, np.float32([[0.25]])]).two
    np.testing.assert_array_equal(Limits(0, 1, False).of_these(between), np.float32([[0, 0.2, 0.5, 0.51, 1]]))
    thirds = Limits.of([np.float32([[0.1, 0.3]])])  # which no double is
    assert {*thirds.of_these(between).ravel()} == {np.float32(0.1), np.float32(0.3)}
    assert thirds.of_these(between).dtype == np.float32


def test_unit_length():
    some = np.random.default_rng(0).random((6, 7, 3), np.float32)
    some[0, 0] = 0.5  # nowhere
    made = unit(some)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(2 * made - 1, axis=2), 1, rtol=1e-6)
    np.testing.assert_array_equal(made[0, 0], [0.5, 0.5, 1])
    cosines = ((2 * made - 1) * (2 * some - 1)).sum(2) / np.linalg.norm(2 * some - 1, axis=2).clip(1e-9)
    np.testing.assert_allclose(np.delete(cosines, 0), 1, rtol=1e-5)
    np.testing.assert_allclose(unit(made), made, atol=1e-7)


# -------------------------------------------------------------------- normals


@pytest.mark.parametrize("steepness", [0.02, 1, 10])
@pytest.mark.parametrize("noise", [0, 0.02])
@pytest.mark.parametrize("down", [False, True])
def test_which_way_normals_point(down, noise, steepness):
    surface = steepness * heights(48, 40) if noise == 0 or steepness >= 1 else heights(48, 40)
    made = normals(surface, down=down)
    made += np.random.default_rng(2).normal(0, noise, made.shape).astype(np.float32)
    assert points_down(made.clip(0, 1)) == down


@pytest.mark.parametrize("down", [False, True])
def test_which_way_normals_of_8_bits_point(down):
    assert points_down((255 * normals(heights(48, 40), down=down)).round().astype(np.float32) / 255) == down


@pytest.mark.parametrize("value", [(0.5, 0.5, 1), (0.5, 0.5, 0.5), (0.2, 0.7, 0.9), (0.5, 0.5, 0)])
def test_flat_normals_point_up(value):
    """Either would do; of these it is told without a warning."""
    assert not points_down(np.full((16, 16, 3), value, np.float32))


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(5))
def test_normals_of_a_turned_surface(quarters, mirrored, down):
    """They are the turned normals, in the turned picture."""
    surface = heights(40, 32)

    def turn(image: np.ndarray) -> np.ndarray:
        return np.rot90(image[:, ::-1] if mirrored else image, quarters)

    own = normals(surface, down=down)
    found = turned_normals(turn(own), quarters, mirrored=mirrored, down=down)
    np.testing.assert_allclose(found, normals(turn(surface), down=down), atol=1e-6)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_exemplar_has_the_normals_of_its_surface(quarters, mirrored, down):
    surface = heights(40, 32)
    image = np.dstack([surface, normals(surface, down=down), 1 - surface])
    maps = (Map("height", "data", 0, 1), Map("normal", "normal", 1, 3), Map("roughness", "data", 4, 1))
    masks = np.stack([surface, 1 - surface])
    turned = Exemplar(image, masks, 2.0, maps).turned(quarters, mirrored=mirrored)
    there = turned.image[:, :, 0]
    np.testing.assert_allclose(turned.image[:, :, 1:4], normals(there, down=down), atol=1e-6)
    np.testing.assert_array_equal(turned.image[:, :, 4], 1 - there)
    np.testing.assert_array_equal(turned.masks, np.stack([there, 1 - there]))
    assert turned.factor == 2.0
    assert turned.size == ((40, 32) if quarters % 2 == 0 else (32, 40))
