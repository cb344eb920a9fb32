"""Masks and index images at the files' edge: what says which pixels are meant, rather than what they look like.

A mask is float32 (H, W) in [0, 1], white is 1; an index image is uint32 (H, W), a number for each pixel.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images.reading import Source, as_pixels, check_shape, decoded, read_array, split

Indices: TypeAlias = NDArray[np.uint32]

MOST_INDICES = 64
"""Distinct values of an index image, at most: more are the blended colours of edges, or of JPEG."""

# Added to the numbers of colours, which so differ from those of grey levels and palette entries.
FIRST_COLOR = 1 << 24


def load_mask(source: Source, name: str) -> Float32:
    """Turn a file, a Pillow image or an array into a mask: float32 (H, W) in [0, 1], white is 1.

    Levels are taken as they are stored: a colour profile doesn't apply to them. They may come as three equal
    channels; an alpha channel is refused unless it is opaque, for there is no telling which of the two is the mask.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
        An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): bool, uint8, uint16, or floating point in [0, 1].
    name : str
        What the mask is to the caller; error messages begin with it.

    Returns
    -------
    numpy.ndarray
        A new float32 array (H, W).

    Raises
    ------
    PyengineError
        If the source cannot be read or is not one opaque grey image with finite values in range.

    Examples
    --------
    >>> load_mask(np.array([[0, 51, 255]], np.uint8), "known")
    array([[0. , 0.2, 1. ]], dtype=float32)
    >>> load_mask(np.array([[True, False]]), "known")
    array([[1., 0.]], dtype=float32)
    """
    array, name = read_array(source, name, partial(decoded, managed=False))
    pixels = as_pixels(array.astype(np.float32) if array.dtype == bool else array, name)
    levels, alpha = split(pixels)
    if alpha is not None:
        raise _transparent(name)
    if (levels != levels[:, :, :1]).any():
        raise PyengineError(f"{name}: a mask is grey, this is in colour: convert it to greyscale, white for 1")
    return levels[:, :, 0].copy()


def load_indices(source: Source, name: str) -> Indices:
    """Turn a file, a Pillow image or an array into an index image: a number for each pixel, uint32 (H, W).

    Numbers are a palette image's indices, a grey image's levels or an array's integers, as they are stored. A layout
    painted in flat colours will do as well: red, green and blue make ``0x1000000 + (red << 16) + (green << 8) + blue``,
    except that a grey colour is its level.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
        An array is bool, integer, or whole floating point of (H, W) or (H, W, 1), none negative; or uint8 of
        (H, W, 3) or (H, W, 4), opaque.
    name : str
        What the index image is to the caller; error messages begin with it.

    Returns
    -------
    numpy.ndarray
        A new uint32 array (H, W).

    Raises
    ------
    PyengineError
        If the source cannot be read, is not one opaque image of whole numbers, or has more than 64 distinct ones.

    Examples
    --------
    >>> load_indices(np.array([[0, 7]]), "layout")
    array([[0, 7]], dtype=uint32)
    >>> [hex(number) for number in load_indices(np.array([[[255, 0, 0], [9, 9, 9]]], np.uint8), "layout")[0]]
    ['0x1ff0000', '0x9']
    """
    array, name = read_array(source, name, _decode_indices)
    check_shape(array, name)
    in_colors = array.ndim == 3 and array.shape[2] > 1
    indices = _color_numbers(array, name) if in_colors else _whole_numbers(array.reshape(array.shape[:2]), name)
    distinct = len(np.unique(indices))
    if distinct > MOST_INDICES:
        raise PyengineError(
            f"{name}: {distinct} distinct values: paint regions in flat colours, without antialiasing, and save as "
            f"PNG, not JPEG"
        )
    return indices


def _decode_indices(image: Image.Image) -> NDArray[Any]:
    """Upright numbers (H, W) as they are stored, whatever their colours in a palette, else uint8 RGB or RGBA."""
    if image.mode in ("1", "L", "P"):
        return np.asarray(ImageOps.exif_transpose(image))
    return decoded(image, managed=False)


def _transparent(name: str) -> PyengineError:
    return PyengineError(f"{name}: it is transparent in places: remove its alpha channel or make it opaque")


def _color_numbers(array: NDArray[Any], name: str) -> Indices:
    if array.dtype != np.uint8:
        raise PyengineError(f"{name}: colours of type {array.dtype}: convert to uint8, or pass numbers as (H, W)")
    if (array[:, :, 3:] < 255).any():
        raise _transparent(name)
    red, green, blue = (array[:, :, channel].astype(np.uint32) for channel in range(3))
    numbers = FIRST_COLOR + (red << 16) + (green << 8) + blue
    return np.where((red == green) & (green == blue), red, numbers)


def _whole_numbers(array: NDArray[Any], name: str) -> Indices:
    if array.dtype.kind not in "buif":
        raise PyengineError(f"{name}: values of type {array.dtype}: convert to integers")
    with np.errstate(invalid="ignore"):
        numbers = array.astype(np.uint32)
    wrong = array[numbers != array]  # negative, too large, a fraction or NaN
    if wrong.size:
        raise PyengineError(f"{name}: index images hold whole numbers from 0, not {wrong[0]}: renumber the regions")
    return numbers
