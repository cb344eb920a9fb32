"""L-BFGS over the pixels, each kept within [0, 1] by projection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32

PAIRS = 10
"""Steps, with the changes of the gradient along them, from which the curvature is known."""

FIRST_STEP = 0.02
"""Mean change of a pixel by the first step, of which nothing but the direction is known."""

SUFFICIENT = 1e-4
"""Share of the decrease expected by the slope that a step must achieve (Armijo)."""

SHORTENINGS = 12
"""Of one step, before the curvature is forgotten; a step along the gradient itself is shortened as often at most."""


def minimize(
    function: Callable[[Float32], tuple[float, Float32]],
    start: Float32,
    iterations: int,
    callback: Callable[[Float32], None] | None = None,
    free: npt.NDArray[np.bool_] | None = None,
) -> Float32:
    """Image near a minimum of `function` within the bounds 0 and 1.

    L-BFGS (Nocedal 1980) with the two-metric projection of Bertsekas 1982: variables that are at a bound, and that the
    gradient holds there, are left out of the step, and the rest of the image is moved along the quasi-Newton direction
    and clipped. A method that stops a step where the first variable reaches its bound, such as L-BFGS-B's, gets stuck
    on images in black and white. Keeps 10 pairs, 20 numbers of 4 bytes for each of the image's.

    Parameters
    ----------
    function : callable
        From a float32 array to the value and the float32 gradient.
    start : float32 array
    iterations : int
        At most so many; fewer only where no lower value can be found.
    callback : callable, optional
        Called with the image after each iteration; ends the run, keeping that image, by raising StopIteration.
    free : bool array, optional
        Which pixels may change, for a `start` of one axis more; the others are no variables at all, which is what
        equal bounds would make of them.

    Examples
    --------
    >>> target = np.array([0.25, 2.0], np.float32)
    >>> minimize(lambda x: (float(((x - target) ** 2).sum()), 2 * (x - target)), np.zeros(2, np.float32), 20)
    array([0.25, 1.  ], dtype=float32)
    """

    def image_of(x: Float32) -> Float32:
        if free is None:
            return x.reshape(start.shape)
        image = start.copy()
        image[free] = x.reshape(-1, *start.shape[free.ndim :])
        return image

    def variables(image: Float32) -> Float32:
        return (image if free is None else image[free]).ravel()

    def evaluate(x: Float32) -> tuple[float, Float32]:
        value, gradient = function(image_of(x))
        return value, variables(gradient)

    x = variables(start).clip(0, 1)
    if iterations == 0 or x.size == 0:
        return start
    value, gradient = evaluate(x)
    pairs: deque[tuple[Float32, Float32, float]] = deque(maxlen=PAIRS)
    for _ in range(iterations):
        found = None
        while found is None:
            held = ((x <= 0) & (gradient > 0)) | ((x >= 1) & (gradient < 0))
            descent = np.where(held, 0, -gradient)
            direction = _quasi_newton(descent, pairs)
            direction[held] = 0
            found = _search(evaluate, x, value, gradient, direction, 1.0 if pairs else _first_step(descent))
            if found is None and not pairs:
                return image_of(x)
            if found is None:
                pairs.clear()
        next_x, value, next_gradient = found
        step, change = next_x - x, next_gradient - gradient
        curvature = _dot(step, change)
        if curvature > 1e-10 * _dot(change, change):
            pairs.append((step, change, curvature))
        x, gradient = next_x, next_gradient
        if callback is not None:
            try:
                callback(image_of(x))
            except StopIteration:
                break
    return image_of(x)


def _quasi_newton(descent: Float32, pairs: deque[tuple[Float32, Float32, float]]) -> Float32:
    """The inverse Hessian that the pairs speak for, times the descent direction: Nocedal's two loops."""
    direction = descent.copy()
    factors = []
    for step, change, curvature in reversed(pairs):
        factors.append(_dot(step, direction) / curvature)
        direction -= np.float32(factors[-1]) * change
    if pairs:
        _, change, curvature = pairs[-1]
        direction *= np.float32(curvature / _dot(change, change))
    for (step, change, curvature), factor in zip(pairs, reversed(factors), strict=True):
        direction += np.float32(factor - _dot(change, direction) / curvature) * step
    return direction


def _first_step(descent: Float32) -> float:
    size = float(np.abs(descent).mean(dtype=np.float64))
    return FIRST_STEP / size if size > 0 else 0.0


def _search(
    evaluate: Callable[[Float32], tuple[float, Float32]],
    x: Float32,
    value: float,
    gradient: Float32,
    direction: Float32,
    length: float,
) -> tuple[Float32, float, Float32] | None:
    """The first point along the clipped direction that is sufficiently lower, with its value and gradient."""
    for _ in range(SHORTENINGS):
        candidate = (x + np.float32(length) * direction).clip(0, 1)
        expected = _dot(gradient, candidate - x)  # the slope, times the length
        if not expected < 0:
            return None
        found, found_gradient = evaluate(candidate)
        if found <= value + SUFFICIENT * expected:
            return candidate, found, found_gradient
        # Where the parabola through both values and the slope is lowest, but neither too near nor too far.
        bend = found - value - expected
        length *= min(max(-expected / (2 * bend), 0.1), 0.5) if np.isfinite(bend) else 0.1
    return None


def _dot(a: Float32, b: Float32) -> float:
    # Not BLAS: its idle threads spin, and take the cores from the network.
    return float(np.einsum("i,i->", a, b, dtype=np.float64))
