"""Colours given and put back: the statistics that are to be equal, and what degenerate images come to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from pyengine.images import color

LEVEL = 1 / 255


def colors_of(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1, 3).astype(np.float64)


def covariance(image: np.ndarray) -> np.ndarray:
    return np.cov(colors_of(image), rowvar=False, bias=True)


def muted(image: np.ndarray) -> np.ndarray:
    """Room on all sides, for what must not be clipped."""
    return (0.3 + 0.4 * image).astype(np.float32)


def random(height: int = 40, width: int = 30, seed: int = 0) -> np.ndarray:
    """Correlated colours in the middle of the range."""
    generator = np.random.default_rng(seed)
    mixing = generator.uniform(-1, 1, (3, 3)) / 3
    return (0.5 + 0.25 * (generator.uniform(-1, 1, (height, width, 3)) @ mixing)).astype(np.float32)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(values, np.float32)[:, :, None], 3, axis=2)


# ----------------------------------------------------------- match_colors


@pytest.mark.parametrize("seed", range(5))
def test_match_colors_matches_mean_and_covariance(seed: int) -> None:
    image, reference = random(seed=seed), random(23, 17, seed=100 + seed)
    matched = color.match_colors(image, reference)
    assert matched.dtype == np.float32
    assert matched.shape == image.shape
    assert 0 < matched.min() <= matched.max() < 1  # nothing was clipped
    np.testing.assert_allclose(colors_of(matched).mean(0), colors_of(reference).mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance(matched), covariance(reference), atol=1e-7)


def test_match_colors_of_photographs(natural: np.ndarray, other: np.ndarray) -> None:
    matched = color.match_colors(muted(natural), muted(other))
    np.testing.assert_allclose(colors_of(matched).mean(0), colors_of(muted(other)).mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance(matched), covariance(muted(other)), atol=1e-6)


def test_match_colors_is_the_monge_kantorovich_map() -> None:
    """Gradient of a convex function, that is, symmetric and positive; and the formula, by scipy's roots."""
    image, reference = random(seed=1), random(seed=2)
    matched = color.match_colors(image, reference)
    deviation, result = (colors_of(x) - colors_of(x).mean(0) for x in (image, matched))
    transform = np.linalg.lstsq(deviation, result, rcond=None)[0].T
    np.testing.assert_allclose(transform, transform.T, atol=1e-4)
    assert np.linalg.eigvalsh(transform).min() > 0
    root = sqrtm(covariance(image))
    inverse = np.linalg.inv(root)
    np.testing.assert_allclose(transform, inverse @ sqrtm(root @ covariance(reference) @ root) @ inverse, atol=1e-4)


def test_a_cast_is_taken_out_and_luminance_stays(natural: np.ndarray) -> None:
    reference = muted(natural)
    tinted = np.clip(reference * np.float32([1.15, 1, 0.8]), 0, 1)
    found = color.without_cast(tinted, reference)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found @ color.LUMINANCE, tinted @ color.LUMINANCE, atol=1e-5)
    np.testing.assert_allclose(color.without_cast(reference, reference), reference, atol=1e-6)

    def hue(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image - (image @ color.LUMINANCE)[:, :, None], (6, 6, 0))

    assert np.abs(hue(found) - hue(reference)).max() < 0.3 * np.abs(hue(tinted) - hue(reference)).max()


def test_match_colors_of_a_grey_reference_is_grey(natural: np.ndarray) -> None:
    assert color.is_grey(color.match_colors(natural, color.luminance(natural)))


def test_match_colors_with_its_own_changes_nothing() -> None:
    np.testing.assert_allclose(color.match_colors(random(), random()), random(), atol=1e-6)


def test_match_colors_undoes_itself() -> None:
    image, reference = random(seed=3), random(seed=4)
    back = color.match_colors(color.match_colors(image, reference), image)
    np.testing.assert_allclose(back, image, atol=1e-5)


def test_match_colors_clips() -> None:
    image = np.zeros((10, 10, 3), np.float32)
    image[0, 0] = 1
    reference = np.zeros((10, 10, 3), np.float32)
    reference[:5] = 1
    matched = color.match_colors(image, reference)
    assert matched.min() >= 0
    assert matched.max() == 1


@pytest.mark.parametrize("value", [(0, 0, 0), (1, 1, 1), (0.2, 0.5, 0.9)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_match_colors_of_a_flat_image(value: tuple[float, ...], size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), value, np.float32)
    mean = np.broadcast_to(colors_of(random()).mean(0), flat.shape)
    np.testing.assert_allclose(color.match_colors(flat, random()), mean, atol=1e-6)


def test_match_colors_with_a_flat_reference() -> None:
    flat = np.full((1, 1, 3), (0.2, 0.5, 0.9), np.float32)
    expected = np.broadcast_to(flat, random().shape)
    np.testing.assert_allclose(color.match_colors(random(), flat), expected, atol=1e-6)


def test_match_colors_of_grey_in_colour() -> None:
    """A grey image has one direction of colours; it gets the reference's mean and stays on a line."""
    image = grey(np.random.default_rng(0).uniform(0.4, 0.6, (20, 20)))
    matched = color.match_colors(image, random())
    np.testing.assert_allclose(colors_of(matched).mean(0), colors_of(random()).mean(0), atol=1e-6)
    assert np.linalg.eigvalsh(covariance(matched))[1] < 1e-9
    assert np.trace(covariance(matched)) <= np.trace(covariance(random())) + 1e-9


def test_match_colors_with_a_grey_reference() -> None:
    reference = grey(np.random.default_rng(0).uniform(0.4, 0.6, (20, 20)))
    matched = color.match_colors(random(), reference)
    np.testing.assert_allclose(matched, grey(matched[:, :, 0]), atol=1e-5)
    np.testing.assert_allclose(covariance(matched), covariance(reference), atol=1e-6)


def test_match_colors_does_not_turn_rounding_into_colours() -> None:
    """Nearly grey, with a tenth of a level of noise: its hues stay far below the reference's."""
    generator = np.random.default_rng(0)
    image = grey(generator.uniform(0.3, 0.7, (30, 30))) + generator.normal(0, 0.1 * LEVEL, (30, 30, 3))
    reference = generator.uniform(0.2, 0.8, (30, 30, 3)).astype(np.float32)
    matched = color.match_colors(image.astype(np.float32), reference)
    smallest = np.sqrt(np.linalg.eigvalsh(covariance(matched))[:2])
    assert (smallest < 0.2 * np.sqrt(np.linalg.eigvalsh(covariance(reference))[0])).all()


# -------------------------------------------------------------- luminance


def test_luminance() -> None:
    image = random()
    found = color.luminance(image)
    assert found.dtype == np.float32
    expected = 0.299 * image[:, :, 0] + 0.587 * image[:, :, 1] + 0.114 * image[:, :, 2]
    np.testing.assert_allclose(found, grey(expected), atol=1e-6)


def test_luminance_of_grey_is_itself() -> None:
    levels = grey(np.arange(256).reshape(16, 16) / 255)
    np.testing.assert_array_equal(color.luminance(levels), levels)
    assert color.luminance(np.ones((1, 1, 3), np.float32)).max() == 1


# -------------------------------------------------------- match_luminance


def test_match_luminance_matches_mean_and_deviation() -> None:
    image, reference = random(seed=5), random(9, 11, seed=6)
    matched = color.match_luminance(image, reference)
    expected = color.luminance(reference)[:, :, 0].astype(np.float64)
    assert matched.dtype == np.float32
    assert matched.shape == image.shape
    np.testing.assert_array_equal(matched, grey(matched[:, :, 0]))
    assert matched.mean(dtype=np.float64) == pytest.approx(expected.mean(), abs=1e-6)
    assert matched.std(dtype=np.float64) == pytest.approx(expected.std(), abs=1e-6)
    order = np.argsort(color.luminance(image)[:, :, 0], axis=None)
    assert (np.diff(matched[:, :, 0].ravel()[order]) >= 0).all()


@pytest.mark.parametrize("value", [0, 0.3, 1])
@pytest.mark.parametrize("size", [(1, 1), (4, 5)])
def test_match_luminance_of_a_flat_image(value: float, size: tuple[int, int]) -> None:
    matched = color.match_luminance(np.full((*size, 3), value, np.float32), random())
    assert np.ptp(matched) == 0
    assert matched[0, 0, 0] == pytest.approx(color.luminance(random()).mean(dtype=np.float64), abs=1e-6)


def test_match_luminance_with_a_flat_reference() -> None:
    matched = color.match_luminance(random(), np.full((1, 1, 3), 0.25, np.float32))
    np.testing.assert_allclose(matched, 0.25, atol=1e-6)


def test_match_luminance_clips() -> None:
    image = np.zeros((10, 10, 3), np.float32)
    image[0, 0] = 1
    matched = color.match_luminance(image, grey(np.eye(2)))
    assert matched.min() >= 0
    assert matched.max() == 1


# --------------------------------------------------------- with_colors_of

YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def test_with_colors_of_itself() -> None:
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    np.testing.assert_allclose(color.with_colors_of(color.luminance(image), image), image, atol=1e-6)
    np.testing.assert_allclose(color.with_colors_of(image, image), image, atol=1e-6)


def test_with_colors_of_exchanges_y_of_yiq() -> None:
    """Y of one, I and Q of the other, by the matrix of YIQ and its inverse, where nothing exceeds the range."""
    light, image = color.luminance(random(seed=7)), random(seed=8)
    mixed = image @ YIQ.T
    mixed[:, :, 0] = light[:, :, 0]
    expected = mixed @ np.linalg.inv(YIQ).T
    assert expected.min() > 0
    assert expected.max() < 1
    found = color.with_colors_of(light, image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_with_colors_of_keeps_luminance_and_hue_within_the_range() -> None:
    generator = np.random.default_rng(9)
    light = grey(generator.random((50, 60)))
    image = generator.random((50, 60, 3)).astype(np.float32)
    found = color.with_colors_of(light, image)
    assert found.min() >= 0
    assert found.max() <= 1
    yiq, wanted = found @ YIQ.T, image @ YIQ.T
    np.testing.assert_allclose(yiq[:, :, 0], light[:, :, 0], atol=1e-6)
    chroma, full = (x[:, :, 1] + 1j * x[:, :, 2] for x in (yiq, wanted))
    scale = np.abs(chroma) / np.abs(full)
    np.testing.assert_allclose(chroma, scale * full, atol=1e-5)  # the same angle
    assert scale.max() <= 1 + 1e-4
    # Scaled down no further than to where a channel is full or empty.
    reduced = found[scale < 1 - 1e-4]
    assert len(reduced) > 100
    edge = np.minimum(reduced.min(axis=1), 1 - reduced.max(axis=1))
    np.testing.assert_allclose(edge, 0, atol=1e-6)


@pytest.mark.parametrize("value", [0, 1])
def test_black_and_white_take_no_colour(value: float) -> None:
    light = np.full((20, 20, 3), value, np.float32)
    image = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    np.testing.assert_allclose(color.with_colors_of(light, image), light, atol=1e-6)


def test_white_that_exceeds_one_by_rounding() -> None:
    """A channel whose chroma is all but 0 must not blow up the others by what its room falls short of 0."""
    image = np.array([[[0.5, 0.5, 0.5]]], np.float64)
    image += 0.3 * np.array([1, -0.299 / 0.587, 0])
    image[:, :, 2] += np.spacing(0.5)
    found = color.with_colors_of(np.full((1, 1, 3), 1 + 1e-7, np.float32), image)
    np.testing.assert_array_equal(found, np.ones((1, 1, 3)))


def test_grey_gives_no_colour() -> None:
    light = grey(np.random.default_rng(0).random((6, 5)))
    np.testing.assert_allclose(color.with_colors_of(light, grey(np.eye(6)[:, :5])), light, atol=1e-6)


def test_one_pixel() -> None:
    pixel = np.full((1, 1, 3), (0.2, 0.4, 0.6), np.float32)
    for found in (color.match_colors(pixel, pixel), color.with_colors_of(pixel, pixel)):
        np.testing.assert_allclose(found, pixel, atol=1e-6)
    np.testing.assert_allclose(color.match_luminance(pixel, pixel), color.luminance(pixel), atol=1e-6)
