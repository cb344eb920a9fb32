"""The lattices of pictures whose periods are known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import EXAMPLES
from scipy.ndimage import gaussian_filter

from pyengine.images.reading import load
from pyengine.periods import find_lattice


def grey(values: np.ndarray) -> np.ndarray:
    values = (values - values.min()) / np.ptp(values)
    return np.repeat(values[:, :, None], 3, axis=2).astype(np.float32)


def turned(basis: list[list[float]], degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(basis) @ [[cos, sin], [-sin, cos]]


def pattern(basis: np.ndarray, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """Something lopsided at each point of a lattice of (right, down)."""
    y, x = np.indices(shape)
    u, v = np.tensordot(np.linalg.inv(basis).T, np.stack([x, y]), axes=1) * 2 * np.pi
    return np.exp(np.cos(u) + np.cos(v)) + np.sin(u + 0.3) + 0.6 * np.cos(u - v + 1)


def wall(width: float, height: float, shift: float, shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    y, x = np.indices(shape, float)
    course = np.floor(y / height)
    return np.where(((x + course * shift) % width < 3) | (y % height < 3), 1.0, 0.0)


def stripes(period: float, degrees: float, shape: tuple[int, int] = (100, 140)) -> np.ndarray:
    y, x = np.indices(shape)
    phase = (x * np.cos(np.radians(degrees)) - y * np.sin(np.radians(degrees))) / period * 2 * np.pi
    return np.cos(phase) + 0.7 * np.cos(2 * phase + 1)


def assert_same(found, basis, within: float = 0.25) -> None:
    """Two bases of one lattice, to a fraction of a pixel."""
    assert found is not None
    assert len(found.vectors) == 2
    multiples = np.array(found.vectors) @ np.linalg.inv(basis)
    assert abs(abs(np.linalg.det(np.rint(multiples))) - 1) < 1e-9
    assert np.abs(np.rint(multiples) @ basis - found.vectors).max() < within


BASES = {
    "square": [[17.3, 0], [0, 17.3]],
    "long": [[11, 0], [0, 24.5]],
    "hexagonal": [[20, 0], [10, 17.32]],
    "oblique": [[16, 3], [5, 21]],
}


@pytest.mark.parametrize("degrees", [0, 17.3, 45, 71])
@pytest.mark.parametrize("name", BASES)
def test_lattices_of_every_shape_and_direction(name, degrees):
    basis = turned(BASES[name], degrees)
    found = find_lattice(grey(pattern(basis)))
    assert_same(found, basis)
    assert found.regularity > 0.9


@pytest.mark.parametrize("shape", [(64, 64), (96, 200), (300, 260), (600, 800)])
def test_pictures_of_every_size(shape):
    basis = np.array(BASES["hexagonal"]) * min(shape) / 128
    assert_same(find_lattice(grey(pattern(basis, shape))), basis)


def test_noise_makes_a_lattice_less_regular(rng):
    basis = turned(BASES["square"], 10)
    clean = pattern(basis)
    found = find_lattice(grey(clean + 2 * clean.std() * rng.standard_normal(clean.shape)))
    assert_same(found, basis, within=0.5)
    assert 0.3 < found.regularity < 0.9


@pytest.mark.parametrize(("width", "height", "shift"), [(30, 12, 15), (41, 14, 20.5), (24, 24, 0), (33, 11, 11)])
def test_walls(rng, width, height, shift):
    basis = np.array([[width, 0], [-shift, height]])
    bricks = wall(width, height, shift)
    assert_same(find_lattice(grey(bricks)), basis)
    assert_same(find_lattice(grey(bricks + 0.2 * rng.standard_normal(bricks.shape))), basis)


def test_a_period_is_neither_halved_nor_doubled():
    """Every other brick is darker, and in the second wall every other by next to nothing."""
    y, x = np.indices((160, 200))
    odd = ((x // 30 + y // 12) % 2).astype(float)
    bricks = wall(30, 12, 0)
    assert_same(find_lattice(grey(bricks + 0.5 * odd * (1 - bricks))), np.array([[30, 12], [30, -12]]))
    assert_same(find_lattice(grey(bricks + 0.02 * odd * (1 - bricks))), np.array([[30, 0], [0, 12]]))


@pytest.mark.parametrize("degrees", [0, 3, 30, 45, 90, 135, 160])
@pytest.mark.parametrize("period", [7, 11.7, 20.2])
def test_stripes_have_one_direction(rng, period, degrees):
    clean = stripes(period, degrees)
    for picture in (clean, clean + 0.5 * rng.standard_normal(clean.shape)):
        found = find_lattice(grey(picture))
        assert found is not None
        (vector,) = found.vectors
        expected = period * np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))])
        assert min(np.abs(expected - vector).max(), np.abs(expected + vector).max()) < 0.15


@pytest.mark.parametrize("name", ["gravel.png", "grass.png", "galaxies.png", "strokes.png", "buttons.png"])
def test_what_has_no_lattice(name):
    assert find_lattice(load(EXAMPLES / name)) is None


@pytest.mark.parametrize("blur", [0, 2, (1, 8)])
def test_noise_has_no_lattice(rng, blur):
    for shape in ((64, 64), (100, 128)):
        assert find_lattice(grey(gaussian_filter(rng.standard_normal(shape), blur))) is None


def test_flat_and_tiny_pictures_have_no_lattice():
    assert find_lattice(np.full((64, 64, 3), 0.3, np.float32)) is None
    assert find_lattice(np.zeros((16, 16, 3), np.float32)) is None
    assert find_lattice(grey(stripes(30, 0, (16, 100)))) is None


def test_lattices_of_the_examples():
    assert_same(find_lattice(load(EXAMPLES / "tiles.png")), np.array([[24, 24], [24, -24]]))
    assert_same(find_lattice(load(EXAMPLES / "weave.png")), np.array([[14, 14], [14, -14]]))


def test_shade_and_holes_hide_no_lattice(rng):
    basis = turned(BASES["oblique"], 5)
    picture = pattern(basis)
    shade = 3 * picture.std() * np.sin(np.indices(picture.shape)[0] / 50)
    assert_same(find_lattice(grey(picture + shade)), basis, within=0.5)
    known = np.ones(picture.shape, bool)
    known[:50, :60] = False
    torn = grey(picture)
    torn[~known] = rng.random((np.count_nonzero(~known), 3))
    assert_same(find_lattice(torn, known), basis)
