"""A picture laid out from patches of its exemplars."""

from __future__ import annotations

import numpy as np
import pytest

import pyengine
from pyengine import Engine, Recipe
from pyengine.images.resampling import resize
from pyengine.images.writing import to_uint8
from pyengine.kernels.cpu import CpuKernels
from pyengine.level import Exemplar, Level
from pyengine.patches import Layout, lay_out


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


def test_a_seed_gives_the_same_bits_whatever_the_threads(natural):
    first = lay((80, 70), natural, seed=3, threads=1)
    for threads in (1, 2, 5):
        again = lay((80, 70), natural, seed=3, threads=threads)
        np.testing.assert_array_equal(again.image, first.image)
        np.testing.assert_array_equal(again.origins, first.origins)
    assert not np.array_equal(lay((80, 70), natural, seed=4).image, first.image)


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


# ------------------------------------------------------------------- in a run


def test_a_run_starts_from_it(natural, engine):
    result = engine.synthesize(natural, start="patches", size=(80, 72), iterations=0, seed=5)
    assert len(result.recipe.sizes) == 1
    np.testing.assert_array_equal(result.image, to_uint8(lay((80, 72), natural, seed=5).image))
    assert result.timings["start"] > 0
    other = engine.synthesize(natural, size=(80, 72), levels=1, iterations=0, seed=5)
    assert "start" not in other.timings
    assert not np.array_equal(other.image, result.image)


def test_threads_and_recipes_make_the_same_picture(natural, tmp_path):
    pyengine.synthesize(to_uint8(natural), start="patches", iterations=2, threads=1).save(tmp_path / "a.png")
    recipe = Recipe.from_json((Recipe.create(tmp_path / "a.png", start="patches", iterations=2)).to_json())
    assert recipe.start == "patches"
    with Engine(threads=1) as engine:
        first = engine.run(recipe)
        assert np.array_equal(first.image, engine.run(recipe).image)


def test_what_is_transparent_is_not_taken(engine):
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, :32] = (200, 100, 50, 255)
    image[:, 32:] = (0, 255, 0, 0)
    result = engine.synthesize(image, start="patches", iterations=0)
    assert (result.image == (200, 100, 50)).all()
