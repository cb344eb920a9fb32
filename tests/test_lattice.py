"""Autocorrelation and its peaks."""

import numpy as np
import pytest

from pyengine.lattice import Peak, autocorrelation, peaks


@pytest.mark.parametrize("shape", [(20, 30), (17, 16), (9, 40)])
def test_autocorrelation_is_the_mean_over_the_pairs_inside(rng, shape):
    image = rng.random(shape)
    found = autocorrelation(image)
    height, width = shape
    assert found.shape == (2 * (height // 2) + 1, 2 * (width // 2) + 1)
    assert found.dtype == np.float64
    deviations = image - image.mean()
    for rows, columns in [(0, 0), (0, 1), (3, 0), (2, -5), (-4, 7), (height // 2, -(width // 2))]:
        first = deviations[max(-rows, 0) : height - max(rows, 0), max(-columns, 0) : width - max(columns, 0)]
        second = deviations[max(rows, 0) :, max(columns, 0) :][: first.shape[0], : first.shape[1]]
        expected = (first * second).mean() / image.var()
        assert found[height // 2 + rows, width // 2 + columns] == pytest.approx(expected, abs=1e-12)


def test_autocorrelation_does_not_change_with_brightness_and_contrast(rng):
    image = rng.random((24, 24))
    np.testing.assert_allclose(autocorrelation(0.2 * image + 3), autocorrelation(image), atol=1e-9)


@pytest.mark.parametrize("grey", [0.0, 0.1, 1.0])
def test_nothing_recurs_in_a_flat_picture(grey):
    correlation = autocorrelation(np.full((20, 21), grey, np.float32))
    assert not correlation.any()
    assert peaks(correlation, 1) == []


def test_peaks():
    correlation = np.zeros((41, 61))
    correlation[20, 30] = 1
    for rows, columns, strength in [(0, 8, 0.5), (5, -9, 0.9), (9, 1, 0.3), (10, 12, 0.2), (5, -11, 0.8), (3, 0, 0.7)]:
        correlation[20 + rows, 30 + columns] = correlation[20 - rows, 30 - columns] = strength
    expected = [Peak(0.9, 5, -9), Peak(0.5, 0, 8), Peak(0.3, 9, 1)]  # without what is near a higher one
    assert peaks(correlation, 4) == expected
    assert peaks(correlation, 8.5) == [expected[0], expected[2]]
    assert peaks(correlation, 4, 0.4) == expected[:2]
    assert peaks(correlation, 4, 0.15) == [*expected, Peak(0.2, 10, 12)]


def test_what_rises_to_the_border_is_no_peak():
    ramp = np.abs(np.arange(-20, 21)) * np.ones((41, 1))
    assert peaks(ramp / 20, 1) == []
