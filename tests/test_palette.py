"""Pixel art: the exemplar's own colours, without noise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from pyengine import PyengineError
from pyengine.images.reading import load
from pyengine.kernels.cpu import CpuKernels
from pyengine.level import Exemplar, Level
from pyengine.palette import MOST_COLORS, Palette
from pyengine.recipe import Recipe
from pyengine.wrap import BOTH, NEITHER


def bricks(courses: int = 4) -> np.ndarray:
    """A tile of 16x16 pixels in five colours: bricks with a light upper and a dark lower edge."""
    palette = np.array([(52, 36, 40), (142, 64, 52), (176, 88, 64), (204, 120, 84), (108, 44, 44)], np.uint8)
    codes = np.zeros((16, 16), int)
    for course in range(courses):
        for x in range(16):
            along = (x + 4 * (course % 2)) % 8
            codes[4 * course : 4 * course + 3, x] = (2, 1, 4) if along < 7 else 0
            if along == 0:
                codes[4 * course, x] = 3
    codes[5, 2] = codes[13, 6] = 4
    return palette[codes]


def colors_of(image: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, image.reshape(-1, 3).tolist()))


def strange(image: np.ndarray, exemplar: np.ndarray, side: int = 3) -> float:
    """The share of an image's squares that the exemplar does not have."""

    def squares(picture: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side), (0, 1))
        return windows.reshape(-1, windows[0, 0].size)

    known = {square.tobytes() for square in np.ascontiguousarray(squares(exemplar))}
    return float(np.mean([square.tobytes() not in known for square in np.ascontiguousarray(squares(image))]))


def nearest(image: np.ndarray, exemplar: np.ndarray) -> np.ndarray:
    palette = np.unique(exemplar.reshape(-1, 3), axis=0)
    off = ((image[:, :, None].astype(int) - palette) ** 2).sum(axis=3)
    return palette[off.argmin(axis=2)]


@pytest.fixture(scope="module")
def kernels():
    return CpuKernels(threads=1)


def test_a_tile_becomes_a_larger_one(engine):
    """In its own colours and its own small squares, of which rounding to the nearest colours makes noise."""
    exemplar = bricks()
    made = engine.synthesize(exemplar, size=32, palette="keep")
    assert made.recipe.sizes == ((32, 32),)
    assert colors_of(made.image) <= colors_of(exemplar)
    around = np.pad(exemplar, ((0, 4), (0, 4), (0, 0)), mode="wrap")
    assert strange(made.image, around) < 0.1
    rounded = nearest(engine.synthesize(exemplar, size=32).image, exemplar)
    assert strange(rounded, around) > 0.4


def test_a_grey_tile(engine, tmp_path):
    exemplar = bricks()[:, :, 0]
    result = engine.synthesize(exemplar, size=24, palette="keep", iterations=2)
    assert set(np.unique(result.image)) <= set(np.unique(exemplar))
    result.save(tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as image:
        assert image.mode == "L"


@pytest.mark.parametrize(
    "options", [{"start": "noise"}, {"levels": 2}, {"levels": 2, "iterations": [0, 1]}, {"method": "gatys"}]
)
def test_any_other_way_ends_on_the_same_colours(options, engine):
    exemplar = np.tile(bricks(), (2, 2, 1))
    usual = {"iterations": 1} | options
    result = engine.synthesize(exemplar, palette="keep", **usual)
    assert colors_of(result.image) <= colors_of(exemplar)


def test_several_exemplars_have_one_palette(engine):
    one, other = bricks(), np.where(bricks() == 52, 0, bricks()).astype(np.uint8)[:, ::-1]
    result = engine.synthesize(exemplars=[one, other], palette="keep", iterations=1)
    assert colors_of(result.image) <= colors_of(one) | colors_of(other)


def test_what_does_not_count_has_no_colour():
    image = bricks()
    image[:, :5] = (255, 0, 255)
    recipe = Recipe.create(image, sample_mask=np.arange(16)[None].repeat(16, 0) >= 5, palette="keep")
    assert len(recipe.palette.colors) == 5
    assert (recipe.palette.exemplars[0][:, :5] == -1).all()


@pytest.mark.parametrize("channels", [[0, 1, 2], [0, 0, 0]])
def test_a_tile_with_holes_in_it(channels, engine):
    """Opacity is part of a colour: what is clear stays clear, and nothing is between."""
    mortar = (bricks() == (52, 36, 40)).all(axis=2)
    colors = bricks()[:, :, channels]
    tile = np.tile(np.dstack([colors, np.where(mortar, 0, 255)]).astype(np.uint8), (2, 2, 1))
    result = engine.synthesize(tile, palette="keep", iterations=2)
    assert set(np.unique(result.image[:, :, 3])) == {0, 255}
    assert colors_of(result.image[result.image[:, :, 3] == 255][:, :3]) <= colors_of(colors[~mortar])


def test_what_is_kept_of_a_picture_stays(engine):
    """Also where it has other colours."""
    exemplar = np.tile(bricks(), (2, 2, 1))
    picture = exemplar.copy()
    picture[:8] = np.arange(256, dtype=np.uint8).reshape(8, 32, 1)
    hole = np.zeros((32, 32), bool)
    hole[12:28, 8:24] = True
    result = engine.synthesize(exemplar, init=picture, fill=hole, palette="keep", iterations=2)
    assert np.array_equal(result.image[~hole], picture[~hole])
    assert colors_of(result.image[hole]) <= colors_of(exemplar)


def test_colours_survive_saving(engine, tmp_path):
    result = engine.synthesize(bricks(), palette="keep", iterations=1)
    for suffix in (".png", ".webp", ".tif"):
        result.save(tmp_path / f"tile{suffix}")
        with Image.open(tmp_path / f"tile{suffix}") as image:
            assert colors_of(np.asarray(image.convert("RGB"))) <= colors_of(bricks())
    with pytest.warns(UserWarning, match=r"tile\.jpg: JPEG does not keep the palette's colours exactly: write a PNG"):
        result.save(tmp_path / "tile.jpg")
    with pytest.warns(UserWarning, match=r"result\.jpg: JPEG does not keep"):
        result.encode(".jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.synthesize(bricks(), iterations=1).save(tmp_path / "tile.jpg")


@pytest.mark.parametrize("wrap", [BOTH, NEITHER])
def test_noise_is_taken_away(wrap, kernels):
    """What differs by less than colours do, and single pixels."""
    exemplar = load(np.tile(bricks(), (2, 2, 1)))
    palette = Palette.of([Exemplar(exemplar)])
    rng = np.random.default_rng(0)
    noisy = (exemplar + rng.normal(0, 0.04, exemplar.shape)).astype(np.float32)
    for y, x in rng.integers(1, 31, (8, 2)):
        noisy[y, x] = exemplar[rng.integers(32), rng.integers(32)]
    level = Level((32, 32), (), wrap=wrap)
    applied = palette.applied(noisy, level, kernels)
    assert (applied != exemplar).any(axis=2).mean() < 0.02
    assert (applied != exemplar).any(axis=2).mean() < np.mean((load(nearest_of(noisy)) != exemplar).any(axis=2)) / 3


def nearest_of(image: np.ndarray) -> np.ndarray:
    return nearest((image.clip(0, 1) * 255).round().astype(np.uint8), bricks())


def test_patches_that_are_too_large_are_left_out(kernels):
    """Of an exemplar of which little counts, only the nearest colours are known."""
    image = load(bricks())
    mask = np.zeros((1, 16, 16), np.float32)
    mask[:, ::4] = 1
    palette = Palette.of([Exemplar(image, mask)])
    applied = palette.applied(image, Level((16, 16), ()), kernels)
    assert set(map(tuple, applied.reshape(-1, 3).tolist())) <= set(map(tuple, palette.colors.tolist()))


def test_how_many_colours():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert len(Recipe.create(levels, palette="keep").palette.colors) == MOST_COLORS
    many = np.dstack([levels, levels, levels])
    many[0, 0] = (1, 2, 3)
    many[0, 1] = (3, 2, 1)
    with pytest.raises(PyengineError, match=r"^palette='keep': the exemplar has 258 colours, and 256 are the most"):
        Recipe.create(np.vstack([many, many // 2 * 2]), exemplars=None, palette="keep")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"palette": "few"}, "palette='few': choose 'keep'"),
        ({"flatten_light": True}, "palette='keep' with flatten_light, which makes other colours"),
        ({"content": bricks(), "preserve_color": "match"}, "palette='keep' with preserve_color"),
        ({"style_scale": 2}, "palette='keep' with style_scale"),
        ({"fit": "scale"}, "palette='keep' with fit='scale', which makes other colours: give fit='size'"),
    ],
)
def test_refused_palettes(options, message):
    with pytest.raises(PyengineError, match=f"^{message}"):
        Recipe.create(bricks(), **{"palette": "keep"} | options)
