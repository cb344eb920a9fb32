"""Pictures that are numbers: nested lists, and arrays that NumPy saved."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyengine.checks import is_number
from pyengine.errors import PyengineError, in_short
from pyengine.files import one_line
from pyengine.machine import check_picture

NPY = np.lib.format.MAGIC_PREFIX
"""How a .npy file begins."""


def is_nested(source: object) -> bool:
    """Whether a list or tuple has rows of numbers, or of pixels, as an image has, and no pictures.

    Examples
    --------
    >>> is_nested([[0, 1], [1, 0]]), is_nested(["a.png", "b.png"]), is_nested([[[0, 1]], [[1, 0]]])
    (True, False, False)
    """
    rows = source if isinstance(source, (list, tuple)) else ()
    return bool(rows) and all(isinstance(row, (list, tuple)) and bool(row) and is_number(row[0]) for row in rows)


def from_list(source: Sequence[Any], name: str) -> NDArray[Any]:
    """Make an array of a list of rows: of floats as they are, of whole numbers from 0 to 255 as levels.

    Flags are black and white, and so are whole numbers that are all 0 or 1.

    Raises
    ------
    PyengineError
        Rows of different lengths, or what is no number.

    Examples
    --------
    >>> from_list([[0, 255], [7, 8]], "mask").dtype, from_list([[0, 1], [1, 1]], "mask").dtype
    (dtype('uint8'), dtype('float32'))
    >>> from_list([[0, 1], [1]], "mask")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: mask: a list of rows of different lengths, 2 and 1: make them one length
    """
    rows = list(source)
    lengths = list(dict.fromkeys(len(row) for row in rows if isinstance(row, (list, tuple))))
    if len(lengths) > 1:
        raise PyengineError(
            f"{name}: a list of rows of different lengths, {lengths[0]} and {lengths[1]}: make them one length"
        )
    try:
        array = np.array(rows)
    except (ValueError, TypeError, OverflowError):
        raise PyengineError(f"{name}: a list of pixels of different lengths: make them one length") from None
    if array.dtype.kind not in "buif":
        raise PyengineError(f"{name}: a list with {_odd_one(rows)}: give numbers, row by row")
    if array.size and array.dtype.kind != "f" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.float32 if array.max() <= 1 else np.uint8)
    return array


def _odd_one(rows: Any) -> str:
    """What in nested lists is no number."""
    while isinstance(rows, (list, tuple)):
        rows = next((item for item in rows if not is_number(item)), None)
    return f"a {type(rows).__name__}, {in_short(rows)}"


def saved_array(content: bytes, name: str) -> NDArray[Any]:
    """The array in a .npy file, in which nothing is run."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise PyengineError(
            f"{name}: cannot be read as .npy ({one_line(error)}): save a plain array with numpy.save"
        ) from error
    if array.ndim > 1:
        check_picture(name, array.shape[1], array.shape[0], transparent=array.shape[2:] == (4,))
    return array
