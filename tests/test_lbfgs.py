"""The optimiser, on functions whose minimum is known, and against SciPy's."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import reference
from scipy.optimize import Bounds
from scipy.optimize import minimize as scipy_minimize

from pyengine import PyengineError
from pyengine.kernels.cpu import CpuKernels
from pyengine.optimizers import lbfgs
from pyengine.optimizers.lbfgs import PAIRS, Descent, State, minimize

KERNELS = CpuKernels(threads=2)
Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def optimize(function: Function, start: np.ndarray, iterations: int, callback: Any = None, free: Any = None):
    """`minimize` for a function whose value is a number, from a copy; the callback gets a copy of the image."""

    def terms(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = function(x)
        return np.array([0.75 * value, 0.25 * value]), gradient

    def copied(x: np.ndarray, terms: list[float]) -> None:
        callback(x.copy())

    return minimize(terms, start.copy(), iterations, KERNELS, callback and copied, free)


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
    found = optimize(function, np.zeros(30, np.float32), 200)
    assert np.abs(found - centre).max() < 1e-3


@pytest.mark.parametrize("spread", [0.5, 5.0])
@pytest.mark.parametrize("condition", [10, 100])
def test_a_quadratic_beyond_the_bounds_against_scipy(condition, spread):
    function, _ = quadratic(40, condition, spread)
    start = np.random.default_rng(1).random(40).astype(np.float32)
    found = optimize(function, start, 200)
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

    found = optimize(function, rng.integers(0, 2, 5000).astype(np.float32), 25)
    assert np.abs(found - target.clip(0, 1)).max() < 1e-2


def test_evaluations_are_few():
    """A step of the full length is tried first: after the first steps nearly every evaluation is an iteration."""
    function, _ = quadratic(30, 100, spread=0.3)
    evaluations, iterations = [], []
    optimize(lambda x: evaluations.append(1) or function(x), np.zeros(30, np.float32), 60, iterations.append)
    assert len(evaluations) <= 1.3 * len(iterations) + 12  # at the end, no lower value can be found


def test_values_never_rise():
    def function(x):  # Rosenbrock's valley within the bounds
        a, b = map(float, x)
        gradient = [-400 * a * (b - a * a) - 2 * (0.9 - a), 200 * (b - a * a)]
        return 100 * (b - a * a) ** 2 + (0.9 - a) ** 2, np.float32(gradient)

    seen = []
    found = optimize(function, np.array([0.0, 1.0], np.float32), 300, lambda x: seen.append(function(x)[0]))
    assert all(b <= a for a, b in pairwise(seen))
    assert found == pytest.approx([0.9, 0.81], abs=2e-2)


def test_a_step_into_what_is_not_finite_is_shortened():
    def function(x):
        value = float(x[0])
        return (np.nan if value > 0.6 else (value - 0.5) ** 2), np.float32([2 * (value - 0.5)])

    assert optimize(function, np.zeros(1, np.float32), 30) == pytest.approx([0.5], abs=1e-3)


def test_what_is_not_finite_leaves_no_trace():
    """A value and a gradient that are none, tried with all pairs there, do not get into later directions."""
    function, centre = quadratic(30, 100, spread=0.1)
    calls = []

    def failing(x):
        calls.append(len(calls))
        value, gradient = function(x)
        return (np.nan, gradient * np.float32(np.nan)) if calls[-1] % 7 == 6 else (value, gradient)

    seen = []
    found = optimize(failing, np.zeros(30, np.float32), 300, seen.append)
    assert len(calls) > 40
    assert all(np.isfinite(x).all() for x in seen)
    assert np.abs(found - centre).max() < 2e-3


def test_at_a_minimum_it_ends():
    calls = []
    start = np.float32([0.0, 1.0])
    found = optimize(lambda x: calls.append(1) or (1.0, np.float32([1.0, -1.0])), start, 50)
    assert np.array_equal(found, start)
    assert len(calls) <= 2  # at the start, and where the first step ends


def test_a_wrong_gradient_ends_it_too():
    rng = np.random.default_rng(0)
    start = np.full(4, 0.5, np.float32)
    found = optimize(lambda x: (float(((x - 0.5) ** 2).sum()), rng.standard_normal(4).astype(np.float32)), start, 50)
    assert np.isfinite(found).all()


def test_only_what_is_free_changes():
    target = np.full((2, 3, 3), 0.5, np.float32)
    free = np.array([[True, False, True], [False, False, True]])
    start = np.zeros((2, 3, 3), np.float32)
    found = optimize(lambda x: (float(((x - target) ** 2).sum()), 2 * (x - target)), start, 20, free=free)
    assert np.array_equal(found[~free], start[~free])
    assert np.allclose(found[free], 0.5)


def test_the_callback_gets_the_terms_of_its_image():
    function, _ = quadratic(10, 10, spread=0.3)
    seen = []

    def terms(x):
        value, gradient = function(x)
        return np.array([value - 7, 7.0]), gradient

    def callback(x, found):
        seen.append(sum(found))
        assert found == pytest.approx([function(x)[0] - 7, 7])

    minimize(terms, np.zeros(10, np.float32), 5, KERNELS, callback)
    assert len(seen) == 5


def test_the_image_has_the_starts_shape_and_its_memory():
    start = np.full((4, 5, 3), 0.25, np.float32)
    shapes = set()

    def function(x):
        shapes.add(x.shape)
        return np.array([((x - 0.5) ** 2).sum()], np.float64), 2 * (x - np.float32(0.5))

    found = minimize(function, start, 10, KERNELS)
    assert shapes == {found.shape} == {start.shape}
    assert found == pytest.approx(np.full((4, 5, 3), 0.5))
    assert np.shares_memory(found, start)


def test_a_gradient_may_be_overwritten_by_the_next():
    """As a network does."""
    function, _ = quadratic(30, 100, spread=0.1)
    buffer = np.empty(30, np.float32)

    def overwriting(x):
        value, buffer[:] = function(x)
        return value, buffer

    start = np.zeros(30, np.float32)
    assert np.array_equal(optimize(overwriting, start, 40), optimize(function, start, 40))


def test_steps_are_those_of_the_textbook():
    """Without bounds in reach: each direction is that of the two-loop recursion over the last pairs."""
    function, _ = quadratic(40, 200, spread=0.05)
    points: list[np.ndarray] = [np.full(40, 0.5, np.float32)]
    gradients = [function(points[0])[1]]
    tried: list[np.ndarray] = []
    optimize(lambda x: tried.append(x.copy()) or function(x), points[0], PAIRS + 8, points.append)
    gradients += [function(x)[1] for x in points[1:]]
    assert len(points) == PAIRS + 9
    steps = [b.astype(np.float64) - a for a, b in pairwise(points)]
    changes = [b.astype(np.float64) - a for a, b in pairwise(gradients)]
    for k in range(1, len(steps)):
        last = slice(max(k - PAIRS, 0), k)
        direction = -reference.two_loop(gradients[k], steps[last], changes[last])
        cosine = steps[k] @ direction / np.linalg.norm(steps[k]) / np.linalg.norm(direction)
        assert cosine > 1 - 1e-4, k
    assert len(tried) < 1.3 * len(points)  # most are steps of the full length


def test_what_is_not_free_keeps_its_bits():
    """Values that arithmetic would round."""
    rng = np.random.default_rng(0)
    start = rng.random((6, 7, 3), np.float32)
    start[0, :3, 0] = [0, 1e-40, 1 - 2**-24]
    free = rng.random((6, 7)) < 0.5
    free[0, :3] = False
    found = optimize(lambda x: (float(((x - 0.5) ** 2).sum()), 2 * (x - np.float32(0.5))), start, 20, free=free)
    assert found[~free].tobytes() == start[~free].tobytes()
    assert found[free] == pytest.approx(np.full(found[free].shape, 0.5), abs=1e-5)


def test_a_mean_change_of_the_first_step_is_of_what_is_free():
    """However little it is of the image."""
    free = np.zeros((16, 16), bool)
    free[3, 5] = True
    start = np.full((16, 16, 3), 0.25, np.float32)
    first = []
    optimize(lambda x: (float(x.sum()), np.ones_like(x)), start, 1, first.append, free)
    assert start[3, 5] - first[0][3, 5] == pytest.approx(np.full(3, 0.02), rel=1e-4)


def test_no_iterations_or_nothing_free_changes_nothing():
    start = np.random.default_rng(0).random((2, 3, 3), np.float32)

    def function(x):
        raise AssertionError

    assert np.array_equal(minimize(function, start.copy(), 0, KERNELS), start)
    assert np.array_equal(minimize(function, start.copy(), 9, KERNELS, free=np.zeros((2, 3), bool)), start)


def test_the_number_of_threads_changes_no_bit():
    function, _ = quadratic(200, 100, spread=1.0)
    start = np.random.default_rng(0).random(200, np.float32)
    results = [
        minimize(lambda x: (np.array([function(x)[0]]), function(x)[1]), start.copy(), 30, CpuKernels(threads))
        for threads in (1, 2, 3)
    ]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_a_matrix_in_a_file_changes_no_bit(monkeypatch):
    monkeypatch.setattr(lbfgs, "BLOCK", 8192)  # three blocks, the last one shorter
    size = 2 * 8192 + 1000
    target = np.random.default_rng(0).random(size, np.float32)
    slope = np.linspace(1, 30, size, dtype=np.float32)
    kernels = CpuKernels(threads=2)

    def function(x):
        return np.array([0.5 * ((x - target) ** 2) @ slope], np.float64), slope * (x - target)

    found = []
    for spill in (False, True):
        descent = Descent(function, np.zeros(size, np.float32), kernels, spill=spill)
        assert all(descent.step() for _ in range(12))
        found.append(descent.image)
    assert np.abs(found[0] - target).max() < 0.2
    assert np.array_equal(*found)
    monkeypatch.setattr(lbfgs, "BLOCK", 2**20)
    assert np.allclose(lbfgs.minimize(function, np.zeros(size, np.float32), 12, kernels), found[0], atol=1e-4)


def test_a_full_disk_is_an_error_of_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(PyengineError, match=r"has no room for 1120 bytes \(No space.*\): set TMPDIR") as error:
        Descent(lambda x: (np.zeros(1), x), np.ones(10, np.float32), CpuKernels(threads=1), spill=True)
    assert "\n" not in str(error.value)


def test_only_what_is_free_is_optimised():
    """Of an image, pixels; with nothing free, nothing."""
    start, target = np.zeros((2, 3, 3), np.float32), np.full((2, 3, 3), 0.5, np.float32)
    target[0, 0] = 7  # beyond the bounds
    free = np.array([[True, False, True], [False, False, True]])
    seen: list[np.ndarray] = []

    def function(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert not image[~free].any()
        return np.array([((image - target) ** 2).sum()], np.float64), 2 * (image - target)

    kernels = CpuKernels(threads=1)
    found = minimize(function, start, 20, kernels, lambda image, terms: seen.append(image.copy()), free)
    assert np.allclose(found[free], target[free].clip(0, 1), atol=1e-6)
    assert not found[~free].any()
    assert np.array_equal(seen[-1], found)
    assert np.array_equal(minimize(function, start, 20, kernels, free=np.zeros((2, 3), bool)), start)


@pytest.mark.parametrize("spill", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_descent_goes_on_from_a_state_to_the_same_bits(monkeypatch, spill, masked):
    """Whether pairs are few or all there, and some of them replaced."""
    monkeypatch.setattr(lbfgs, "BLOCK", 4096)  # two blocks, the last one shorter
    rng = np.random.default_rng(0)
    target, free = rng.uniform(-0.5, 1.5, (40, 45, 3)), rng.random((40, 45)) < 0.7 if masked else None
    scale = rng.uniform(1, 30, target.shape)
    kernels = CpuKernels(threads=1)
    evaluated = []

    def function(x):
        evaluated.append(x.copy())
        return np.array([0.1, 0.9]) * (scale * (x - target) ** 2).sum(), (2 * scale * (x - target)).astype(np.float32)

    def started(state=None):
        place = np.full(target.shape, 0.5 if state is None else 7, np.float32)
        return Descent(function, place, kernels, free, spill=spill, state=state)

    def copied(state):
        vectors = [vector.copy() for vector in state.vectors]
        assert [len(vector) for vector in vectors] == State.lengths(target.size, state.pairs)
        return State([*state.terms], state.pairs, state.slot, state.side, vectors)

    descent, states, images = started(), [], []
    for _ in range(PAIRS + 6):
        assert descent.step()
        states.append(copied(descent.state))
        images.append(descent.image.copy())
    assert {state.pairs for state in states} == {*range(1, PAIRS + 1)}
    for k in (0, 1, PAIRS // 2, len(states) - 2):
        evaluated.clear()
        other = started(states[k])
        assert (other.image.tobytes(), other.terms) == (images[k].tobytes(), states[k].terms)
        assert not evaluated  # what is known is not evaluated again
        for image, state in zip(images[k + 1 :], states[k + 1 :], strict=True):
            assert other.step()
            assert (other.image.tobytes(), other.terms) == (image.tobytes(), state.terms)


@pytest.mark.parametrize("damage", [1e38, -1e-38])
@pytest.mark.parametrize("row", range(2, 6))
def test_pairs_that_are_not_of_its_function_lead_nowhere(row, damage):
    """They may come out of a checkpoint that is damaged: then the steepest descent is what there is."""
    target = np.linspace(0.1, 0.9, 20, dtype=np.float32)

    def function(x):
        return np.array([((x - target) ** 2).sum(dtype=float)]), 2 * (x - target)

    descent = Descent(function, np.full(20, 0.5, np.float32), CpuKernels(threads=1))
    for _ in range(2):
        assert descent.step()
    state = descent.state
    vectors = [vector.copy() for vector in state.vectors]
    vectors[row][:] = damage
    other = Descent(
        function,
        np.zeros(20, np.float32),
        CpuKernels(threads=1),
        state=State([*state.terms], state.pairs, state.slot, state.side, vectors),
    )
    before = other.terms
    other.step()
    assert np.isfinite(other.image).all()
    assert other.terms <= before
