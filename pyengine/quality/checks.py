"""What figures can't be of."""

from __future__ import annotations

from pyengine.arrays import Float32
from pyengine.errors import PyengineError

SHORTEST_SIDE = 16
"""Least side of an image to measure, in pixels: that of the smallest exemplar."""


def check_size(image: Float32, what: str) -> None:
    """Refuse an image that is too small to measure.

    Parameters
    ----------
    image : float32 (H, W, 3)
    what : str
        What the image is to the caller; the message begins with it.

    Raises
    ------
    PyengineError
        A side of it is shorter than 16 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> check_size(np.zeros((15, 40, 3), np.float32), "image")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: image of 40x15 pixels: a figure needs both sides to be at least 16
    """
    height, width = image.shape[:2]
    if min(height, width) < SHORTEST_SIDE:
        raise PyengineError(
            f"{what} of {width}x{height} pixels: a figure needs both sides to be at least {SHORTEST_SIDE}"
        )
