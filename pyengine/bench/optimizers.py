"""Our L-BFGS against SciPy's L-BFGS-B, on the objective of a synthesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.images.reading import Source, load
from pyengine.kernels.cpu import CpuKernels
from pyengine.objective import Objective
from pyengine.optimizers.lbfgs import minimize
from pyengine.pyramid import white_noise
from pyengine.recipe import Recipe


@dataclass(frozen=True)
class OptimizersRun:
    """What both reach on one exemplar, from the same noise.

    Attributes
    ----------
    exemplar : int
        The exemplar's number, from 0.
    evaluations : int
        How often each evaluated the objective.
    start, value, scipy_value : float
        The objective's value at first, and the lowest that ours and SciPy's found.
    needed : int or None
        Evaluations of ours until the value is as low as SciPy's lowest; None if twice as many did not do.
    """

    exemplar: int
    evaluations: int
    start: float
    value: float
    scipy_value: float
    needed: int | None


class _Enough(Exception):
    """All evaluations are spent."""


def optimizers(
    exemplars: Sequence[Source],
    *,
    size: int | None = None,
    evaluations: int = 100,
    seed: int = 0,
    threads: int | None = None,
) -> Iterator[OptimizersRun]:
    """Minimise the same objective from the same noise with both, by a number of evaluations, on one level.

    Parameters
    ----------
    exemplars : sequence of path, PIL image, or array
        The pictures to look like.
    size : int, optional
        Pixels on a side of the image. Default: None, the exemplars' own sizes.
    evaluations : int
        How often each may evaluate the objective, at least 2. Default: 100.
    seed : int
        See `pyengine.synthesize`. Default: 0.
    threads : int, optional
        See `Engine`. Default: None.

    Yields
    ------
    OptimizersRun
        One for each exemplar in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Before the first evaluation: input that can't be used.

    Examples
    --------
    >>> run = next(optimizers([np.random.default_rng(0).random((16, 16, 3))], evaluations=3, threads=1))
    >>> run.evaluations, max(run.value, run.scipy_value) < run.start
    (3, True)
    """
    if evaluations < 2:
        raise PyengineError(f"evaluations={evaluations}: give at least 2")
    images = [load(exemplar) for exemplar in exemplars]
    recipes = [Recipe.create(image, size=size, seed=seed, start="noise", levels=1) for image in images]
    with Engine("cpu", threads=threads) as engine:
        for k, (image, recipe) in enumerate(zip(images, recipes, strict=True)):
            start = white_noise(recipe.level, np.random.default_rng(seed))
            objective = engine.objective(image, weights="auto")
            ours = our_values(objective, start, 2 * evaluations, engine.threads)
            scipys = scipy_values(objective, start, evaluations)
            target = min(scipys)
            reached = next((n for n, value in enumerate(ours, 1) if value <= target), None)
            yield OptimizersRun(k, evaluations, ours[0], min(ours[:evaluations]), target, reached)


def our_values(objective: Objective, start: Float32, evaluations: int, threads: int) -> list[float]:
    """The value of each evaluation of ours."""
    values: list[float] = []

    def function(image: Float32) -> tuple[Float64, Float32]:
        if len(values) == evaluations:
            raise _Enough
        value, gradient = objective(image)
        values.append(value)
        return np.array([value]), gradient

    with suppress(_Enough):
        minimize(function, start.copy(), evaluations, CpuKernels(threads))
    return values


def scipy_values(objective: Objective, start: Float32, evaluations: int) -> list[float]:
    """The value of each evaluation of SciPy's."""
    from scipy.optimize import minimize as scipy_minimize

    values: list[float] = []

    def function(x: Float64) -> tuple[float, Float64]:
        if len(values) == evaluations:
            raise _Enough
        value, gradient = objective(x.reshape(start.shape).astype(np.float32))
        values.append(value)
        return value, gradient.ravel().astype(np.float64)

    options = {"maxiter": evaluations, "maxfun": 2 * evaluations, "maxcor": 10, "ftol": 0.0, "gtol": 0.0}
    with suppress(_Enough):
        scipy_minimize(
            function, start.ravel().astype(np.float64), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * start.size,
            options=options,
        )  # fmt: skip
    return values
