"""`cupyx.scipy.fft`: Fourier transforms, by SciPy."""

from typing import Any

import numpy as np
import scipy.fft

from emulation.arrays import ndarray, wrap

Axes = tuple[int, int]


def rfft2(
    x: ndarray, s: Axes | None = None, axes: Axes = (-2, -1), norm: str | None = None, overwrite_x: bool = False,
    *, plan: Any = None,
) -> ndarray:  # fmt: skip
    _check(x, "f")
    result = wrap(scipy.fft.rfft2(x._host, s, axes, norm))
    if overwrite_x:
        x.fill(np.nan)
    return result


def irfft2(
    x: ndarray, s: Axes | None = None, axes: Axes = (-2, -1), norm: str | None = None, overwrite_x: bool = False,
    *, plan: Any = None,
) -> ndarray:  # fmt: skip
    _check(x, "fc")
    result = wrap(scipy.fft.irfft2(x._host, s, axes, norm))
    if overwrite_x:  # cuFFT's transform to real numbers works in its input, of which CuPy makes a copy otherwise
        x.fill(np.nan)
    return result


def _check(x: Any, kinds: str) -> None:
    if not isinstance(x, ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if x.dtype.kind not in kinds:
        raise TypeError(f"Unsupported dtype {x.dtype}")
