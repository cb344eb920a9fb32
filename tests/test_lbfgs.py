"""The optimiser, on functions whose minimum is known, and against SciPy's."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import Bounds
from scipy.optimize import minimize as scipy_minimize

from pyengine.optimizers.lbfgs import minimize


def quadratic(size: int, condition: float, spread: float, seed: int = 0):
    """A function with curvatures from 1 to `condition` along random axes, and its minimum without bounds."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((size, size)))[0]
    matrix = (axes * np.geomspace(1, condition, size)) @ axes.T
    centre = 0.5 + spread * rng.standard_normal(size)

    def function(x):
        gradient = matrix @ (x.astype(np.float64) - centre)
        return 0.5 * float((x - centre) @ gradient), gradient.astype(np.float32)

    return function, centre


@pytest.mark.parametrize("condition", [1, 10, 1000])
def test_a_quadratic_inside_the_bounds(condition):
    function, centre = quadratic(30, condition, spread=0.1)
    found = minimize(function, np.zeros(30, np.float32), 200)
    assert np.abs(found - centre).max() < 1e-3


@pytest.mark.parametrize("spread", [0.5, 5.0])
@pytest.mark.parametrize("condition", [10, 100])
def test_a_quadratic_beyond_the_bounds_against_scipy(condition, spread):
    function, _ = quadratic(40, condition, spread)
    start = np.random.default_rng(1).random(40).astype(np.float32)
    found = minimize(function, start, 200)
    expected = scipy_minimize(
        lambda x: (function(x)[0], function(x)[1].astype(np.float64)), start, jac=True, bounds=Bounds(0, 1),
        method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-15},
    )  # fmt: skip
    assert found.min() >= 0
    assert found.max() <= 1
    assert function(found)[0] == pytest.approx(expected.fun, rel=1e-4)


def test_many_variables_at_their_bounds_do_not_stop_the_others():
    """The step goes on where the first variables are clipped; L-BFGS-B takes hundreds of iterations here."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-0.5, 1.5, 5000)
    scale = rng.uniform(1, 30, 5000)

    def function(x):
        return float((scale * (x - target) ** 2).sum()), (2 * scale * (x - target)).astype(np.float32)

    found = minimize(function, rng.integers(0, 2, 5000).astype(np.float32), 25)
    assert np.abs(found - target.clip(0, 1)).max() < 1e-2


def test_evaluations_are_few():
    """A step of the full length is tried first: after the first steps nearly every evaluation is an iteration."""
    function, _ = quadratic(30, 100, spread=0.3)
    evaluations, iterations = [], []
    minimize(lambda x: evaluations.append(1) or function(x), np.zeros(30, np.float32), 60, iterations.append)
    assert len(evaluations) <= 1.3 * len(iterations) + 12  # at the end, no lower value can be found


def test_values_never_rise():
    def function(x):  # Rosenbrock's valley within the bounds
        a, b = map(float, x)
        gradient = [-400 * a * (b - a * a) - 2 * (0.9 - a), 200 * (b - a * a)]
        return 100 * (b - a * a) ** 2 + (0.9 - a) ** 2, np.float32(gradient)

    seen = []
    found = minimize(function, np.array([0.0, 1.0], np.float32), 300, lambda x: seen.append(function(x)[0]))
    assert all(b <= a for a, b in pairwise(seen))
    assert found == pytest.approx([0.9, 0.81], abs=2e-2)


def test_a_step_into_what_is_not_finite_is_shortened():
    def function(x):
        value = float(x[0])
        return (np.nan if value > 0.6 else (value - 0.5) ** 2), np.float32([2 * (value - 0.5)])

    assert minimize(function, np.zeros(1, np.float32), 30) == pytest.approx([0.5], abs=1e-3)


def test_at_a_minimum_it_ends():
    calls = []
    start = np.float32([0.0, 1.0])
    found = minimize(lambda x: calls.append(1) or (1.0, np.float32([1.0, -1.0])), start, 50)
    assert np.array_equal(found, start)
    assert len(calls) == 1


def test_a_wrong_gradient_ends_it_too():
    rng = np.random.default_rng(0)
    start = np.full(4, 0.5, np.float32)
    found = minimize(lambda x: (float(((x - 0.5) ** 2).sum()), rng.standard_normal(4).astype(np.float32)), start, 50)
    assert np.isfinite(found).all()


def test_stopping_keeps_the_image_so_far():
    function, _ = quadratic(10, 10, spread=0.3)
    seen = []

    def callback(x):
        seen.append(x)
        if len(seen) == 3:
            raise StopIteration

    found = minimize(function, np.zeros(10, np.float32), 50, callback)
    assert len(seen) == 3
    assert np.array_equal(found, seen[-1])


def test_only_what_is_free_changes():
    target = np.full((2, 3, 3), 0.5, np.float32)
    free = np.array([[True, False, True], [False, False, True]])
    start = np.zeros((2, 3, 3), np.float32)
    found = minimize(lambda x: (float(((x - target) ** 2).sum()), 2 * (x - target)), start, 20, free=free)
    assert np.array_equal(found[~free], start[~free])
    assert np.allclose(found[free], 0.5)
