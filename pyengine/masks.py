"""Masks: which pixels are meant, how strongly, and what that means for coarser maps; filling in where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, maximum_filter, zoom

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images import Indices

Flags: TypeAlias = NDArray[np.bool_]


def reduce(mask: Float32, times: int) -> Float32:
    """Halve a mask as the network's pools halve a feature map: by means of 2x2, in what remains at odd sides too.

    A soft mask stays soft: a value is the share of the pixels under it.

    Parameters
    ----------
    mask : float32 (H, W)
    times : int
        How often; 0 returns a copy.

    Returns
    -------
    float32 (h, w)
        With every side halved `times` times, rounded up each time.

    Examples
    --------
    >>> mask = np.float32([[1, 1, 0], [1, 0, 0], [1, 0, 1]])
    >>> reduce(mask, 1)
    array([[0.75, 0.  ],
           [0.5 , 1.  ]], dtype=float32)
    >>> reduce(mask, 2)
    array([[0.5625]], dtype=float32)
    """
    mask = mask.copy()
    for _ in range(times):
        height, width = mask.shape
        # The mean of what remains in a window is that of the window with its pixels repeated.
        even = np.pad(mask, ((0, height % 2), (0, width % 2)), mode="edge")
        mask = even.reshape(even.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
    return mask


def dilate(mask: Float32, radius: int, wrap: bool) -> Float32:
    """Widen a mask: the maximum over the square that reaches `radius` pixels in each direction.

    Parameters
    ----------
    mask : float32 (H, W)
    radius : int
        In pixels; 0 changes nothing.
    wrap : bool
        Whether the square reaches across a border to the opposite side.

    Returns
    -------
    float32 (H, W)

    Examples
    --------
    >>> mask = np.float32([[0.5, 0, 0, 0, 0]])
    >>> dilate(mask, 1, wrap=False)
    array([[0.5, 0.5, 0. , 0. , 0. ]], dtype=float32)
    >>> dilate(mask, 1, wrap=True)
    array([[0.5, 0.5, 0. , 0. , 0.5]], dtype=float32)
    """
    dilated: Float32 = maximum_filter(mask, 2 * radius + 1, mode="wrap" if wrap else "nearest")
    return dilated


def band(size: tuple[int, int], width: int) -> Flags:
    """Mark the pixels within `width` pixels of a border.

    Parameters
    ----------
    size : (height, width)
    width : int
        Of the band; 0 marks nothing, half of a side or more marks everything.

    Returns
    -------
    bool (H, W)

    Examples
    --------
    >>> band((3, 4), 1).astype(int)
    array([[1, 1, 1, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]])
    """
    marked = np.ones(size, bool)
    marked[width : size[0] - width, width : size[1] - width] = False
    return marked


def fill_smoothly(image: Float32, known: Flags) -> Float32:
    """Continue the known pixels smoothly into the unknown ones, by push-pull.

    The known colours are averaged in coarser and coarser images, down to a single pixel (pull); from there, each
    finer image takes what it does not know from the enlarged coarser one (push). A coarse pixel counts as wholly known
    as soon as there is a whole known pixel's weight under it, so a gap is filled from its immediate surroundings. After
    Gortler et al. 1996, "The Lumigraph", with the filters of bilinear enlargement.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]
        Its unknown pixels are of no account.
    known : bool (H, W)

    Returns
    -------
    float32 (H, W, 3) in [0, 1]
        The known pixels are the image's, bit for bit.

    Raises
    ------
    PyengineError
        No pixel is known.

    Examples
    --------
    >>> image = np.zeros((1, 4, 3), np.float32)
    >>> image[:, 3] = 1
    >>> fill_smoothly(image, np.array([[True, False, False, True]]))[0, :, 0].round(2)
    array([0.  , 0.36, 0.64, 1.  ], dtype=float32)
    """
    if not known.any():
        raise PyengineError("nothing is known of the image to fill: leave at least one pixel outside the mask")
    weight = known[:, :, None].astype(np.float32)
    levels: list[Float32] = [np.concatenate([image * weight, weight], axis=2)]
    while levels[-1].shape[:2] != (1, 1):
        levels.append(_pull(levels[-1]))
    coarsest = levels.pop()
    filled: Float32 = coarsest[:, :, :3] / coarsest[:, :, 3:]
    for level in reversed(levels):
        height, width = level.shape[:2]
        filled = level[:, :, :3] + (1 - level[:, :, 3:]) * _enlarge(filled)[:height, :width]
    return filled.clip(0, 1)  # rounding may exceed 1; where the weight is 1, there was none


def _pull(level: Float32) -> Float32:
    """Halve colours that are multiplied by their weight, and the weight, (H, W, 4), by the adjoint of `_enlarge`."""
    for axis in (0, 1):  # pixel i reaches from 2i - 1 to 2i + 2; there is no weight outside
        level = correlate1d(level, (0.25, 0.75, 0.75, 0.25), axis, mode="constant", origin=-1)
        level = level[::2] if axis == 0 else level[:, ::2]
    pulled: Float32 = level / level[:, :, 3:].clip(1)
    return pulled


def _enlarge(image: Float32) -> Float32:
    """Double an image (H, W, 3) that does not wrap, bilinearly."""
    enlarged: Float32 = zoom(image, (2, 2, 1), order=1, mode="nearest", grid_mode=True)
    return enlarged


def one_hot(indices: Indices, numbers: Sequence[int]) -> Float32:
    """Make a mask of each region of an index image.

    Parameters
    ----------
    indices : uint32 (H, W)
    numbers : sequence of int
        The R regions' numbers.

    Returns
    -------
    float32 (R, H, W)
        1 where the index is the region's number, else 0.

    Examples
    --------
    >>> one_hot(np.array([[3, 5, 3]], np.uint32), [3, 4, 5])[:, 0]
    array([[1., 0., 1.],
           [0., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    regions: Float32 = (indices == np.array(numbers, np.uint32)[:, None, None]).astype(np.float32)
    return regions
