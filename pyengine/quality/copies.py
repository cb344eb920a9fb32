"""What is in a picture as it stands in the exemplar."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32
from pyengine.quality.patches import corners_of, nearest

SIDE = 9
"""Pixels on a side of a patch."""

STEP = 4
"""Pixels between the patches that are looked for."""

TOLERANCE = 4.0
"""By how many levels of 255 a patch that is copied may differ: what rounding, JPEG and a change of one's own leave."""

PIECE = 24
"""Pixels on a side of the smallest piece that is called copied: smaller ones are alike by chance."""


def copied(exemplar: Float32, image: Float32) -> float | None:
    """The share of an image that stands in the exemplar as it is: 1 for a copy, 0 where everything is new.

    A piece is copied if the exemplar's nearest to each of its patches of 9x9 pixels, of which every fourth is looked
    at, lie to one another as the patches do and differ by less than 4/255 (root mean square), and if it is as large as
    24x24 pixels. What is the same in many places, as paper is, has its nearest anywhere, and is no copy.

    Parameters
    ----------
    exemplar, image : float32 (H, W, 3) in [0, 1]
        They may have any sizes, but must have one scale.

    Returns
    -------
    float or None
        None where a side of an image is shorter than 24 pixels: there is no such piece.

    Examples
    --------
    >>> exemplar, new = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    >>> new[:, :32] = exemplar[:, 20:52]
    >>> copied(exemplar, exemplar), copied(exemplar, new), copied(exemplar[:20], new)
    (1.0, 0.42..., None)
    """
    from scipy.ndimage import label

    if min(*exemplar.shape[:2], *image.shape[:2]) < PIECE:
        return None
    corners = corners_of(image, SIDE, STEP)
    found, differences = nearest(image, corners, exemplar, SIDE)
    _, ways, counts = np.unique(found - corners, axis=0, return_inverse=True, return_counts=True)
    grid = tuple(-(-(length - SIDE + 1) // STEP) for length in image.shape[:2])
    ways, alike = ways.reshape(grid), (255 * differences < TOLERANCE).reshape(grid)
    least = (PIECE // STEP) ** 2
    patches = 0
    for way in np.flatnonzero(counts >= least):
        pieces, _ = label(alike & (ways == way))
        sizes = np.bincount(pieces.ravel())[1:]
        patches += int(sizes[sizes >= least].sum())
    return patches / alike.size
