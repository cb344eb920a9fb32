"""Images at other sizes. Pillow resamples; no decoder is imported."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pyengine.arrays import Float32
from pyengine.wrap import NEITHER, Wrap


def resize(image: Float32, size: tuple[int, int]) -> Float32:
    """Scale an image that does not wrap, such as an exemplar, to a smaller size.

    The filter is Hamming's: it has no negative lobes, so it neither rings nor overshoots; it is sharper than
    a bilinear one and, at ratios other than 2, far more even than a box.

    Parameters
    ----------
    image : numpy.ndarray
        Float32 (H, W, 3), or a mask (H, W).
    size : tuple of int
        Width and height.

    Examples
    --------
    >>> resize(np.full((6, 8, 3), 0.25, np.float32), (4, 3)).shape
    (3, 4, 3)
    """
    return _resample(image, size, Image.Resampling.HAMMING)


def upsample(image: Float32, size: tuple[int, int], *, wrap: Wrap) -> Float32:
    """Scale an image to a larger size, bilinearly.

    Parameters
    ----------
    image : numpy.ndarray
        Float32 (H, W, 3), or a mask (H, W).
    size : tuple of int
        Width and height, neither smaller than the image's.
    wrap : Wrap
        Where the image wraps round, as the result then does too. Elsewhere it goes on beyond its border as it ends.

    Examples
    --------
    >>> columns = np.zeros((1, 2, 3), np.float32)
    >>> columns[:, 0] = 1
    >>> upsample(columns, (4, 1), wrap=Wrap.of("x"))[0, :, 0]
    array([0.75, 0.75, 0.25, 0.25], dtype=float32)
    >>> upsample(columns, (4, 1), wrap=NEITHER)[0, :, 0]
    array([1.  , 0.75, 0.25, 0.  ], dtype=float32)
    """
    # A bilinear sample reaches half a pixel over the edge.
    return _resample(image, size, Image.Resampling.BILINEAR, margin=1, wrap=wrap)


def _resample(
    image: Float32,
    size: tuple[int, int],
    resampling: Image.Resampling,
    *,
    margin: int = 0,
    wrap: Wrap = NEITHER,
) -> Float32:
    """Resize channel by channel, in floating point, with some pixels of what is beyond the border in reach."""
    height, width = image.shape[:2]
    box = (margin, margin, margin + width, margin + height)
    padded = wrap.pad(np.atleast_3d(image), margin, "edge")
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(padded, 2, 0))
    resampled = np.dstack([np.asarray(channel.resize(size, resampling, box)) for channel in channels])
    return resampled.reshape(*resampled.shape[:2], *image.shape[2:])
