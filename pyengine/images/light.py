"""The slow variation of light over a photograph: brighter on one side, or dark in the corners."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.images.color import LUMINANCE
from pyengine.images.masks import Flags

DIMMEST = 0.1
"""What light is taken to be at least, against its mean."""


def light_of(image: Float32, known: Flags | None = None) -> Float64:
    """How bright a picture is from place to place, against its mean, as far as that varies slowly.

    It is the polynomial of the second degree in both coordinates that is nearest to the luminance: it follows light
    that falls off to a side or to the corners, but no object.

    Parameters
    ----------
    image : float32 (H, W, 3)
        RGB in [0, 1].
    known : bool (H, W), optional
        Where the picture counts. Default: None, everywhere.

    Returns
    -------
    float64 (H, W)
        Around 1.

    Examples
    --------
    >>> ramp = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(1, 64, 1) * np.ones((48, 1, 3), np.float32)
    >>> light_of(ramp)[[0, -1], [0, -1]].round(2)
    array([0.5, 1.5])
    """
    height, width = image.shape[:2]
    luminance = image @ LUMINANCE
    counts = np.ones((height, width)) if known is None else known.astype(np.float64)
    mean = np.average(luminance, weights=counts)
    if mean == 0:
        return np.ones((height, width))
    # The normal equations, whose sums over all pixels are products of powers: the terms of a large picture, one by one,
    # would take six times its memory.
    y, x = (np.vander(np.linspace(-1, 1, side), 5, increasing=True) for side in (height, width))
    moments, wanted = y.T @ counts @ x, y.T @ (counts * luminance / mean) @ x
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    products = [[moments[i + k, j + m] for k, m in powers] for i, j in powers]
    factors = np.zeros((3, 3))
    rows, columns = zip(*powers, strict=True)
    factors[rows, columns] = np.linalg.lstsq(products, wanted[rows, columns], rcond=None)[0]
    light: Float64 = np.maximum(y[:, :3] @ factors @ x[:, :3].T, DIMMEST)
    return light


def variation(light: Float64) -> float:
    """From the dimmest to the brightest place, as a part of the mean.

    Examples
    --------
    >>> variation(np.array([[0.5, 1.0, 1.5]]))
    1.0
    """
    return float(np.ptp(light))


def flattened(image: Float32, light: Float64) -> Float32:
    """A picture under even light; what would be brighter than white is white.

    Examples
    --------
    >>> ramp = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(1, 64, 1) * np.ones((48, 1, 3), np.float32)
    >>> bool(np.allclose(flattened(ramp, light_of(ramp)), 0.4, atol=1e-5))
    True
    """
    even: Float32 = np.clip(image / light[:, :, None], 0, 1).astype(np.float32)
    return even
