"""Results become files, each in a format of `formats.FORMATS`, at a depth that it holds."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pyengine.arrays import Float32
from pyengine.errors import PyengineError, in_short
from pyengine.files import check_place, write_atomically
from pyengine.images import deep
from pyengine.images.encoding import DEPTHS, HELD_BY, Data, Depth, Display, Encoding, Linear, Log
from pyengine.images.formats import FORMATS, KEYWORD, Format, format_of
from pyengine.images.profiles import Profile, srgb_profile

ByteImage: TypeAlias = npt.NDArray[np.uint8]

ENCODING = Encoding()
"""How pictures are written of which nothing else is known: in 8 bits and sRGB."""


def to_uint8(image: Float32) -> ByteImage:
    """Levels 0 to 255 of an image, rounded to the nearest (half up) and clipped.

    Examples
    --------
    >>> to_uint8(np.float32([-0.1, 0.0, 0.5, 1.0, 1.1]))
    array([  0,   0, 128, 255, 255], dtype=uint8)
    """
    levels: ByteImage = np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def check_output(path: str | os.PathLike[str], depth: Depth | None = None) -> None:
    """Refuse, before the work, a path or a depth that `save` could not write to or in after it.

    Raises
    ------
    PyengineError
        If the suffix names no format of `save`, or one that does not hold the depth, the path is a folder, or its
        folder is missing or read-only.

    Examples
    --------
    >>> check_output("out.gif")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: out.gif: cannot write this format: end the name in .png, .jpg, ...
    """
    check_depth(path, depth)
    check_place(path)


def check_depth(path: str | os.PathLike[str], depth: Depth | None) -> None:
    """Raise PyengineError for a path of no format, or a depth, if one is given, that can't be written in it.

    Examples
    --------
    >>> check_depth("out.jpg", 16)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: out.jpg: JPEG does not hold depth=16: give 8, or a file in .png, .tif, .tiff
    """
    form = format_of(path)
    if 8 not in form.depths or depth not in (None, 8):
        deep.check_library(str(path))
    elif not _is_written(form):
        raise PyengineError(f"{path}: this Pillow does not write {form.name}: end the name in .png, or install another")
    if depth is None:
        return
    if not (isinstance(depth, (int, str)) and depth in DEPTHS):
        raise PyengineError(f"depth={in_short(depth)}: choose 8, 16, 'half' or 'float'")
    if depth not in form.depths:
        holding = ", ".join(suffix for row in FORMATS if depth in row.depths for suffix in row.suffixes)
        depths = " or ".join(map(str, form.depths))
        raise PyengineError(f"{path}: {form.name} does not hold depth={depth}: give {depths}, or a file in {holding}")


def _is_written(form: Format) -> bool:
    """Whether Pillow writes a format: not each was built with all of them."""
    Image.preinit()  # the few that are usual; to import all takes as long as to read a picture
    if form.name not in Image.SAVE:
        Image.init()
    return form.name in Image.SAVE


def save(
    image: ByteImage | Float32,
    path: str | os.PathLike[str],
    encoding: Encoding = ENCODING,
    *,
    depth: Depth | None = None,
    metadata: str | None = None,
) -> None:
    """Write an image in the format that the suffix names; see `files.write_atomically`.

    Parameters
    ----------
    image : uint8 or float32 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA; floating-point numbers in [0, 1].
    path : str or os.PathLike
    encoding : Encoding
        How it is to be in the file, as far as the format goes; what is lost is said in a warning. Default: 8 bits,
        sRGB.
    depth : {8, 16, "half", "float"}, optional
        The depth, in the place of the encoding's, or of what comes nearest to that.
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
    write_atomically(path, encode(image, path, encoding, depth=depth, metadata=metadata))


def encode(
    image: ByteImage | Float32,
    path: str | os.PathLike[str],
    encoding: Encoding = ENCODING,
    *,
    depth: Depth | None = None,
    metadata: str | None = None,
) -> memoryview:
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
    check_depth(path, depth)
    depth = depth or _nearest_depth(form, encoding, path)
    pixels: npt.NDArray[Any] = image.reshape(height, width, -1)
    if pixels.shape[2] == 4 and not form.carries_alpha:
        warnings.warn(f"{path}: {form.name} has no opacity: .png keeps it", stacklevel=3)
        pixels = pixels[:, :, :3]
    profile = _profile(form, encoding, pixels)
    if pixels.shape[2] == 1 and profile is not None and _space(profile) == "RGB":
        pixels = np.repeat(pixels, 3, axis=2)
    if not (pixels.dtype == np.uint8 and depth == 8):
        values: Float32 = pixels if pixels.dtype == np.float32 else np.divide(pixels, 255, dtype=np.float32)
        pixels = _at_depth(_in_file(values, form, encoding, depth, path), depth)
    chunks = PngInfo()
    if form.carries_text and metadata is not None:
        chunks.add_itxt(KEYWORD, metadata)
    if depth != 8:
        return memoryview(deep.encode(pixels, form.suffixes[0], chunks, str(path), profile=profile, dpi=encoding.dpi))
    options: dict[str, Any] = dict(form.options)
    if form.carries_text:
        options["pnginfo"] = chunks
    if profile is not None:
        options["icc_profile"] = profile
    if encoding.dpi is not None:
        options["dpi"] = encoding.dpi
    encoded = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(encoded, form.name, **options)
    return encoded.getbuffer()


def _nearest_depth(form: Format, encoding: Encoding, path: str | os.PathLike[str]) -> Depth:
    """The least depth of a format that holds all of another; else the nearest, with a warning."""
    for depth in HELD_BY[encoding.depth]:
        if depth in form.depths:
            return depth
    warnings.warn(
        f"{path}: {form.name} does not hold {_named(encoding.depth)}, which the picture has: written in "
        f"{_named(form.depths[-1])}",
        stacklevel=4,
    )
    return form.depths[-1]


def _named(depth: Depth) -> str:
    return f"{depth} bits" if isinstance(depth, int) else depth


def _profile(form: Format, encoding: Encoding, pixels: npt.NDArray[Any]) -> bytes | None:
    """The profile to write: the pixels' own, or of colours in sRGB that one; none of grey, nor of what is no colour."""
    if form.is_light or isinstance(encoding.curve, Data):
        return None
    grey = pixels.shape[2] == 1
    if encoding.profile is not None and (grey or _space(encoding.profile) == "RGB"):
        return encoding.profile
    return None if grey else srgb_profile()


def _space(content: bytes) -> str | None:
    profile = Profile.read(content)
    return None if profile is None else profile.space


def _in_file(pixels: Float32, form: Format, encoding: Encoding, depth: Depth, path: str | os.PathLike[str]) -> Float32:
    """A file's values (H, W, C) for the engine's; in files of light, colours are multiplied by alpha."""
    curve = Linear() if form.is_light and isinstance(encoding.curve, Display) else encoding.curve
    if form.is_light or (depth == "float" and not isinstance(curve, Linear)):
        values = pixels.copy()
        values[:, :, :3] = curve.decode(pixels[:, :, :3])
        if form.is_light and pixels.shape[2] == 4:
            values[:, :, :3] *= pixels[:, :, 3:]
        return values
    if isinstance(curve, (Data, Log)) and curve != Data():
        how = "a logarithm of them" if isinstance(curve, Log) else "in proportion"
        warnings.warn(
            f"{path}: {form.name} in {_named(depth)} has values from 0 to 1: those from {curve.low:g} to "
            f"{curve.high:g} are written as {how}; .exr keeps them",
            stacklevel=4,
        )
    return pixels


def _at_depth(values: Float32, depth: Depth) -> npt.NDArray[Any]:
    if depth == 8:
        return to_uint8(values)
    if depth == 16:
        levels: npt.NDArray[np.uint16] = np.floor(np.clip(values, 0, 1) * 65535 + 0.5).astype(np.uint16)
        return levels
    if depth == "half":
        greatest = float(np.finfo(np.float16).max)
        return np.clip(values, -greatest, greatest).astype(np.float16)
    return values.astype(np.float32)
