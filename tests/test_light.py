"""The slow variation of light over a picture, and how it is taken out."""

from __future__ import annotations

import numpy as np
import pytest

from pyengine import Recipe
from pyengine.images.light import flattened, light_of, variation


def lit(rng: np.random.Generator, height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """A texture under light that falls off to the right and to the corners, and that light."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - 0.3 * x - 0.15 * (x * x + y * y)
    return (light[:, :, None] * rng.uniform(0.3, 0.5, (height, width, 3))).astype(np.float32), light / light.mean()


def test_light_is_found_and_taken_out(rng: np.random.Generator) -> None:
    image, light = lit(rng)
    np.testing.assert_allclose(light_of(image), light, atol=0.03)
    even = flattened(image, light_of(image))
    assert even.dtype == np.float32
    assert variation(light_of(image)) == pytest.approx(np.ptp(light), abs=0.05)
    assert variation(light_of(even)) < 0.02
    assert even.mean() == pytest.approx(image.mean(), rel=0.02)


def test_what_is_unknown_does_not_count(rng: np.random.Generator) -> None:
    image, light = lit(rng)
    known = np.ones(image.shape[:2], np.bool_)
    known[10:40, 20:50] = False
    image[~known] = 1
    np.testing.assert_allclose(light_of(image, known), light, atol=0.1)
    assert np.abs(light_of(image) - light).max() > 0.3


@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (16, 17)])
def test_black_and_one_pixel(shape: tuple[int, int]) -> None:
    for value in (0.0, 0.5):
        image = np.full((*shape, 3), value, np.float32)
        np.testing.assert_allclose(flattened(image, light_of(image)), image, atol=1e-6)


def test_steep_light_has_a_bound() -> None:
    image = np.zeros((32, 32, 3), np.float32)
    image[:, :4] = 1
    assert light_of(image).min() >= 0.1
    assert flattened(image, light_of(image)).max() <= 1


def test_a_recipe_under_even_light(rng: np.random.Generator) -> None:
    image, light = lit(rng)
    hole = np.zeros(image.shape[:2], np.bool_)
    hole[20:40, 30:50] = True
    plain, recipe = Recipe.create(image), Recipe.create(image, flatten_light=True)
    assert plain.light is None
    assert recipe.light == pytest.approx(np.ptp(light), abs=0.05)
    (exemplar,) = recipe.level.exemplars
    np.testing.assert_array_equal(exemplar.image, flattened(image, light_of(image)))
    broken = np.where(hole[:, :, None], 1, image).astype(np.float32)
    for options in ({"exemplar": broken}, {"exemplar": image[:40, :40], "init": broken}):
        level = Recipe.create(**options, fill=hole, flatten_light=True).level
        assert level.picture is not None
        assert variation(light_of(level.picture, ~hole)) < 0.03
    style = Recipe.create(image, content=image, flatten_light=True).level
    assert style.content is not None
    np.testing.assert_array_equal(style.content, image)  # what it shows is as it was
