"""Principal components, by subspace iteration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pyengine.arrays import Float64

ITERATIONS = 6
"""Rounds that find the components."""


def principal_axes(times_covariance: Callable[[Float64], Float64], values: int, count: int) -> Float64:
    """Axes that span nearly all of what vectors differ in: of components, only the space that they span counts here.

    Parameters
    ----------
    times_covariance : callable
        Gives the product of the vectors' covariance, times any factor, and a matrix (values, count).
    values : int
        How many values a vector has.
    count : int
        How many axes there are, at most; no more than values.

    Returns
    -------
    float64 (count, values)
        The axes, orthonormal.

    Examples
    --------
    >>> covariance = np.diag([9.0, 0.1, 4.0])
    >>> (principal_axes(covariance.dot, 3, count=2) ** 2).sum(0).round(6)
    array([1., 0., 1.])
    """
    axes = np.random.default_rng(0).standard_normal((values, min(count, values)))
    for _ in range(ITERATIONS):
        axes, _ = np.linalg.qr(times_covariance(axes))
    return np.ascontiguousarray(axes.T)
