"""Pictures as they were given: exemplars and their weights, what is started from, style scale, holes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pictures import CONTENT, EXEMPLAR, RED, REGIONS, TWO, halves, mask, picture, torn
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
        ({"init": picture(32, 32, 2), "seamless": "xy"}, None),  # the picture is kept, the rest starts from noise
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


def test_masks_in_grey_are_taken_by_their_threshold():
    levels = np.full((48, 64), 127, np.uint8)
    levels[:20] = 128
    assert np.array_equal(Recipe.create(EXEMPLAR, fill=levels, mask_threshold=0.5).level.free, levels > 127)


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
    assert Recipe.create(image, seamless="xy").level.free[transparent].all()


def test_what_is_black_in_a_sample_mask_is_not_measured():
    image = EXEMPLAR.copy()
    image[:, :20] = (255, 0, 255)
    white = np.zeros((48, 64), bool)
    white[:, 20:] = True
    (exemplar,) = Recipe.create(image, sample_mask=white).level.exemplars
    assert np.array_equal(exemplar.masks, white[None])
    assert not (exemplar.image == [1, 0, 1]).all(axis=2).any()  # nor do features at the border see it
    assert np.array_equal(exemplar.image[white], Recipe.create(image).level.exemplars[0].image[white])
    (left_out, whole) = Recipe.create(exemplars=[image, EXEMPLAR], sample_mask=[white, white | True]).level.exemplars
    assert np.array_equal(left_out.masks, white[None])
    assert whole.masks is None or whole.masks.all()


def test_a_sample_mask_leaves_the_picture_of_a_hole_as_it_is():
    """What is left out of the measuring is kept, and the hole is not measured either."""
    hole, white = mask(64, 48), np.arange(64)[None].repeat(48, axis=0) > 10
    level = Recipe.create(EXEMPLAR, fill=hole, sample_mask=white).level
    assert np.array_equal(level.free, hole)
    assert np.array_equal(level.picture[~hole], Recipe.create(EXEMPLAR, fill=hole).level.picture[~hole])
    assert np.array_equal(level.exemplars[0].masks[0] > 0, white & ~hole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_mask": np.zeros((48, 64))}, "sample_mask: nothing is left to measure: paint what"),
        ({"sample_mask": np.ones((4, 4))}, "sample_mask of 4x4 pixels: the picture has 64x48"),
        ({"sample_mask": [np.ones((48, 64))] * 2}, "sample_mask: give a list of 1, one for each exemplar"),
        ({"mask_threshold": 0.5}, "mask_threshold without keep, fill or sample_mask"),
        ({"mask_threshold": 1.0, "keep": mask(64, 48)}, "mask_threshold=1.0: give a level from 0 to below 1"),
        ({"mask_threshold": "half", "keep": mask(64, 48)}, "mask_threshold='half': give a level"),
    ],
)
def test_refused_sample_masks_and_thresholds(options, message):
    with pytest.raises(PyengineError, match=f"^{message}"):
        Recipe.create(EXEMPLAR, **options)


@pytest.mark.parametrize("seamless", ["xy", "x", "y"])
@pytest.mark.parametrize(("size", "width"), [((64, 48), 6), ((100, 200), 12), ((16, 90), 2), ((23, 17), 2)])
def test_tiling_makes_a_band_again(size, width, seamless):
    level = Recipe.create(picture(*size), start="noise", seamless=seamless).level
    assert np.array_equal(level.free, band_of(size, width, seamless))
    assert level.needed is None


@pytest.mark.parametrize(("size", "width", "needed"), [((64, 48), 9, 3), ((100, 200), 18, 6), ((23, 17), 3, 1)])
def test_patches_choose_where_in_a_wider_band(size, width, needed):
    for seamless in ("xy", "x", "y"):
        level = Recipe.create(picture(*size), seamless=seamless).level
        assert np.array_equal(level.free, band_of(size, width, seamless))
        assert np.array_equal(level.needed, band_of(size, needed, seamless))


def band_of(size: tuple[int, int], width: int, axes: str) -> np.ndarray:
    """What is so near to the borders of a picture of a (width, height) where some axes end."""
    marked = np.zeros(size[::-1], bool)
    if "y" in axes:
        marked[:width] = marked[-width:] = True
    if "x" in axes:
        marked[:, :width] = marked[:, -width:] = True
    return marked


def test_a_picture_to_tile_is_measured_everywhere():
    """Its borders are good texture, they only don't meet."""
    assert Recipe.create(EXEMPLAR, seamless="xy").level.exemplars[0].masks is None
    level = Recipe.create(EXEMPLAR, seamless="xy", fill=mask(64, 48)).level
    assert np.array_equal(level.exemplars[0].masks[0] > 0, ~mask(64, 48))


def test_another_picture_is_filled_from_the_whole_exemplar():
    level = Recipe.create(EXEMPLAR, init=picture(40, 32, 3), fill=mask(40, 32)).level
    assert level.exemplars[0].masks is None
    assert np.array_equal(level.picture[0, 0], picture(40, 32, 3)[0, 0] / np.float32(255))


# ------------------------------------------------------------------ refused

REFUSED: list[tuple[dict[str, Any], str]] = [
    # exemplars
    ({"exemplar": None}, r"give either one exemplar, or a list of exemplars"),
    ({"exemplars": [EXEMPLAR]}, r"give either one exemplar, or a list of exemplars"),
    ({"exemplar": None, "exemplars": []}, r"exemplars, a list: give a list of at least one picture"),
    ({"exemplar": None, "exemplars": "a.png"}, r"exemplars, a str: give a list"),
    ({"exemplar": None, "exemplars": [EXEMPLAR, picture(20, 15)]}, r"exemplars\[1\] of 20x15 pixels: both sides"),
    ({"exemplar": None, "exemplars": [EXEMPLAR, None]}, r"exemplars\[1\]: pass a path, a PIL image, an"),
    ({"exemplar": picture(64, 15)}, r"exemplar of 64x15 pixels: both sides must be at least 16"),
    ({"exemplar": np.zeros((48, 64, 4))}, r"exemplar: fully transparent"),
    ({"exemplar": np.full((48, 64, 4), 0.5)}, r"exemplar: no pixel is more than half opaque"),
    ({"exemplar": "missing.png"}, r"exemplar missing.png: no such file"),
    ({"exemplar_weights": [1, 2]}, r"exemplar_weights=\[1, 2\]: give a list of 1, one for each exemplar"),
    ({**TWO, "exemplar_weights": [1]}, r"exemplar_weights=\[1\]: give a list of 2, one for each exemplar"),
    ({**TWO, "exemplar_weights": []}, r"exemplar_weights=\[\]: give a list of 2"),
    ({**TWO, "exemplar_weights": 1.0}, r"exemplar_weights=1.0: give a list of 2"),
    ({**TWO, "exemplar_weights": [1, -1]}, r"exemplar_weights=\[1, -1\]: give numbers that are not negative"),
    ({**TWO, "exemplar_weights": [0, 0.0]}, r"exemplar_weights=\[0, 0.0\]: .* not all 0"),
    ({**TWO, "exemplar_weights": [1, float("nan")]}, r"exemplar_weights=\[1, nan\]: give numbers"),
    ({**TWO, "exemplar_weights": [1, float("inf")]}, r"exemplar_weights=\[1, inf\]: give numbers"),
    ({**TWO, "exemplar_weights": ["1", "2"]}, r"exemplar_weights=\['1', '2'\]: give numbers"),
    ({**TWO, "exemplar_weights": "12"}, r"exemplar_weights='12': give a list of 2"),
    ({**TWO, "exemplar_weights": [True, 1]}, r"exemplar_weights=\[True, 1\]: give numbers"),
    # style scale
    ({"style_scale": 0}, r"style_scale=0: give a number above 0, and at most 8"),
    ({"style_scale": -1}, r"style_scale=-1: give a number above 0"),
    ({"style_scale": 8.1}, r"style_scale=8.1: give a number above 0, and at most 8"),
    ({"style_scale": float("nan")}, r"style_scale=nan: give a number"),
    ({"style_scale": float("inf")}, r"style_scale=inf: give a number"),
    ({"style_scale": "2"}, r"style_scale='2': give a number"),
    ({"style_scale": True}, r"style_scale=True: give a number"),
    ({"style_scale": 0.3}, r"style_scale=0.3: an exemplar of 64x48 pixels would be measured at 19x14; .* 16 to"),
    ({"content": picture(32, 24), "style_scale": 0.6}, r"style_scale=0.6: .* would be measured at 19x14"),
    ({"exemplar": picture(2100, 16), "style_scale": 8}, r"measured at 16800x128; both sides must be 16 to 16383"),
    # holes
    ({"keep": mask(64, 48), "fill": mask(64, 48)}, r"keep and fill: give one of them"),
    ({"fill": mask(48, 64)}, r"fill of 48x64 pixels: the picture has 64x48"),
    ({"keep": mask(64, 40)}, r"keep of 64x40 pixels: the picture has 64x48"),
    ({"init": picture(40, 40), "keep": mask(64, 48)}, r"keep of 64x48 pixels: the picture has 40x40"),
    ({"fill": RED}, r"fill: a mask is grey, this is in colour"),
    ({"keep": torn(64, 48)}, r"keep: it is transparent in places"),
    ({"fill": "missing.png"}, r"fill missing.png: no such file"),
    ({"fill": np.full((48, 64), 3.0)}, r"fill: values from 3 to 3 are not in \[0, 1\]"),
    ({"fill": np.zeros((48, 64))}, r"nothing is to be filled: white is filled with fill"),
    ({"keep": np.ones((48, 64))}, r"nothing is to be filled: white is filled with fill, black with keep"),
    ({"fill": np.ones((48, 64))}, r"nothing is to be kept: white is filled with fill"),
    ({"keep": np.zeros((48, 64))}, r"nothing is to be kept"),
    ({"exemplar": torn(64, 48), "keep": torn(64, 48)[:, :, 3] == 0}, r"nothing is to be kept"),
    ({"fill": "alpha"}, r"fill='alpha': the picture has no transparent pixels: give a mask"),
    ({"exemplar": torn(64, 48), "init": EXEMPLAR, "fill": "alpha"}, r"fill='alpha': the picture has no transparent"),
    ({"keep": "alpha"}, r"keep alpha: no such file"),
    (
        {**TWO, "seamless": "xy"},
        r"keep, fill or seamless with several exemplars: give the picture to keep as init",
    ),
    ({**TWO, "fill": mask(64, 48), "init": "noise"}, r"with several exemplars: give the picture"),
    (
        {**CONTENT, "fill": mask(40, 32)},
        r"content with keep, fill or seamless: to keep part of the content, paint it 0",
    ),
    ({**CONTENT, "keep": mask(40, 32)}, r"content with keep, fill or seamless"),
    ({**CONTENT, "seamless": "xy"}, r"content with keep, fill or seamless"),
    ({"seamless": "xy", "wrap": "x"}, r"seamless='xy' with wrap='x': what is to tile wraps round: leave wrap out"),
    ({"seamless": "y", "wrap": "none"}, r"seamless='y' with wrap='none'"),
    ({"seamless": "xy", "size": 64}, r"size 64x64: with keep, fill or seamless it is the picture's: leave it out"),
    ({"fill": mask(64, 48), "size": (128, 96)}, r"size 128x96: with keep, fill or seamless it is the picture's"),
    ({**REGIONS, "init": picture(40, 32), "seamless": "xy"}, r"output_regions of 64x48 pixels: the output has 40x32"),
    ({**REGIONS, "fill": halves(64, 48, 0, 1) > 0}, r"region 2: all of it is transparent, in the hole"),
    (
        {**REGIONS, "exemplar": np.dstack([EXEMPLAR, halves(64, 48, 0, 255)]).astype("u1")},
        r"region 1: all of it is transparent",
    ),
    (
        {"fill": mask(64, 48), "output_regions": 1 - mask(64, 48)},
        r"output_regions: part of it is 0, no region, and nothing says what belongs there",
    ),
]


@pytest.mark.parametrize(
    ("options", "message"), REFUSED, ids=[f"{k}-{'-'.join(options)}" for k, (options, _) in enumerate(REFUSED)]
)
def test_refused(options, message):
    with pytest.raises(PyengineError, match=message) as error:
        Recipe.create(**{"exemplar": EXEMPLAR, **options})
    assert "\n" not in str(error.value)
