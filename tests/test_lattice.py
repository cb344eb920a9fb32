"""Autocorrelation and its peaks; lattices, and what fits them."""

import numpy as np
import pytest

from pyengine.lattice import Lattice, Peak, autocorrelation, peaks, reduced
from pyengine.wrap import Wrap


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


BRICKS = Lattice(((15.0, -12.0), (15.0, 12.0)), 0.9)
STRIPES = Lattice(((20.0, 0.0),), 0.9)
HONEYCOMB = Lattice(((20.0, 0.0), (10.0, 17.32)), 0.9)


@pytest.mark.parametrize("matrix", [[[1, 0], [0, 1]], [[3, 1], [2, 1]], [[-1, 4], [0, 1]], [[7, 12], [4, 7]]])
def test_the_shortest_vectors_of_a_lattice(matrix):
    short = np.array([[5.0, 1.0], [-2.0, 8.0]])
    found = reduced(np.array(matrix) @ short)
    for vector, expected in zip(found, short, strict=True):
        assert np.allclose(vector, expected) or np.allclose(vector, -expected)


def test_a_lattice_has_its_vectors_in_order():
    for basis in ([[10, 17], [20, 0]], [[-10, -17], [-20, 0]], [[20, 0], [-10, -17]]):
        assert Lattice.of(np.array(basis, float), 0.5).vectors == ((20.0, 0.0), (10.0, 17.0))
    assert Lattice.of(np.array([[0.0, -7.0]]), 1.2) == Lattice(((0.0, 7.0),), 1.0)


def test_periods_and_angles():
    assert BRICKS.periods == pytest.approx((369**0.5, 369**0.5))
    assert BRICKS.angles == pytest.approx((38.66, -38.66), abs=0.01)
    assert STRIPES.scaled(1.5, 2).vectors == ((30.0, 0.0),)


@pytest.mark.parametrize(
    ("lattice", "size", "expected"),
    [
        (BRICKS, (128, 128), (120, 120)),
        (BRICKS, (106, 109), (120, 120)),
        (BRICKS, (10, 5), (30, 24)),
        (STRIPES, (128, 77), (120, 77)),
        (HONEYCOMB, (128, 100), (120, 104)),
        (Lattice(((41.3, 0.4), (0.0, 30.0)), 0.9), (200, 250), (206, 240)),  # a little askew
        (Lattice(((12.0, 5.0), (-5.0, 12.0)), 0.9), (170, 160), (169, 169)),  # 13 pixels, of 13 times 13
    ],
)
def test_the_nearest_size_that_tiles(lattice, size, expected):
    assert lattice.fitting_size(size) == expected


def test_a_size_that_tiles_may_have_a_least_side():
    assert BRICKS.fitting_size((28, 25)) == (30, 24)
    assert BRICKS.fitting_size((28, 25), shortest=32) == (60, 48)


@pytest.mark.parametrize("size", [(128, 128), (106, 109), (200, 333)])
@pytest.mark.parametrize("lattice", [BRICKS, STRIPES, HONEYCOMB])
def test_a_scaled_lattice_tiles(lattice, size):
    scales = lattice.fitting_scale(size)
    assert max(np.abs(np.log(scales))) < 0.15
    assert not lattice.scaled(*scales).shows(size)
    assert lattice.scaled(*scales).fitting_size(size) == size


def test_where_it_shows_that_a_size_does_not_tile():
    assert not BRICKS.shows((120, 120))
    assert BRICKS.shows((128, 120))
    assert BRICKS.shows((120, 128))
    assert not BRICKS.shows((122, 119))
    assert not BRICKS.shows((1208, 1200))  # less than a hundredth
    assert not STRIPES.shows((120, 133))
    assert STRIPES.shows((130, 133))


def test_only_the_axes_that_wrap_round_have_to_fit():
    """Bricks after 30 and 24 pixels."""
    x, y, none = (Wrap.of(axes) for axes in ("x", "y", "none"))
    assert [BRICKS.fitting_size((28, 25), wrap=wrap) for wrap in (x, y, none)] == [(30, 25), (28, 24), (28, 25)]
    assert BRICKS.fitting_scale((100, 133), x) == (pytest.approx(10 / 9), 1)
    assert BRICKS.fitting_scale((100, 133), y) == (1, pytest.approx(133 / 144))
    assert [BRICKS.shows((120, 128), wrap) for wrap in (x, y, none)] == [False, True, False]
    assert [BRICKS.may_be_scaled((40, 120), wrap) for wrap in (x, y, none)] == [False, True, True]
