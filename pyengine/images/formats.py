"""The formats that images are written in, a row each: help and errors are made from this one table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine.errors import PyengineError
from pyengine.files import check_path

if TYPE_CHECKING:
    from pyengine.images.encoding import Depth

KEYWORD = "pyengine"
"""Names the text in a file, where the format carries one."""


@dataclass(frozen=True)
class Format:
    """A format to write images in, as near to lossless as it goes.

    Attributes
    ----------
    name : str
        Pillow's, of those that it writes; error messages use it as well.
    suffixes : tuple of str
        The endings of files' names, the usual one first.
    help : str
        What there is to know before choosing it, in a few words.
    depths : tuple of {8, 16, "half", "float"}, default (8,)
        What a value may be in it, the least first. Pillow writes 8 bits, OpenImageIO all else.
    options : mapping, default empty
        Pillow's, for writing.
    longest_side : int, optional
        Pixels that a side may have; None, the default, where there is no such limit.
    carries_text : bool, default False
        Whether a text is written into the file (see `writing.save`).
    carries_alpha : bool, default True
        Whether it has room for opacity.
    is_light : bool, default False
        Whether its values are in proportion to light, and may exceed 1.
    """

    name: str
    suffixes: tuple[str, ...]
    help: str
    depths: tuple[Depth, ...] = (8,)
    options: Mapping[str, Any] = field(default_factory=dict)
    longest_side: int | None = None
    carries_text: bool = False
    carries_alpha: bool = True
    is_light: bool = False


FORMATS = (
    Format("PNG", (".png",), "8 or 16 bits, lossless, and carries its recipe", (8, 16), carries_text=True),
    # JPEG stores sides up to 65535, but libjpeg writes 65500 at most.
    Format(
        "JPEG", (".jpg", ".jpeg"), "quality 95", options={"quality": 95, "subsampling": 0}, longest_side=65500,
        carries_alpha=False,
    ),
    Format(
        "TIFF", (".tif", ".tiff"), "8 or 16 bits or float, lossless", (8, 16, "float"),
        {"compression": "tiff_adobe_deflate"},
    ),
    Format("WEBP", (".webp",), "lossless, sides up to 16383", options={"lossless": True}, longest_side=16383),
    Format("EXR", (".exr",), "half or float, of light", ("half", "float"), is_light=True),
    Format("HDR", (".hdr",), "of light, in steps of 1 %", ("float",), carries_alpha=False, is_light=True),
    # It stores sides up to 65536, but its encoder takes no more.
    Format(
        "AVIF", (".avif",), "nearly lossless", options={"quality": 100, "subsampling": "4:4:4"}, longest_side=65536
    ),
)  # fmt: skip


READ_TOO = ("BMP", "GIF", "PPM", "TGA", "PSD", "JPEG2000")
"""What is read besides, by Pillow's names. It knows more formats, of which some are programs: PostScript, in a file of
whatever name, it would hand to Ghostscript."""


def readable() -> tuple[str, ...]:
    """What Pillow may try to read a file as, by its names for formats.

    Examples
    --------
    >>> readable()[:3]
    ('PNG', 'JPEG', 'TIFF')
    """
    return (*(row.name for row in FORMATS if 8 in row.depths), *READ_TOO)


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format that a path's suffix names.

    Raises
    ------
    PyengineError
        If it is no path, or the suffix names none.

    Examples
    --------
    >>> format_of("out.TIF").name
    'TIFF'
    >>> format_of("out.gif")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: out.gif: cannot write this format: end the name in .png, .jpg, ...
    """
    check_path("path", path)
    suffix = Path(path).suffix.lower()
    for row in FORMATS:
        if suffix in row.suffixes:
            return row
    raise PyengineError(f"{path}: cannot write this format: end the name in {', '.join(suffixes())}")


def suffixes() -> tuple[str, ...]:
    """The endings of the names of files in all these formats.

    Examples
    --------
    >>> suffixes()[:3]
    ('.png', '.jpg', '.jpeg')
    """
    return tuple(suffix for row in FORMATS for suffix in row.suffixes)


def choices() -> str:
    """All formats and what there is to know of them, for a sentence.

    Examples
    --------
    >>> choices()
    '.png (8 or 16 bits, lossless, and carries its recipe), .jpg (quality 95), ... or .avif (nearly lossless)'
    """
    *most, last = [f"{row.suffixes[0]} ({row.help})" for row in FORMATS]
    return f"{', '.join(most)} or {last}"
