"""Whether it shows where a picture was joined: at its border when it is tiled, at the edge of what was made again."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.quality.checks import check_size

NEAR, FAR = 4, 16
"""How far from an edge, in pixels, the lines lie that it is compared with: beyond what a joint is smeared over."""


def seam_ratio(image: Float32, axis: Literal["x", "y"]) -> float:
    """Mean step across the border, the image wrapped round, to the sharpest inside: above 1, the border is a seam.

    A step is the mean difference of two neighbouring columns, or rows. Compared with the sharpest rather than with the
    mean, a line of mortar that falls on the border is no seam.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]
    axis : {"x", "y"}
        Where left and right meet, or top and bottom.

    Raises
    ------
    PyengineError
        A side of the image is shorter than 16 pixels.

    Examples
    --------
    >>> ramp = np.linspace(0, 1, 21, dtype=np.float32)
    >>> [round(seam_ratio(np.broadcast_to(ramp[:, None, None], (21, 21, 3)), axis), 3) for axis in ("x", "y")]
    [0.0, 20.0]
    """
    check_size(image, "image")
    along, other = (1, 0) if axis == "x" else (0, 1)
    sharpest = float(np.abs(np.diff(image, axis=along)).mean(axis=(other, 2)).max())
    across = float(np.abs(np.take(image, 0, along) - np.take(image, -1, along)).mean())
    return across / max(sharpest, 1e-6)


def edge_ratio(image: Float32, mask: Float32) -> float:
    """Mean step across a mask's edge to the sharpest of the lines beside it: above 1, the edge is a seam.

    Along the edge of a hole that was filled, or of a band that was made again, a step is the difference of two
    neighbouring pixels on its two sides. The lines beside it run along it, 4 to 16 pixels away on either side, where
    they are at least half as long. As with `seam_ratio`, they are compared by the sharpest: what happens to be sharp at
    an edge, as mortar is, is found elsewhere too.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]
    mask : float32 (H, W)
        Above 0.5 on one side of the edge, whichever; nothing wraps round.

    Raises
    ------
    PyengineError
        A side of the image is shorter than 16 pixels; the mask is not as large as it, or has no edge, or none beside
        which anything lies.

    Examples
    --------
    >>> image = np.random.default_rng(0).uniform(0.4, 0.5, (64, 64, 3)).astype(np.float32)
    >>> mask = np.zeros((64, 64), np.float32)
    >>> mask[20:40, 24:50] = 1
    >>> round(edge_ratio(image, mask), 1), edge_ratio(image + mask[:, :, None] / 2, mask) > 10
    (1.0, True)
    """
    from scipy.ndimage import distance_transform_cdt

    check_size(image, "image")
    inside = mask > 0.5
    if mask.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise PyengineError(
            f"mask of {mask.shape[1]}x{mask.shape[0]} pixels: the image has {width}x{height}, so must it"
        )
    if inside.all() or not inside.any():
        raise PyengineError("mask: all of it is on one side, so that there is no edge: paint one side white")
    # How many steps of one pixel it is to the other side: from 1 on inside, from 0 down outside.
    depth = np.where(
        inside, distance_transform_cdt(inside, "taxicab"), 1 - distance_transform_cdt(~inside, "taxicab")
    ).astype(np.intp)
    sums, counts = np.zeros(2 * FAR + 1), np.zeros(2 * FAR + 1)
    for axis, other in ((0, depth[:-1] - depth[1:]), (1, depth[:, :-1] - depth[:, 1:])):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=2)
        first = depth[:-1] if axis == 0 else depth[:, :-1]
        line = first - np.maximum(other, 0)  # the lower depth of the two: 0 at the edge
        crossing = (other != 0) & (np.abs(line) <= FAR)
        sums += np.bincount(line[crossing] + FAR, steps[crossing], 2 * FAR + 1)
        counts += np.bincount(line[crossing] + FAR, minlength=2 * FAR + 1)
    beside = (np.abs(np.arange(-FAR, FAR + 1)) >= NEAR) & (counts >= counts[FAR] / 2)
    if not beside.any():
        raise PyengineError(f"mask: nothing lies {NEAR} pixels beside its edge: give one with larger areas")
    return float(sums[FAR] / counts[FAR]) / max(float((sums[beside] / counts[beside]).max()), 1e-6)
