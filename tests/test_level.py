"""What counts of exemplars and of an output, at each scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import KERNELS, VGG16, WRAPS
from layouts import diagonal, on, ramps, split
from pictures import halves, picture, torn

from pyengine.images.masks import reduce
from pyengine.images.resampling import resize
from pyengine.level import Exemplar, Level
from pyengine.recipe import Recipe


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_kept_counts_only_where_it_meets_what_is_made(wrap):
    hole = np.zeros((47, 61), bool)
    hole[12:30, 52:] = True
    level = Recipe.create(np.zeros((47, 61, 3), np.uint8), fill=hole).level
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    (region,) = replace(level, wrap=wrap).loss_regions(layers, VGG16, KERNELS)
    assert region.share == pytest.approx(hole.mean())
    for layer in layers:
        made = on(layer, hole).reshape([-(-side // 2 ** VGG16.pools(layer)) for side in hole.shape])
        w = region.coverage[layer].values.reshape(made.shape)
        assert w[made > 0].all()
        height, width = made.shape
        assert not w[:, width // 3 : width // 2].any()
        assert not w[-height // 6 :].any()
    w = region.coverage["relu1_1"].values.reshape(hole.shape)
    assert w[12:30, 51].all()
    assert w[12:30, 0].any() == wrap.x  # next to the hole, across the border


@pytest.mark.parametrize("kind", ["alpha", "index image", "soft masks", "index image and alpha"])
def test_what_counts_of_an_exemplar(other, kind):
    """All that lies well inside a region; nothing outside, and never more than its mask; somewhere at all depths."""
    alpha = np.ones((64, 64), np.float32)
    options = {"alpha": "mask"}
    if "alpha" in kind:
        alpha[20:45, 5:40] = 0.4
    masks = [alpha > 0.5]
    if "index" in kind:
        indices = diagonal(64, 64)
        options |= {"exemplar_regions": indices, "output_regions": indices}
        masks = list(split(indices, 1, 3) * (alpha > 0.5))
    elif "soft" in kind:
        masks = ramps(64, 64)
        options |= {"exemplar_regions": masks, "output_regions": masks}
    (exemplar,) = Recipe.create(np.dstack([other, alpha]), **options).level.exemplars
    assert np.array_equal(exemplar.image[alpha == 1], other[alpha == 1])
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1"):
        for region, mask in enumerate(masks):
            most = on(layer, mask)
            counts = exemplar.sample(region, np.zeros((1, 1, most.size)), VGG16.pools(layer), KERNELS).coverage.values
            assert counts.any()
            assert (counts <= most + 1e-6).all()
            side = 64 // 2 ** VGG16.pools(layer)
            lowest = [lowest_around(most.reshape(side, side), radius) for radius in (3, 1)]
            assert (counts[lowest[0] == 1] == 1).all()
            if layer == "relu1_1" and "soft" not in kind:  # there is enough of every region without its border
                assert not counts[lowest[1] == 0].any()


@pytest.mark.parametrize("masked", [False, True])
def test_an_exemplar_counts_as_it_was_used(other, masked):
    mask = split(diagonal(64, 64), 1, 3)[0].astype(np.float32)
    exemplar = Exemplar(other[:48], mask[None, :48] if masked else None)
    coarse = np.float32([[1, 0], [2, 1]])
    level = Level((64, 64), (exemplar, exemplar)).used_as([coarse, np.ones_like(coarse)])
    for halvings in (0, 2):
        plain, used, same = (
            e.sample(0, np.zeros((1, 1, 1)), halvings, KERNELS).coverage for e in (exemplar, *level.exemplars)
        )
        expected = reduce(resize(coarse, (64, 48)), halvings).ravel()
        ones = np.ones_like(expected)
        mine = plain.values if masked else ones
        np.testing.assert_allclose(used.values, mine * expected, rtol=1e-6)
        np.testing.assert_allclose(same.values, mine, rtol=1e-6)


def lowest_around(values: np.ndarray, radius: int) -> np.ndarray:
    """The least (N,) of a square of values (side, side) and those around it."""
    side, near = len(values), range(2 * radius + 1)
    around = np.pad(values, radius, mode="edge")
    return np.min([around[y : y + side, x : x + side] for y in near for x in near], axis=0).ravel()


@pytest.mark.parametrize("kind", ["index image", "soft masks"])
def test_what_counts_of_an_outputs_regions(other, kind):
    """All before a pool; what is one pixel within a region on other maps; of soft masks, as much as the least there."""
    indices = diagonal(64, 64)
    given = indices if kind == "index image" else ramps(64, 64)
    masks = split(indices, 1, 3) if kind == "index image" else given
    level = Recipe.create(other, exemplar_regions=given, output_regions=given).level
    for layer in ("relu1_1", "relu3_1"):
        for region, mask in zip(level.loss_regions((layer,), VGG16, KERNELS), masks, strict=True):
            side = 64 // 2 ** VGG16.pools(layer)
            expected = lowest_around(on(layer, mask).reshape(side, side), 0 if layer == "relu1_1" else 1)
            np.testing.assert_allclose(region.coverage[layer].values, expected, atol=1e-6)


@pytest.mark.parametrize("number", [1, 2])
def test_all_of_a_region_counts_where_there_is_little_of_it(other, number):
    """Lines one pixel wide, which have no inside, and what lies between."""
    indices = np.ones((64, 64), np.uint8)
    indices[::4] = 2
    (exemplar,) = Recipe.create(other, exemplar_regions=indices, output_regions=indices).level.exemplars
    for layer in ("relu1_1", "relu3_1"):
        mask = on(layer, indices == number)
        counts = exemplar.sample(number - 1, np.zeros((1, 1, mask.size)), VGG16.pools(layer), KERNELS).coverage.values
        if number == 2 or layer == "relu3_1":
            assert np.allclose(counts, mask)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (67, 49)])
def test_a_coarse_pixel_is_kept_only_if_all_that_it_stands_for_is(width, height):
    """One pixel to fill, and one to keep, for each of which another is free, or not."""
    white = np.zeros((height, width), bool)
    white[6, 9] = True
    white[20:40, 31:50] = True
    white[30, 40] = False
    recipe = Recipe.create(picture(width, height), fill=white, levels=2)
    coarse = recipe.at(0).free
    assert coarse.shape == (round(height / 2), round(width / 2))
    rows, columns = np.nonzero(white)
    centres = (
        ((rows + 0.5) * coarse.shape[0] / height).astype(int),
        ((columns + 0.5) * coarse.shape[1] / width).astype(int),
    )
    assert coarse[centres].all()
    assert coarse[14:16, 19:21].all()
    assert coarse.mean() < 1.5 * white.mean()
    assert np.array_equal(recipe.at(1).free, white)


def test_masks_are_scaled_with_their_exemplar():
    regions = halves(64, 48)
    recipe = Recipe.create(torn(64, 48), style_scale=0.5, exemplar_regions=regions, output_regions=regions)
    (exemplar,) = recipe.level.exemplars
    assert exemplar.masks.shape == (2, 24, 32)
    assert (exemplar.masks[1, :, 17:] == 1).all()
    assert not exemplar.masks[:, :11, :15].any()  # the transparent corner


def test_an_exemplar_that_is_not_turned_is_not_there_twice() -> None:
    recipe = Recipe.create(picture(20, 16), iterations=1)
    (exemplar,) = recipe.level.exemplars
    assert exemplar.turned(0, mirrored=False) is exemplar


@pytest.mark.parametrize(
    ("wrap", "box"),
    [
        ("none", (172, 62, 438, 338)),
        ("x", (0, 62, 600, 338)),
        ("y", (172, 0, 438, 500)),
        ("xy", (0, 0, 600, 500)),
    ],
)
def test_a_hole_is_made_from_all_along_an_axis_that_wraps_round(wrap, box):
    hole = np.zeros((500, 600), bool)
    hole[190:210, 300:310] = True
    level = Recipe.create(np.zeros((500, 600, 3), np.uint8), fill=hole, wrap=wrap).level
    assert level.surroundings == box
