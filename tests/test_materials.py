"""Materials: maps of several formats, depths and kinds, made together and written as they were read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pyengine
from pyengine import PyengineError
from pyengine.images.encoding import Data, Encoding
from pyengine.images.reading import load_with_encoding
from pyengine.images.writing import save

SIDE = 32
FAST = {"start": "noise", "levels": 1, "iterations": 2, "threads": 1}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 220, (SIDE, SIDE, 3), dtype=np.uint8)


def normals() -> np.ndarray:
    """Of waves so steep that none points straight up: float (H, W, 3) in [-1, 1]."""
    y, x = np.mgrid[:SIDE, :SIDE] * np.pi / 8
    vectors = np.dstack([np.cos(x), 0.5 + 0.3 * np.sin(y), np.ones((SIDE, SIDE))])
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def values(path: Path) -> tuple[np.ndarray, Encoding]:
    """What a file has, and how."""
    image, _, encoding = load_with_encoding(path, data=True)
    return encoding.curve.decode(image), encoding


@pytest.fixture(scope="module")
def metal(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A JPEG, a TIFF of 16 bits, EXRs of values beyond [0, 1], and PNGs, of which one is three maps."""
    folder = tmp_path_factory.mktemp("metal")
    places = {
        "albedo": folder / "metal_diff.jpg",
        "specular": folder / "metal_spec.png",
        "normal": folder / "metal_nor_gl.exr",
        "height": folder / "metal_disp.exr",
        "glossiness": folder / "metal_gloss.tif",
        "orm": folder / "metal_arm.png",
    }
    Image.fromarray(noise(0)).save(places["albedo"], quality=95)
    Image.fromarray(noise(1)).save(places["specular"])
    save((normals() / 2 + 0.5).astype(np.float32), places["normal"], Encoding("float", False, Data(-1, 1)))
    heights = np.random.default_rng(2).random((SIDE, SIDE), np.float32)
    save(heights, places["height"], Encoding("float", True, Data(-40, 60)))
    save(heights * 0.5 + np.float32(0.25), places["glossiness"], Encoding(16, True))
    packed = noise(3)
    packed[:, :, 0], packed[:, :, 2] = packed[:, :, 0] // 2, np.where(packed[:, :, 2] > 120, 200, 10)
    Image.fromarray(packed).save(places["orm"])
    return places


def test_maps_are_written_as_they_were_read(metal: dict[str, Path], tmp_path: Path) -> None:
    result = pyengine.synthesize(metal, size=40, **FAST)
    result.save(tmp_path / "made.png")
    files = result.files(tmp_path / "made.png")
    assert [path.name for path in files.values()] == [
        "made.png", "made_specular.png", "made_normal.exr", "made_height.exr", "made_glossiness.tif", "made_orm.png",
    ]  # fmt: skip
    for name, path in files.items():
        (before, was), (after, is_now) = values(metal[name]), values(path)
        assert after.shape == (40, 40, 3)
        assert (is_now.depth, is_now.grey) == (was.depth, was.grey)
        if name not in ("albedo", "specular", "normal"):
            slack = 1e-5 * np.ptp(before)
            assert np.all(after.min((0, 1)) >= before.min((0, 1)) - slack)
            assert np.all(after.max((0, 1)) <= before.max((0, 1)) + slack)
    np.testing.assert_allclose(np.linalg.norm(values(files["normal"])[0], axis=2), 1, atol=1e-6)
    metalness = values(files["orm"])[0][:, :, 2]
    assert {*np.unique(np.round(metalness * 255))} == {10, 200}


def test_maps_of_other_sizes_are_refused_in_one_line(metal: dict[str, Path]) -> None:
    with pytest.raises(PyengineError, match=r"^exemplar\['occlusion'\] of 20x16 pixels: 'albedo' has 32x32: make all"):
        pyengine.synthesize({**metal, "ao": np.zeros((16, 20))}, **FAST)


def test_one_map_of_a_name_is_made_alone(metal: dict[str, Path], tmp_path: Path) -> None:
    result = pyengine.synthesize({"normal": metal["normal"]}, **FAST)
    result.save(tmp_path / "n.exr")
    np.testing.assert_allclose(np.linalg.norm(values(tmp_path / "n.exr")[0], axis=2), 1, atol=1e-6)


def test_what_looks_at_one_picture(metal: dict[str, Path]) -> None:
    """The periods of a material are those of its first map, and what is compared is two pictures."""
    assert pyengine.inspect(metal) == pyengine.inspect(metal["albedo"])
    with pytest.raises(PyengineError, match=r"^image: pass a path, .*, not dict$"):
        pyengine.compare(metal["albedo"], metal)  # type: ignore[arg-type]


def test_each_map_is_encoded_by_its_name(metal: dict[str, Path], tmp_path: Path) -> None:
    result = pyengine.synthesize({name: metal[name] for name in ("albedo", "glossiness")}, **FAST)
    result.save(tmp_path / "a.png")
    assert result.encode() == (tmp_path / "a.png").read_bytes()
    assert result.encode(".tif", map="glossiness") == (tmp_path / "a_glossiness.tif").read_bytes()
    with pytest.raises(PyengineError, match=r"^map='normal': choose 'albedo' or 'glossiness'$"):
        result.encode(map="normal")
