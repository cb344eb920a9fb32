"""A picture laid out from patches of its exemplars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import EXAMPLES, WRAPS
from scipy.ndimage import gaussian_filter

import pyengine
from pyengine import Engine, Recipe
from pyengine.images.masks import band
from pyengine.images.reading import load
from pyengine.images.resampling import resize
from pyengine.images.writing import to_uint8
from pyengine.kernels.cpu import CpuKernels
from pyengine.level import Exemplar, Level
from pyengine.patches import Layout, lay_out
from pyengine.quality.order import order
from pyengine.quality.seams import seam_ratio
from pyengine.wrap import BOTH, NEITHER, Wrap


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def lay(size: tuple[int, int], *exemplars: Exemplar | np.ndarray, seed: int = 0, threads: int = 2) -> Layout:
    made = tuple(e if isinstance(e, Exemplar) else Exemplar(e) for e in exemplars)
    return lay_out(Level(size, made), np.random.default_rng(seed), CpuKernels(threads))


def taken(layout: Layout, *images: np.ndarray) -> np.ndarray:
    """The pixels that a layout says it took."""
    result = np.empty_like(layout.image)
    for k, image in enumerate(images):
        here = layout.origins[:, :, 0] == k
        result[here] = image[layout.origins[here, 1], layout.origins[here, 2]]
    return result


@pytest.mark.parametrize(
    ("exemplar", "size"),
    [
        ((16, 16), (16, 16)),
        ((16, 200), (40, 31)),
        ((37, 50), (16, 90)),
        ((64, 64), (64, 64)),
        ((64, 65), (130, 71)),
        ((1, 1), (20, 16)),  # an exemplar of a recipe is larger, but at style_scale=0.01
        ((3, 40), (16, 16)),
    ],
)
def test_pixels_are_those_of_their_origins(exemplar, size):
    image = noise(*exemplar)
    layout = lay(size, image)
    assert layout.image.shape == (size[1], size[0], 3)
    assert layout.image.dtype == np.float32
    np.testing.assert_array_equal(layout.image, taken(layout, image))


def test_exemplars_of_which_one_is_large():
    """It has more patches than are looked at at a time, of which there are then none of the other."""
    images = [noise(140, 140), noise(16, 16)]
    layout = lay((16, 16), *images)
    np.testing.assert_array_equal(layout.image, taken(layout, *images))


def test_a_seed_gives_the_same_bits_whatever_the_threads(natural):
    first = lay((70, 64), natural, seed=3, threads=1)
    for threads in (2, 5):
        again = lay((70, 64), natural, seed=3, threads=threads)
        np.testing.assert_array_equal(again.image, first.image)
        np.testing.assert_array_equal(again.origins, first.origins)
    assert not np.array_equal(lay((70, 64), natural, seed=4).image, first.image)


def test_what_is_taken_fits_together_also_across_the_border(natural):
    """Neighbours come from neighbours, far more than by chance, and no less where the output wraps round."""
    layout = lay((96, 64), natural)

    def together(axis: int) -> np.ndarray:
        step = np.array([0, axis == 0, axis == 1])
        return (np.roll(layout.origins, -1, axis) == layout.origins + step).all(2)

    down, across = together(0), together(1)
    inside = (down[:-1].mean() + across[:, :-1].mean()) / 2
    assert inside > 0.25
    assert (down[-1].mean() + across[:, -1].mean()) / 2 > 0.6 * inside


@pytest.mark.parametrize("seed", range(3))
def test_a_lattice_goes_on(seed):
    """Of small squares on a ground, whose period divides the output's side."""
    y, x = np.mgrid[:64, :80]
    image = np.repeat(((y % 8 < 3) & ((x + y // 8 % 2 * 8) % 16 < 5))[:, :, None], 3, 2).astype(np.float32)
    found = lay((96, 64), image, seed=seed).image
    for shift in ((16, 0), (0, 16), (8, 8)):
        assert np.abs(np.roll(found, shift, (0, 1)) - found).mean() < 0.1  # 0.2 where there is no order
    assert found.mean() == pytest.approx(image.mean(), rel=0.1)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_layout_begins_in_phase_with_a_lattice(seed):
    """Of bricks in running bond, unevenly tinted: begun anywhere, courses do not meet (an order of 0.5 to 0.7)."""
    y, x = np.mgrid[:96, :96]
    bricks = ((y % 12 > 1) & ((x + y // 12 * 12) % 24 > 1))[:, :, None]
    image = np.float32(0.6) * bricks + np.float32(0.4) * resize(noise(24, 24), (96, 96))
    assert order(image, lay((96, 96), image, seed=seed).image) > 0.9


@pytest.mark.parametrize(("wrap", "size"), [(NEITHER, (89, 103)), (Wrap.of("x"), (96, 103)), (Wrap.of("y"), (89, 96))])
def test_periods_need_not_fit_where_a_layout_does_not_wrap_round(wrap, size):
    """Of the same bricks, which a side that does not tile cuts anywhere."""
    y, x = np.mgrid[:96, :96]
    bricks = ((y % 12 > 1) & ((x + y // 12 * 12) % 24 > 1))[:, :, None]
    image = np.float32(0.6) * bricks + np.float32(0.4) * resize(noise(24, 24), (96, 96))
    level = Level(size, (Exemplar(image),), wrap=wrap)
    for seed in (0, 1, 2):
        assert order(image, lay_out(level, np.random.default_rng(seed), CpuKernels(1)).image) > 0.9


def test_of_several_beginnings_the_best_goes_on():
    """Of two exemplars, where a lattice is no help: with the first, an order of 0.7 on an average."""
    y, x = np.mgrid[:64, :64]
    image = (np.hypot(y % 16 - 8, x % 16 - 8) < 5)[:, :, None] * resize(noise(8, 8), (64, 64))
    found = [order(image, lay((64, 64), image, image[::-1].copy(), seed=seed).image) for seed in (0, 3, 5)]
    assert np.mean(found) > 0.85


def test_at_a_large_scale_patches_follow_their_neighbours(natural):
    """Where two neighbours are not from one place, there is a seam: if they stay as they were, at half of all."""
    layout = lay((208, 200), resize(natural, (64, 64)))
    for axis in (0, 1):
        beside = layout.origins + np.array([0, axis == 0, axis == 1])
        assert (np.roll(layout.origins, -1, axis) == beside).all(2).mean() > 0.7


def test_colours_are_as_frequent_as_in_the_exemplar():
    """Also those of whole things, of which there are few: less than half as far off as if nobody saw to it."""
    y, x = np.mgrid[:64, :64]
    image = np.ones((64, 64, 3), np.float32)
    discs = {
        (12, 12): (1, 0, 0),
        (14, 44): (0, 1, 0),
        (44, 15): (0, 0, 1),
        (46, 46): (0.9, 0.8, 0),
        (30, 30): (1, 0, 0),
    }
    for (row, column), colour in discs.items():
        image[np.hypot(y - row, x - column) < 8] = colour
    expected = np.sort(image.reshape(-1, 3), axis=0)
    for seed in range(2):
        found = np.sort(lay((64, 64), image, seed=seed).image.reshape(-1, 3), axis=0)
        assert np.abs(found - expected).mean() < 0.02


def shares(first: float, second: float) -> tuple[float, float]:
    """How much of a picture is from each of two exemplars of these weights; from one that has none, nothing is."""
    images = [resize(noise(12, 12, seed), (48, 48)) for seed in (1, 2, 3)]
    layout = lay((64, 64), *map(Exemplar, images, (None,) * 3, (first, 0.0, second)))
    np.testing.assert_array_equal(layout.image, taken(layout, *images))
    one, none, other = (float(np.mean(layout.origins[:, :, 0] == k)) for k in range(3))
    assert none == 0
    return one, other


def test_exemplars_are_used_alike_or_by_their_weights():
    assert min(shares(1, 1)) > 0.3
    assert shares(3, 1)[0] > 0.6
    assert shares(1, 3)[1] > 0.6


@pytest.mark.parametrize(
    "hole", [(slice(10, 40), slice(20, 50)), (slice(0, 64), slice(0, 58)), (slice(0, 63), slice(0, 64))]
)
def test_what_does_not_count_is_not_taken(hole):
    image, mask = noise(64, 64), np.ones((1, 64, 64), np.float32)
    mask[0][hole] = 0
    layout = lay((64, 48), Exemplar(image, mask))
    assert mask[0][layout.origins[:, :, 1], layout.origins[:, :, 2]].all()
    np.testing.assert_array_equal(layout.image, taken(layout, image))


def test_what_is_rare_is_found_again():
    y, x = np.mgrid[:64, :64]
    image = np.repeat((np.hypot(y - 30, x - 35) < 5)[:, :, None], 3, 2).astype(np.float32)  # 2 % of it
    for seed in range(3):
        assert lay((64, 64), image, seed=seed).image.mean() == pytest.approx(image.mean(), rel=0.5)


def counted(layout: Layout, k: int, shape: tuple[int, int], known: np.ndarray | None = None) -> np.ndarray:
    """How often each pixel of an exemplar was taken, through a Gaussian of 3 pixels, against the mean of known ones."""
    counts, ones = np.zeros(shape), np.ones(shape)
    for number, row, column in layout.origins.reshape(-1, 3):
        if number == k:
            counts[row, column] += 1
    seen = gaussian_filter(counts, 3)
    return seen / np.average(seen, weights=ones if known is None else known)


def test_exemplars_count_half_by_their_use(natural):
    images = natural[:48, :40], natural[40:, 30:]
    layout = lay((50, 33), Exemplar(images[0]), Exemplar(natural, factor=0), Exemplar(images[1], factor=3))
    assert (layout.used[1] == 0.5).all()
    for k, image in ((0, images[0]), (2, images[1])):
        used = layout.used[k]
        assert used.dtype == np.float32
        np.testing.assert_allclose(used, 0.5 + counted(layout, k, image.shape[:2]) / 2, rtol=1e-5)
        assert used.max() > 1.2


# ---------------------------------------------------------- holes and bands


def lattice(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.repeat(((y % 8 < 3) & ((x + y // 8 % 2 * 8) % 16 < 5))[:, :, None], 3, 2).astype(np.float32)


def lay_around(picture: np.ndarray, free: np.ndarray, needed: np.ndarray | None = None, seed: int = 0) -> Layout:
    """Lay out what is made of a picture, from what is known of it."""
    unknown = free if needed is None else needed
    exemplar = Exemplar(np.where(unknown[:, :, None], 0.5, picture).astype(np.float32), ~unknown[None] * np.float32(1))
    level = Level(picture.shape[1::-1], (exemplar,), picture=picture, free=free, needed=needed)
    layout = lay_out(level, np.random.default_rng(seed), CpuKernels(2))
    made = free if layout.made is None else layout.made
    np.testing.assert_array_equal(layout.image[~made], picture[~made])
    np.testing.assert_array_equal(layout.origins[~made], -1)
    np.testing.assert_array_equal(layout.image[made], taken(layout, exemplar.image)[made])
    assert not unknown[layout.origins[made, 1], layout.origins[made, 2]].any()
    return layout


def test_without_wrapping_round_nothing_is_taken_from_the_opposite_side():
    """A hole at the left border of a ramp: what fits there is dark; the right border is bright."""
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0).repeat(3, axis=2)
    free = np.zeros((64, 64), np.bool_)
    free[20:44, :10] = True
    masks = (~free)[None].astype(np.float32)
    level = Level((64, 64), (Exemplar(ramp, masks),), picture=ramp, free=free)
    found = {
        wrap: lay_out(replace(level, wrap=wrap), np.random.default_rng(0), CpuKernels(1)).image[free] for wrap in WRAPS
    }
    for wrap, image in found.items():
        assert image.max() > 0.9 if wrap.x else image.max() < 0.6, wrap


@pytest.mark.parametrize(("wraps", "ends"), [("x", "y"), ("y", "x")])
def test_a_layout_tiles_in_the_axis_that_wraps_round(wraps, ends):
    """In the other, the opposite border is any: a step as sharp as the sharpest inside."""
    gravel = resize(load(EXAMPLES / "gravel.png")[:160, :160], (64, 64))
    level = Level((56, 48), (Exemplar(gravel),), wrap=Wrap.of(wraps))
    images = [lay_out(level, np.random.default_rng(seed), CpuKernels(1)).image for seed in range(4)]
    seams = {axis: np.mean([seam_ratio(image, axis) for image in images]) for axis in ("x", "y")}
    assert seams[wraps] < 0.85 * seams[ends]


@pytest.mark.parametrize("size", [(16, 16), (33, 18), (40, 64)])
def test_without_wrapping_round_all_is_laid_out(natural, size):
    layout = lay_out(Level(size, (Exemplar(natural[:48, :40]),), wrap=NEITHER), np.random.default_rng(0), CpuKernels(1))
    assert (layout.origins[:, :, 1:] >= 0).all()
    assert (layout.origins[:, :, 1:] < (48, 40)).all()


@pytest.mark.parametrize("seed", range(2))
def test_a_lattice_goes_on_through_a_hole(seed):
    image, free = lattice(64, 80), np.zeros((64, 80), bool)
    free[20:45, 15:42] = free[50:53, 70:] = free[50:53, :3] = True  # one of them at the border
    layout = lay_around(image, free, seed=seed)
    assert np.abs(layout.image - image)[free].mean() < 0.1
    assert layout.made is None


def test_for_a_hole_what_was_found_for_it_counts_alone(natural):
    free = np.zeros((64, 64), bool)
    free[40:52, 20:30] = True
    layout = lay_around(resize(natural, (64, 64)), free)
    (used,) = layout.used
    np.testing.assert_allclose(used, np.maximum(counted(layout, 0, (64, 64), ~free), 1e-3), rtol=1e-5)
    assert (used < 0.01).mean() > 0.1  # where nothing was taken


def test_for_a_hole_an_exemplar_that_nothing_is_taken_from_counts_not(natural):
    picture = resize(natural, (64, 64)) / 4
    free = np.zeros((64, 64), bool)
    free[30:40, 20:30] = True
    known = Exemplar(picture, ~free[None] * np.float32(1))
    level = Level((64, 64), (known, Exemplar(1 - picture)), picture=picture, free=free)
    layout = lay_out(level, np.random.default_rng(0), CpuKernels(1))
    assert (layout.origins[free][:, 0] == 0).all()
    assert layout.used[1].max() <= 1e-3
    assert (layout.used[0] * ~free).sum() == pytest.approx((~free).sum() + free.size, rel=0.05)


def test_a_hole_of_a_pixel_and_all_but_one(natural):
    for side in (1, 62):
        free = np.zeros((64, 64), bool)
        free[1 : 1 + side, 1 : 1 + side] = True
        lay_around(resize(natural, (64, 64)), free)


def test_a_band_leaves_the_picture_where_it_has_to():
    free, needed = band((64, 80), 12, BOTH), band((64, 80), 4, BOTH)
    tiles = lay_around(lattice(64, 80), free, needed).made
    assert tiles is not None
    assert tiles[needed].all()
    assert not tiles[~free].any()
    assert tiles.sum() < (free.sum() + needed.sum()) / 2  # there is no need to leave it
    spots = resize(noise(16, 20), (80, 64))
    other = lay_around(spots, free, needed).made
    assert other is not None
    assert tiles.sum() < other.sum() < 0.8 * free.sum() + 0.2 * needed.sum()


# ------------------------------------------------------------------- layouts


def test_regions_are_laid_out_from_their_own_also_where_they_are_narrow():
    y, x = np.mgrid[:64, :64]
    painted = np.where(x < 30, 0, np.where(y < 30, 1, 2))
    image = noise(64, 64)
    wanted = np.where(abs(y - x) < 2, 1, np.where(np.hypot(y - 20, x - 44) < 9, 2, 0))
    masks, output = (np.stack([labels == k for k in range(3)]).astype(np.float32) for labels in (painted, wanted))
    level = Level((64, 64), (Exemplar(image, masks),), ("1", "2", "3"), output)
    layout = lay_out(level, np.random.default_rng(0), CpuKernels(2))
    np.testing.assert_array_equal(painted[layout.origins[:, :, 1], layout.origins[:, :, 2]], wanted)
    np.testing.assert_array_equal(layout.image, taken(layout, image))


def test_a_border_is_like_the_exemplars():
    """A red line goes along the border between two regions of grey in the exemplar, and so it does in the layout."""
    x = np.arange(64)[None].repeat(64, 0)
    image = np.full((64, 64, 3), 0.5, np.float32)
    image[:, 26:29] = (1, 0, 0)
    left = (x < 32)[None].astype(np.float32)
    masks = np.concatenate([left, 1 - left])
    level = Level((64, 64), (Exemplar(image, masks),), ("1", "2"), np.roll(masks, 12, 2))
    red = (lay_out(level, np.random.default_rng(0), CpuKernels(2)).image == (1, 0, 0)).all(2)
    assert red[:, 38:41].mean() > 0.9


def test_a_region_of_which_no_patch_is_left():
    masks = np.zeros((2, 64, 64), np.float32)
    masks[0] = 1
    masks[:, 0, 0] = (0, 1)
    level = Level((64, 64), (Exemplar(noise(64, 64), masks),), ("1", "2"), masks[:, ::-1, ::-1].copy())
    layout = lay_out(level, np.random.default_rng(0), CpuKernels(2))
    np.testing.assert_array_equal(layout.image, taken(layout, level.exemplars[0].image))


# ------------------------------------------------------------------- in a run


def test_a_run_starts_from_it(natural, engine):
    result = engine.synthesize(natural, size=(80, 72), levels=1, iterations=0, seed=5)
    np.testing.assert_array_equal(result.image, to_uint8(lay((80, 72), natural, seed=5).image))
    assert result.timings["start"] > 0
    other = engine.synthesize(natural, start="noise", size=(80, 72), levels=1, iterations=0, seed=5)
    assert "start" not in other.timings
    assert not np.array_equal(other.image, result.image)


def test_threads_and_recipes_make_the_same_picture(natural, tmp_path):
    pyengine.synthesize(to_uint8(natural[:64, :64]), iterations=2, threads=1).save(tmp_path / "a.png")
    recipe = Recipe.from_json((Recipe.create(tmp_path / "a.png", iterations=2)).to_json())
    assert recipe.start == "patches"
    with Engine(threads=1) as engine:
        first = engine.run(recipe)
        assert np.array_equal(first.image, engine.run(recipe).image)


def test_what_is_transparent_is_not_taken(engine):
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, :32] = (200, 100, 50, 255)
    image[:, 32:] = (0, 255, 0, 0)
    result = engine.synthesize(image, start="patches", iterations=0, alpha="mask")
    assert (result.image == (200, 100, 50)).all()


def test_a_hole_is_filled_and_a_band_made_in_a_run(natural, engine):
    picture, mask = to_uint8(natural), np.zeros(natural.shape[:2])
    mask[20:40, 25:50] = 1
    filled = engine.synthesize(picture, fill=mask, iterations=1)
    np.testing.assert_array_equal(filled.image[mask == 0], picture[mask == 0])
    assert (filled.image[mask == 1] != picture[mask == 1]).any()

    height, width = picture.shape[:2]
    side = min(height, width) // 8
    for levels, seamless in ((1, "xy"), (2, "xy"), (2, "x")):
        level, axes = Recipe.create(picture, seamless=seamless).level, Wrap.of(seamless)
        np.testing.assert_array_equal(level.needed, band((height, width), side // 2, axes))
        np.testing.assert_array_equal(level.free, band((height, width), side + side // 2, axes))
        made = engine.synthesize(picture, seamless=seamless, levels=levels, iterations=1).image
        same = (made == picture).all(2)
        assert same[~level.free].all()
        assert same[level.free & ~level.needed].mean() > 0.05  # where the patches agree with it, it is kept
        assert same[level.needed].mean() < 0.2


def test_a_layout_is_made_in_a_run(natural, engine):
    halves = np.repeat([1, 2], 32).reshape(1, 64).repeat(64, axis=0)
    picture = np.where((halves == 1)[:, :, None], natural[:64, :64] / 4, 0.75 + natural[:64, :64] / 4)
    result = engine.synthesize(
        picture, exemplar_regions=halves, output_regions=halves[:, ::-1].copy(), levels=1, iterations=0
    )
    assert (result.image[:, :32] > 150).all()
    assert (result.image[:, 32:] < 100).all()
