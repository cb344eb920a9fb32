"""Sizes of levels, and the noise that they start from."""

from __future__ import annotations

import numpy as np
import pytest

from pyengine.level import Exemplar, Level
from pyengine.pyramid import add_detail, default_levels, level_sizes, white_noise


def test_sizes_of_a_long_picture():
    assert default_levels("noise", (40, 4000)) == default_levels("patches", (40, 4000)) == 1
    assert level_sizes((4000, 40), 1) == [(4000, 40)]


def level(image: np.ndarray, size: tuple[int, int]) -> Level:
    return Level(size, (Exemplar(image),))


def test_noise_in_the_exemplars_colours():
    exemplar = np.zeros((8, 8, 3), np.float32)
    exemplar[:, ::2] = (1, 0, 0)
    generator = np.random.default_rng(0)
    noise = white_noise(level(exemplar, (50, 40)), generator)
    assert noise.shape == (40, 50, 3)
    assert noise[..., 0].mean() == pytest.approx(0.5, abs=0.05)
    grey = np.full((16, 16, 3), 0.5, np.float32)
    detailed = add_detail(grey, level(exemplar, (16, 16)), generator)
    assert detailed[..., 0].std() > 0.01
    assert detailed[..., 1].std() == pytest.approx(0, abs=1e-6)  # the exemplar has no detail in green
    flat = add_detail(grey, level(np.ones((17, 3, 3), np.float32), (16, 16)), generator)
    assert np.allclose(flat, 0.5)
