"""Results become files, each in a format of `formats.FORMATS`."""

from __future__ import annotations

import io
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.files import check_place, write_atomically
from pyengine.images.formats import KEYWORD, format_of

ByteImage: TypeAlias = npt.NDArray[np.uint8]


def to_uint8(image: Float32) -> ByteImage:
    """Levels 0 to 255 of an image, rounded to the nearest (half up) and clipped.

    Examples
    --------
    >>> to_uint8(np.float32([-0.1, 0.0, 0.5, 1.0, 1.1]))
    array([  0,   0, 128, 255, 255], dtype=uint8)
    """
    levels: ByteImage = np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def check_output(path: str | os.PathLike[str]) -> None:
    """Refuse, before the work, a path that `save` could not write to after it.

    Raises
    ------
    PyengineError
        If the suffix names no format of `save`, the path is a folder, or its folder is missing or read-only.

    Examples
    --------
    >>> check_output("out.gif")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: out.gif: cannot write this format: end the name in .png, .jpg, ...
    """
    format_of(path)
    check_place(path)


def save(image: ByteImage, path: str | os.PathLike[str], *, metadata: str | None = None) -> None:
    """Write uint8 (H, W, 3), or grey (H, W), in the format that the suffix names; see `files.write_atomically`.

    Parameters
    ----------
    image : uint8 (H, W, 3) or (H, W)
    path : str or os.PathLike
    metadata : str, optional
        A text to write into the file where the format carries one, which `reading.read_metadata` reads; by default
        there is none.

    Raises
    ------
    PyengineError
        If the format or the place cannot take the image.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from pyengine.images.reading import load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(np.full((2, 2, 3), 51, np.uint8), Path(folder) / "grey.png")
    ...     load(Path(folder) / "grey.png")[0, 0]
    array([0.2, 0.2, 0.2], dtype=float32)
    """
    write_atomically(path, encode(image, path, metadata=metadata))


def encode(image: ByteImage, path: str | os.PathLike[str], *, metadata: str | None = None) -> memoryview:
    """What a file of this name would hold of an image; the arguments and errors are those of `save`.

    Examples
    --------
    >>> bytes(encode(np.zeros((2, 2, 3), np.uint8), "black.png")[1:4])
    b'PNG'
    """
    form = format_of(path)
    height, width = image.shape[:2]
    if form.longest_side is not None and max(width, height) > form.longest_side:
        raise PyengineError(
            f"{path}: {width}x{height} exceeds {form.name}'s {form.longest_side} pixels a side: use .png"
        )
    options: dict[str, Any] = dict(form.options)
    if form.carries_text and metadata is not None:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(KEYWORD, metadata)
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, form.name, **options)
    return encoded.getbuffer()
