"""Masks: which pixels are meant, how strongly, and what that means for coarser maps; filling in where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyengine.arrays import Float32
from pyengine.images.labels import Indices
from pyengine.wrap import Wrap

Flags: TypeAlias = NDArray[np.bool_]


def reduce(mask: Float32, times: int) -> Float32:
    """Halve a mask as the network's pools halve a feature map: by means of 2x2, in what remains at odd sides too.

    A soft mask stays soft: a value is the share of the pixels under it.

    Parameters
    ----------
    mask : float32 (H, W)
    times : int
        How often to halve; 0 returns a copy.

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


def dilate(mask: Float32, radius: int, wrap: Wrap) -> Float32:
    """Widen a mask: the maximum over the square that reaches `radius` pixels in each direction.

    Parameters
    ----------
    mask : float32 (H, W)
    radius : int
        In pixels; 0 changes nothing.
    wrap : Wrap
        Where the square reaches across a border to the opposite side.

    Returns
    -------
    float32 (H, W)

    Examples
    --------
    >>> mask = np.float32([[0.5, 0, 0, 0, 0]])
    >>> dilate(mask, 1, wrap=Wrap.of("y"))
    array([[0.5, 0.5, 0. , 0. , 0. ]], dtype=float32)
    >>> dilate(mask, 1, wrap=Wrap.of("x"))
    array([[0.5, 0.5, 0. , 0. , 0.5]], dtype=float32)
    """
    from scipy.ndimage import maximum_filter  # takes as long to import as all the rest of pyengine

    dilated: Float32 = maximum_filter(mask, 2 * radius + 1, mode=["wrap" if wraps else "nearest" for wraps in wrap])
    return dilated


def band(size: tuple[int, int], width: int, axes: Wrap) -> Flags:
    """Mark the pixels within `width` pixels of a border where some axes end.

    Parameters
    ----------
    size : (height, width)
    width : int
        How wide the band is; 0 marks nothing, half of a side or more marks everything.
    axes : Wrap
        The axes: y of the borders at top and bottom, x of those on the left and right.

    Returns
    -------
    bool (H, W)

    Examples
    --------
    >>> band((3, 4), 1, Wrap.of("x")).astype(int)
    array([[1, 0, 0, 1],
           [1, 0, 0, 1],
           [1, 0, 0, 1]])
    """
    marked = np.ones(size, bool)
    top, left = (width if has else 0 for has in axes)
    marked[top : size[0] - top, left : size[1] - left] = False
    return marked


def fill_by_reflection(image: Float32, known: Flags) -> Float32:
    """Continue the known pixels into the unknown ones by reflection, so that textures go on without an edge.

    An unknown pixel gets the colour from as far on the other side of the nearest known pixel; where that is unknown
    too, or beyond the border, from the known pixel nearest to it.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]
        Its unknown pixels are of no account.
    known : bool (H, W)
        At least one.

    Returns
    -------
    float32 (H, W, 3) in [0, 1]
        The known pixels are the image's.

    Examples
    --------
    >>> image = np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 5, 1).repeat(3, axis=2)
    >>> fill_by_reflection(image, np.array([[True, True, True, False, False]]))[0, :, 0]
    array([0.  , 0.25, 0.5 , 0.25, 0.  ], dtype=float32)
    """
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    mirrored = 2 * nearest - np.indices(known.shape)
    rows, columns = (np.clip(m, 0, side - 1) for m, side in zip(mirrored, known.shape, strict=True))
    filled: Float32 = image[tuple(nearest[:, rows, columns])]
    return filled


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
