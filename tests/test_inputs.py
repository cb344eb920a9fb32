"""Pictures as they were given: exemplars and their weights, what is started from, style scale, holes."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import EXEMPLAR, mask, picture, torn
from PIL import Image

from pyengine import PyengineError
from pyengine.recipe import Recipe

# ------------------------------------------------------------------ exemplars


def test_weights_of_exemplars_are_of_all_their_pixels():
    exemplars = [picture(20, 30), picture(40, 30), picture(16, 16)]
    level = Recipe.create(exemplars=exemplars, exemplar_weights=[2, 1, 0]).level
    masses = [e.factor * e.size[0] * e.size[1] for e in level.exemplars]
    assert masses == pytest.approx([2 / 3 * sum(masses), 1 / 3 * sum(masses), 0])
    assert [e.factor for e in Recipe.create(exemplars=exemplars).level.exemplars] == [1, 1, 1]
    assert Recipe.create(EXEMPLAR, exemplar_weights=(np.float32(7),)).level.exemplars[0].factor == pytest.approx(1)


def test_exemplar_weights_do_not_depend_on_the_exemplars_sizes():
    """Nor on how much each is reduced, to be seen at the content's scale."""
    level = Recipe.create(
        exemplars=[picture(128, 128), picture(32, 32)], exemplar_weights=[1, 1], content=picture(64, 64)
    ).level
    masses = [e.factor * e.size[0] * e.size[1] for e in level.exemplars]
    assert masses[0] == pytest.approx(masses[1])


def test_an_array_of_exemplars_is_refused_in_one_line():
    with pytest.raises(PyengineError, match="exemplars") as error:
        Recipe.create(exemplars=np.zeros((2, 32, 32, 3)))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_weight_in_an_array_of_no_axis_is_refused():
    with pytest.raises(PyengineError, match="exemplar_weights"):
        Recipe.create(EXEMPLAR, exemplar_weights=np.array(1.0))


# ---------------------------------------------------------------- style scale


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (64, 48)),
        ({"style_scale": 2}, (128, 96)),
        ({"style_scale": 0.5}, (32, 24)),
        ({"style_scale": 8}, (512, 384)),
        ({"size": 32}, (64, 48)),  # a texture keeps its scale, whatever the output's
        ({"content": picture(32, 24)}, (32, 24)),  # a style is reduced to the content's area ...
        ({"content": picture(24, 32)}, (32, 24)),
        ({"content": picture(128, 96)}, (64, 48)),  # ... but not enlarged
        ({"content": picture(128, 96), "size": (32, 24)}, (32, 24)),
        ({"content": picture(32, 24), "style_scale": 2}, (64, 48)),
        ({"content": picture(128, 96), "style_scale": np.float32(0.5)}, (32, 24)),
    ],
)
def test_size_at_which_an_exemplar_is_measured(options, size):
    recipe = Recipe.create(EXEMPLAR, **options)
    assert recipe.level.exemplars[0].size == size
    assert recipe.exemplar_sizes(len(recipe.sizes) - 1) == [size]


# ------------------------------------------------------- what is started from


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, None),
        ({"init": "noise"}, None),
        ({"content": picture(32, 32, 1)}, 1),
        ({"content": picture(32, 32, 1), "init": "content"}, 1),
        ({"content": picture(32, 32, 1), "init": "noise"}, None),
        ({"content": picture(32, 32, 1), "init": picture(32, 32, 2)}, 2),
        ({"init": picture(32, 32, 2), "size": 32}, 2),
        ({"init": picture(32, 32, 2), "seamless": True}, None),  # the picture is kept, the rest starts from noise
    ],
)
def test_what_is_started_from(options, start):
    init = Recipe.create(EXEMPLAR, **options).level.init
    assert (init is None) == (start is None)
    if start is not None:
        assert np.allclose(init, picture(32, 32, start) / 255, atol=1e-6)


# ------------------------------------------------------ what is kept and made


def test_white_is_kept_or_filled():
    white = mask(64, 48)
    for options, free in (({"fill": white}, white), ({"keep": white}, ~white), ({"keep": ~white}, white)):
        level = Recipe.create(EXEMPLAR, **options).level
        assert np.array_equal(level.free, free)
        assert np.array_equal(level.picture[~free], EXEMPLAR[~free] / np.float32(255))
        assert level.init is None


def test_masks_in_grey_are_taken_at_half():
    levels = np.full((48, 64), 127, np.uint8)
    levels[:20] = 128
    assert np.array_equal(Recipe.create(EXEMPLAR, fill=levels).level.free, levels > 127)


def test_fill_alpha():
    image = torn(64, 48)
    image[40:, 40:, 3] = 127
    image[30:40, 40:, 3] = 128
    free = image[:, :, 3] < 128
    assert np.array_equal(Recipe.create(image, fill="alpha").level.free, free)
    assert np.array_equal(Recipe.create(EXEMPLAR, init=image, fill="alpha").level.free, free)
    assert np.array_equal(Recipe.create(Image.fromarray(image), fill="alpha").level.free, free)


def test_what_is_transparent_is_made_as_well():
    image, white = torn(64, 48), mask(64, 48)
    transparent = image[:, :, 3] == 0
    assert np.array_equal(Recipe.create(image, fill=white).level.free, white | transparent)
    assert np.array_equal(Recipe.create(image, keep=white).level.free, ~white | transparent)
    assert Recipe.create(image, seamless=True).level.free[transparent].all()


@pytest.mark.parametrize(("size", "width"), [((64, 48), 6), ((100, 200), 12), ((16, 90), 2), ((23, 17), 2)])
def test_tiling_makes_a_band_again(size, width):
    free = Recipe.create(picture(*size), seamless=True).level.free
    assert free.shape == size[::-1]
    assert not free[width:-width, width:-width].any()
    assert all(free[edge].all() for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]))


def test_a_picture_to_tile_is_measured_everywhere():
    """Its borders are good texture, they only don't meet."""
    assert Recipe.create(EXEMPLAR, seamless=True).level.exemplars[0].masks is None
    level = Recipe.create(EXEMPLAR, seamless=True, fill=mask(64, 48)).level
    assert np.array_equal(level.exemplars[0].masks[0] > 0, ~mask(64, 48))


def test_another_picture_is_filled_from_the_whole_exemplar():
    level = Recipe.create(EXEMPLAR, init=picture(40, 32, 3), fill=mask(40, 32)).level
    assert level.exemplars[0].masks is None
    assert np.array_equal(level.picture[0, 0], picture(40, 32, 3)[0, 0] / np.float32(255))
