"""The quality figures measure what they say."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from conftest import EXAMPLES
from deep_pictures import BRIGHT, HEIGHTS, stored
from PIL import Image

from pyengine.errors import PyengineError
from pyengine.images.masks import band
from pyengine.images.reading import load
from pyengine.images.resampling import resize
from pyengine.quality.copies import copied
from pyengine.quality.distributions import drift, patch_distance
from pyengine.quality.features import self_similarity_distance, style_distance
from pyengine.quality.layouts import layout_similarity
from pyengine.quality.measures import Comparison, compare
from pyengine.quality.order import order
from pyengine.quality.patches import corners_of, nearest, realism
from pyengine.quality.seams import edge_ratio, seam_ratio
from pyengine.wrap import BOTH, Wrap


@pytest.fixture(scope="module")
def gravel() -> np.ndarray:
    return load(EXAMPLES / "gravel.png")


def test_patch_distance_orders_pictures_by_likeness(gravel):
    blurred = (gravel + np.roll(gravel, 1, 0) + np.roll(gravel, 1, 1)) / 3
    noise = np.random.default_rng(0).random(gravel.shape, np.float32)
    images = [gravel, np.roll(gravel, (37, 91), (0, 1)), blurred, noise]
    distances = [patch_distance(gravel, image) for image in images]
    assert distances == sorted(distances)
    assert distances[0] == 0


def test_patch_distance_of_small_images():
    assert patch_distance(np.zeros((16, 16, 3), np.float32), np.zeros((16, 20, 3), np.float32)) == 0


def test_drift_sees_a_shade_and_a_loss_of_contrast(gravel):
    assert drift(gravel, gravel) == (0, 0)
    shade = np.linspace(-0.1, 0.1, 256, dtype=np.float32)[:, None, None]
    assert drift(gravel, gravel + shade)[0] > 8
    brightness, contrast = drift(gravel, gravel.mean() + 0.5 * (gravel - gravel.mean()))
    assert contrast > 5 * brightness


def test_seam_ratio(gravel):
    tiling = np.concatenate([gravel, gravel[::-1]])
    tiling = np.concatenate([tiling, tiling[:, ::-1]], axis=1)
    for axis in ("x", "y"):
        assert seam_ratio(tiling, axis) < 0.1  # mirrored: the border meets itself
        assert 0.5 < seam_ratio(np.random.default_rng(0).random((64, 64, 3), np.float32), axis) < 1.2
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (64, 64, 3))
    assert (seam_ratio(ramp, "x"), seam_ratio(ramp, "y")) == (0, pytest.approx(63, rel=1e-3))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


# ------------------------------------------------------------- edges of masks


def masks(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """A rectangle, a disc and a band, off the middle."""
    rows, columns = np.indices(shape)
    return {
        "rectangle": ((rows // 50 == 1) & (columns // 70 == 1)).astype(np.float32),
        "disc": (np.hypot(rows - 110, columns - 140) < 45).astype(np.float32),
        "band": band(shape, 32, BOTH).astype(np.float32),
    }


@pytest.mark.parametrize("kind", ["rectangle", "disc", "band"])
@pytest.mark.parametrize("name", ["gravel", "buttons", "grass"])
def test_edge_ratio_sees_a_cut(kind, name):
    """Along the edge of what was pasted in, and nowhere else."""
    whole = load(EXAMPLES / f"{name}.png")[:256, :256]
    mask = masks(whole.shape[:2])[kind]
    cut = np.where(mask[:, :, None] > 0, np.roll(whole, (101, 77), (0, 1)), whole)
    assert edge_ratio(whole, mask) < 1.05
    assert edge_ratio(cut, mask) > 1.3
    assert edge_ratio(cut, np.roll(mask, (-9, 7), (0, 1))) < edge_ratio(cut, mask)


def test_edge_ratio_is_that_of_the_means(rng):
    """Along straight edges of a picture of rows: steps of 0.1, and of 0.3 at the edge."""
    rows = np.where(np.arange(40) < 20, 0.1 * (np.arange(40) % 2), 0.3 + 0.1 * (np.arange(40) % 2)) + 0.0
    image = np.broadcast_to(rows[:, None, None], (40, 30, 3)).astype(np.float32)
    mask = np.repeat(np.arange(40) >= 20, 30).reshape(40, 30).astype(np.float32)
    assert edge_ratio(image, mask) == pytest.approx(2)
    assert edge_ratio(image, 1 - mask) == pytest.approx(2)  # white or black inside
    assert edge_ratio(image.transpose(1, 0, 2), mask.T) == pytest.approx(2)
    assert edge_ratio(image, mask * 0.6 + 0.2) == pytest.approx(2)  # soft masks have their edge at a half
    assert edge_ratio(image, np.roll(mask, 1, axis=0)) == pytest.approx(1)  # next to it
    near = image.copy()
    near[22:] += np.float32(0.5)  # as near as this, a step belongs to the joint
    assert edge_ratio(near, mask) == pytest.approx(2)


def test_edge_ratio_needs_an_edge():
    image, mask = noise((32, 40, 3)), np.zeros((32, 40), np.float32)
    for given, expected in [
        (mask, "^mask: all of it is on one side"),
        (mask + 1, "^mask: all of it is on one side"),
        (mask[1:], r"^mask of 40x31 pixels: the image has 40x32, so must it$"),
        ((np.indices((32, 40)).sum(0) % 2).astype(np.float32), "^mask: nothing lies 4 pixels beside its edge"),
    ]:
        with pytest.raises(PyengineError, match=expected):
            edge_ratio(image, given)


# ------------------------------------------------------------ nearest patches


@pytest.mark.parametrize("shape", [(40, 48, 3), (33, 57, 3)])
def test_nearest_patches_are_nearly_the_nearest(gravel, shape):
    """Of one picture in another, against all distances."""
    exemplar, image = gravel[: shape[0], : shape[1]], gravel[100:131, 100:141]
    corners = corners_of(image, 9, 3)
    found, differences = nearest(image, corners, exemplar, 9)
    windows = [np.lib.stride_tricks.sliding_window_view(x, (9, 9), (0, 1)) for x in (image, exemplar)]
    ours = windows[0][corners[:, 0], corners[:, 1]].reshape(len(corners), -1).astype(np.float64)
    theirs = windows[1].reshape(-1, 243).astype(np.float64)
    every = np.sqrt(((ours[:, None] - theirs[None]) ** 2).mean(2))
    at = every[np.arange(len(corners)), found[:, 0] * windows[1].shape[1] + found[:, 1]]
    np.testing.assert_allclose(differences, at, rtol=1e-5)
    assert (differences >= every.min(1) - 1e-6).all()
    assert differences.mean() < 1.02 * every.min(1).mean()


def test_a_patch_is_found_where_it_is(gravel):
    corners = corners_of(gravel[20:, 30:], 15, 40)
    found, differences = nearest(gravel[20:, 30:], corners, gravel, 15)
    np.testing.assert_array_equal(found - corners, np.broadcast_to((20, 30), corners.shape))
    assert not differences.any()


def test_realism_orders_pictures_by_likeness(gravel):
    exemplar = gravel[:128, :128]
    blurred = (exemplar + np.roll(exemplar, 3, 0) + np.roll(exemplar, 3, 1)) / 3
    images = [exemplar[:99, 20:], np.roll(exemplar, (36, 92), (0, 1)), blurred, exemplar[::-1], noise(exemplar.shape)]
    found = [realism(exemplar, image) for image in images]
    assert found == sorted(found)
    assert found[0] < 0.05


def test_realism_is_in_levels_of_255():
    grey = np.full((64, 64, 3), 0.5, np.float32)
    assert realism(grey, grey + np.float32(12 / 255)) == pytest.approx(12, abs=1e-3)


def test_what_is_left_out(gravel):
    """Half of the exemplar is paper, and there is none in the image."""
    both = gravel[:64, :128].copy()
    both[:, 64:] = 1
    found = compare(both, both[:, :64])
    assert found.realism < 0.05
    assert found.left_out > 20
    assert compare(both[:, :64], both).left_out < 0.05


# --------------------------------------------------------------------- copies


def test_a_copy_is_copied(gravel):
    assert copied(gravel, gravel) == 1
    assert copied(gravel, gravel[31:160, 17:99]) == 1
    assert 0.85 < copied(gravel, np.roll(gravel, (100, 77), (0, 1))) < 1  # but for the patches on the cuts
    assert copied(gravel, gravel[::-1]) == copied(gravel, gravel.transpose(1, 0, 2)) == 0


def test_copies_differ_a_little(gravel):
    crop, grain = gravel[:128, :128], np.random.default_rng(0).standard_normal((128, 128, 3)).astype(np.float32)
    assert copied(gravel, crop + grain * np.float32(3 / 255)) == 1
    assert copied(gravel, crop + grain * np.float32(6 / 255)) == 0


def test_only_pieces_are_copied(gravel):
    image = noise((96, 96, 3))
    image[10:42, 20:52] = gravel[50:82, 90:122]  # 32 pixels on a side: 6 or 7 patches of 9 pixels, 4 apart
    assert copied(gravel, image) == 36 / 22**2
    image[60:92, 8:40] = gravel[150:182, 20:52]
    assert copied(gravel, image) == 72 / 22**2  # two pieces, each in its own way
    image[60:92, 8:40] = noise((32, 32, 3), 2)
    image[10:42, 36:52] = noise((32, 16, 3), 1)
    assert copied(gravel, image) == 0
    image[10:42, 36:52] = gravel[150:182, 90:106]  # together as large, but not in one way
    assert copied(gravel, image) == 0


def test_paper_is_no_copy():
    paper = 0.9 + 0.01 * noise((64, 64, 3))
    assert copied(paper, 0.9 + 0.01 * noise((64, 64, 3), 1)) == 0
    assert copied(np.ones_like(paper), np.ones_like(paper)) == 0


def test_a_layout_that_is_copied(gravel):
    """Detail is new, and what is large stands where it stood."""
    exemplar = gravel[:128, :128]
    found = compare(exemplar, (exemplar + np.float32(0.2) * (noise(exemplar.shape) - 0.5)).clip(0, 1))
    assert found.copied == 0
    assert found.copied_layout > 0.9
    assert compare(exemplar, np.rot90(exemplar, 2)).copied_layout == 0


def test_too_small_to_hold_a_piece(gravel):
    for height, width, has_pieces, has_layout in [(23, 96, False, False), (24, 24, True, False), (96, 99, True, True)]:
        crop, whole = gravel[:height, :width], gravel[:100, :100]
        for found in (compare(whole, crop), compare(crop, whole)):
            assert (found.copied is not None, found.copied_layout is not None) == (has_pieces, has_layout)


# ---------------------------------------------------------------------- order


@pytest.fixture(scope="module")
def lattice() -> np.ndarray:
    """Blobs of different brightness, 24 pixels from one another, every other row set off."""
    rows, columns = np.indices((192, 216)).astype(np.float32)
    columns += 12 * (rows // 24 % 2)
    blob = np.exp(-((rows % 24 - 12) ** 2 + (columns % 24 - 12) ** 2) / 30)
    return (blob[:, :, None] * np.float32([0.9, 0.7, 0.2]) + 0.1 * noise((192, 216, 3))).astype(np.float32)


def test_order_is_kept_by_a_shift(lattice):
    assert order(lattice, lattice) == 1
    assert order(lattice, np.roll(lattice, (17, 31), (0, 1))) > 0.97
    assert order(lattice, lattice[7:151, 30:170]) > 0.95
    assert order(lattice, 0.2 + 0.5 * lattice) > 0.99


def test_order_is_lost_by_degrees(lattice):
    sheared = np.stack([np.roll(row, y // 2, axis=0) for y, row in enumerate(lattice)])
    grain = 0.7 * lattice + 0.3 * noise(lattice.shape, 3)
    scattered = lattice.reshape(8, 24, 9, 24, 3).transpose(0, 2, 1, 3, 4).reshape(72, 24, 24, 3)
    scattered = np.stack([np.roll(tile, tuple(np.random.default_rng(k).integers(0, 24, 2)), (0, 1)) for k, tile in
                          enumerate(scattered)])  # fmt: skip
    scattered = scattered.reshape(8, 9, 24, 24, 3).transpose(0, 2, 1, 3, 4).reshape(lattice.shape)
    found = [order(lattice, image) for image in (lattice, grain, sheared, scattered, noise(lattice.shape))]
    assert found == sorted(found, reverse=True)
    assert found[1] > 0.6
    assert max(found[2:]) < 0.4


def test_order_allows_for_three_per_cent(lattice):
    height, width = lattice.shape[:2]
    for factor, at_least, at_most in [(0.98, 0.8, 1), (0.85, 0, 0.5)]:
        scaled = resize(lattice, (round(factor * width), round(factor * height)))
        assert at_least <= order(lattice, scaled) <= at_most


def test_order_where_there_is_none(lattice, gravel):
    assert order(noise((64, 64, 3)), lattice) is None
    assert order(np.full((64, 64, 3), 0.5, np.float32), lattice) is None
    assert order(gravel, gravel) is None
    assert order(lattice, np.full_like(lattice, 0.5)) == 0
    assert order(lattice, lattice[:20, :20]) is None  # no shift of the exemplar's finds room


# ----------------------------------------------------------------- all of them


@pytest.mark.parametrize("shape", [(15, 64, 3), (64, 15, 3), (1, 1, 3)])
def test_images_too_small_to_measure(gravel, shape):
    small, size = np.zeros(shape, np.float32), f"{shape[1]}x{shape[0]} pixels: .* at least 16$"
    for figure in (patch_distance, drift, realism, order, compare):
        with pytest.raises(PyengineError, match=f"^image of {size}"):
            figure(gravel, small)
        with pytest.raises(PyengineError, match=f"^exemplar of {size}"):
            figure(small, gravel)
    for figure in (lambda image: seam_ratio(image, "x"), lambda image: edge_ratio(image, np.zeros(shape[:2]))):
        with pytest.raises(PyengineError, match=f"^image of {size}"):
            figure(small)


@pytest.mark.filterwarnings("error")
def test_smallest_images(gravel):
    small = gravel[:16, :16]
    found = asdict(compare(small, small))
    assert found == {**found, **dict.fromkeys(("patch_distance", "brightness_drift", "contrast_drift", "realism"), 0)}
    assert (found["left_out"], found["copied"], found["copied_layout"], found["edge_ratio"]) == (0, None, None, None)
    numbers = [value for value in asdict(compare(gravel, small)).values() if value is not None]
    assert np.isfinite(numbers).all()


def test_compare_has_every_figure(gravel):
    exemplar, image = gravel[:64, :64], gravel[64:165, :97] * np.float32(0.9)
    brightness, contrast = drift(exemplar, image)
    assert min(brightness, contrast) > 0
    expected = Comparison(
        patch_distance(exemplar, image),
        brightness,
        contrast,
        realism(exemplar, image),
        realism(image, exemplar),
        order(exemplar, image),
        copied(exemplar, image),
        None,
        seam_ratio(image, "x"),
        seam_ratio(image, "y"),
        None,
    )
    assert compare(exemplar, image) == expected
    mask = (np.indices(image.shape[:2]).sum(0) < 90).astype(np.float32)
    assert compare(exemplar, image, mask=mask) == replace(expected, edge_ratio=edge_ratio(image, mask))
    for seamless in ("xy", "x", "y"):
        made = band(image.shape[:2], 12, Wrap.of(seamless)).astype(np.float32)
        assert compare(exemplar, image, seamless=seamless) == replace(expected, edge_ratio=edge_ratio(image, made))
    with pytest.raises(PyengineError, match=r"^mask and seamless: give one of them"):
        compare(exemplar, image, mask=mask, seamless="x")


def test_compare_odd_sizes_and_grey_pictures(gravel):
    grey = (255 * gravel[:35, :51, 0]).round().astype(np.uint8)
    found = compare(grey, grey[1:, 3:])
    assert found == compare(np.repeat(grey[:, :, None], 3, axis=2), grey[1:, 3:, None])
    assert (found.realism, found.copied) == (0, 1)
    assert found.left_out > 0


def test_compare_loads_what_the_engine_loads(gravel, tmp_path):
    levels = (255 * gravel).round().astype(np.uint8)
    exemplar, image = tmp_path / "exemplar.png", tmp_path / "image.png"
    Image.fromarray(levels[:64, :48]).save(exemplar)
    Image.fromarray(levels[64:128, :64]).save(image)
    found = compare(exemplar, image)
    assert found == compare(str(exemplar), Image.open(image)) == compare(gravel[:64, :48], levels[64:128, :64])


def test_compare_says_which_image_is_at_fault(gravel, tmp_path):
    with pytest.raises(PyengineError, match=r"^exemplar .*a\.png: no such file"):
        compare(tmp_path / "a.png", gravel)
    with pytest.raises(PyengineError, match=r"^image .*b\.png: no such file"):
        compare(gravel, tmp_path / "b.png")
    with pytest.raises(PyengineError, match=r"^image of 13x20 pixels"):
        compare(gravel, np.zeros((20, 13), np.uint8))
    with pytest.raises(PyengineError, match=r"^mask .*c\.png: no such file"):
        compare(gravel, gravel, mask=tmp_path / "c.png")
    with pytest.raises(PyengineError, match=r"^mask of 20x20 pixels"):
        compare(gravel, gravel, mask=np.eye(20))


def test_compare_leaves_its_arguments_alone(gravel):
    exemplar = gravel[:32, :32]
    before = exemplar.copy()
    compare(exemplar, exemplar)
    np.testing.assert_array_equal(exemplar, before)


def test_layout_similarity_sees_outlines_not_colours(gravel):
    blurred = resize(resize(gravel, (64, 64)), (256, 256))
    inverted = 1 - gravel
    assert layout_similarity(gravel, gravel) == pytest.approx(1)
    assert layout_similarity(gravel, inverted) == pytest.approx(1, abs=1e-3)
    assert 0.5 < layout_similarity(gravel, blurred) < 1
    assert abs(layout_similarity(gravel, np.roll(gravel, (100, 77), (0, 1)))) < 0.2
    assert layout_similarity(gravel, np.full_like(gravel, 0.5)) == 0


# ------------------------------------------------------------------ transfers


@pytest.fixture(scope="module")
def content() -> np.ndarray:
    return resize(load(EXAMPLES / "portrait.jpg"), (96, 96))


@pytest.fixture(scope="module")
def style() -> np.ndarray:
    return resize(load(EXAMPLES / "strokes.png"), (96, 96))


@pytest.fixture(scope="module")
def transfers(engine, content, style) -> dict[float, np.ndarray]:
    """By strength of the content."""
    made = {}
    for strength in (0.3, 3):
        made[strength] = load(engine.synthesize(style, content=content, content_strength=strength, iterations=25).image)
    return made


def test_style_distance_orders_pictures_by_style(content, style, transfers):
    images = [style, style[:, ::-1], transfers[0.3], transfers[3], content, noise(style.shape)]
    distances = [style_distance(style, image) for image in images]
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert distances[2] < 0.5 * distances[4]


def test_figures_of_what_is_left_order_pictures_by_content(content, style, transfers):
    images = [content, transfers[3], transfers[0.3], noise(style.shape)]
    layouts = [layout_similarity(content, image) for image in images]
    distances = [self_similarity_distance(content, image) for image in images]
    assert layouts == sorted(layouts, reverse=True)
    assert distances == sorted(distances)
    assert (layouts[0], distances[0]) == (pytest.approx(1), 0)
    assert abs(layouts[-1]) < 0.1
    assert distances[2] < 0.8 * distances[3]
    assert self_similarity_distance(content, style) > distances[2]  # it has things, but others


def test_self_similarity_knows_no_colours(content):
    """What is alike stays alike in a negative, or where it is paler; not where it stands elsewhere."""
    moved = self_similarity_distance(content, content[:, ::-1])
    assert self_similarity_distance(content, 0.5 * content + 0.2) < 0.6 * moved
    assert np.isfinite(self_similarity_distance(content, np.full_like(content, 0.5)))
    flat = [np.full_like(content, level) for level in (0.2, 0.7)]
    assert self_similarity_distance(*flat) < 0.1 * moved


def test_features_of_large_and_small_pictures(style):
    """Large ones are seen in pieces, and small ones as they are."""
    tall = np.concatenate([style[:40, :20]] * 14)  # 560 pixels
    assert style_distance(tall, tall) == self_similarity_distance(tall, tall) == 0
    assert style_distance(tall[:280], tall) < 0.1
    assert style_distance(style[:16, :16], style[:16, :16]) == 0
    assert self_similarity_distance(style[:, :16], tall[:, :16]) > 0


def test_compare_with_a_content(content, style):
    """The style is measured at the size that a transfer sees."""
    image = resize(content, (60, 48))
    found = compare(style, image, content=content)
    expected = resize(style, (54, 54))
    assert found == replace(
        compare(expected, image),
        style_distance=style_distance(expected, image),
        layout_similarity=layout_similarity(content, image),
        self_similarity_distance=self_similarity_distance(content, image),
    )
    assert compare(style[:40, :40], image, content=content).patch_distance == patch_distance(style[:40, :40], image)
    assert found.layout_similarity > 0.9
    with pytest.raises(PyengineError, match=r"^content of 20x13 pixels"):
        compare(style, image, content=np.zeros((13, 20), np.uint8))
    with pytest.raises(PyengineError, match=r"^content .*c\.png: no such file"):
        compare(style, image, content="c.png")


@pytest.mark.parametrize("shape", [(15, 64, 3), (64, 15, 3)])
def test_pictures_too_small_for_features(content, shape):
    small, size = np.zeros(shape, np.float32), f"of {shape[1]}x{shape[0]} pixels: .* at least 16$"
    for figure, first in ((style_distance, "style"), (self_similarity_distance, "content")):
        with pytest.raises(PyengineError, match=f"^image {size}"):
            figure(content, small)
        with pytest.raises(PyengineError, match=f"^{first} {size}"):
            figure(small, content)


def test_light_and_heights_are_compared_by_their_values(tmp_path):
    """Not by how each file's range was brought to [0, 1]."""
    bright = stored(tmp_path / "bright.exr", BRIGHT)
    dim = stored(tmp_path / "dim.exr", BRIGHT / 10)
    assert compare(bright, bright).brightness_drift == 0
    assert compare(bright, dim).brightness_drift > 20
    heights = [stored(tmp_path / f"{k}.exr", HEIGHTS + k) for k in (0, 10)]
    assert compare(*heights).brightness_drift > 20
