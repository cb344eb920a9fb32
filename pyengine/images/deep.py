"""Files of which Pillow holds but 8 bits: colours of 16 bits, floating-point numbers.

PNGs are read by Pillow's decoder all the same, and all else by OpenImageIO, which is imported when it is needed. Its
Python module knows files by their names alone, so contents go through a temporary one.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngInfo, putchunk

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.files import one_line
from pyengine.images.encoding import Depth
from pyengine.machine import check_picture

if TYPE_CHECKING:
    import OpenImageIO

PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins."""

_PNG_MODES = {
    b"\2": ("RGB", ("RGB;16B", "RGB;16L")),
    b"\4": ("RGBA", ("RGBA",)),  # two bytes of grey, two of alpha
    b"\6": ("RGBA", ("RGBA;16B", "RGBA;16L")),
}
"""How Pillow's decoder takes PNGs of 16 bits for others that are laid out alike, by the header's kind of colour."""

_LIGHT = (".exr", ".hdr")
"""The formats whose values are in proportion to light."""

_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
"""Where sRGB's red, green, blue and white are, as EXR says it."""

_DEPTHS: dict[str, Depth] = {"uint16": 16, "half": "half", "float": "float", "double": "float"}
"""The depths of OpenImageIO's types."""

_DOTS = {"in": 1.0, "inch": 1.0, "cm": 2.54, "m": 0.0254}
"""How many of a unit of length's dots are one of an inch's."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A picture as it is stored, upright.

    Attributes
    ----------
    array : numpy.ndarray
        Its values, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), colours not multiplied by alpha.
    depth : {8, 16, "half", "float"}
    grey : bool
        Whether there is one channel besides alpha.
    in_file : bool
        Whether it was in a file, whose values may be any. Default: True.
    is_light : bool
        Whether its format holds values in proportion to light. Default: False.
    is_foreign : bool
        Whether its red, green and blue say that they are others than sRGB's, and no profile does. Default: False.
    profile : bytes, optional
        The ICC profile that its colours are to be seen by. Default: None.
    dpi : (float, float), optional
        Default: None.
    """

    array: npt.NDArray[Any]
    depth: Depth
    grey: bool
    in_file: bool = True
    is_light: bool = False
    is_foreign: bool = False
    profile: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None


def suffix_of(content: bytes) -> str | None:
    """How the name of a file ends that OpenImageIO is to read; None for what Pillow reads, and for what is no picture.

    Examples
    --------
    >>> suffix_of(bytes.fromhex("762f3101")), suffix_of(b"#?RADIANCE"), suffix_of(b"GIF89a")
    ('.exr', '.hdr', None)
    """
    if content.startswith(b"\x76\x2f\x31\x01"):
        return ".exr"
    if content.startswith((b"#?RADIANCE", b"#?RGBE")):
        return ".hdr"
    if content.startswith((b"II", b"MM")):
        return ".tif" if _is_deep_tiff(content) else None
    if content.startswith(b"P6"):
        return ".ppm" if _is_deep_ppm(content) else None
    if content.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return ".jp2" if _is_deep_jpeg2000(content) else None
    return None


def is_deep_png(content: bytes) -> bool:
    """Whether a file is a PNG of 16 bits that has more than one channel.

    Examples
    --------
    >>> is_deep_png(b"GIF89a")
    False
    """
    return content.startswith(PNG) and content[24:25] == b"\x10" and content[25:26] in _PNG_MODES


def png_levels(content: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """The levels (H, W, C) of such a PNG of a (width, height): grey and alpha, RGB or RGBA.

    Raises
    ------
    OSError, ValueError
        It is damaged.
    """
    from PIL import Image

    mode, raw_modes = _PNG_MODES[content[25:26]]
    # Each of Pillow's decoders keeps one byte of two: as big-endian numbers the upper ones, as little-endian the lower.
    stream, is_interlaced = b"".join(data for kind, data in _chunks(content) if kind == b"IDAT"), content[28]
    halves = [np.asarray(Image.frombytes(mode, size, stream, "zip", raw, is_interlaced)) for raw in raw_modes]
    if len(halves) == 1:
        return np.ascontiguousarray(halves[0]).view(">u2").astype(np.uint16)
    levels = halves[0].astype(np.uint16)
    levels <<= 8
    levels |= halves[1]
    return levels


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, by their kinds."""
    start = len(PNG)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        yield kind, content[start + 8 : start + 8 + length]
        start += 12 + length


def _is_deep_tiff(content: bytes) -> bool:
    from PIL import TiffImagePlugin

    with suppress(Exception):  # of a damaged one, Pillow says what is wrong
        file = BytesIO(content)
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[:16] if content[2:4] in (b"+\0", b"\0+") else content[:8])
        file.seek(tags.next)
        tags.load(file)
        bits, is_float = max(tags.get(258, (1,))), 3 in tags.get(339, (1,))
        return bits > 8 and (is_float or tags.get(277, 1) > 1)
    return False


def _is_deep_ppm(content: bytes) -> bool:
    words = [word for line in content[:1000].splitlines() for word in line.partition(b"#")[0].split()]
    return len(words) > 3 and words[3].isdigit() and int(words[3]) > 255


def _is_deep_jpeg2000(content: bytes) -> bool:
    start = content.find(b"\xff\x4f\xff\x51")  # the size of the picture and of its channels
    channels, bits = content[start + 40 : start + 42], content[start + 42 : start + 43]
    return start >= 0 and len(bits) == 1 and (bits[0] & 0x7F) + 1 > 8 and int.from_bytes(channels) > 1


@cache
def _library(name: str) -> Any:
    """OpenImageIO, which is to compute in this thread alone: copies of a process have no other."""
    try:
        import OpenImageIO
    except ImportError as error:
        raise PyengineError(
            f"{name}: needs OpenImageIO, which can't be imported ({one_line(error)}): pip install openimageio"
        ) from error
    for attribute, value in (("threads", 1), ("exr_threads", 1), ("try_all_readers", 0)):
        OpenImageIO.attribute(attribute, value)
    return OpenImageIO


def decode(content: bytes, suffix: str, name: str) -> Stored:
    """Decode a file.

    Parameters
    ----------
    content : bytes
    suffix : str
        What `suffix_of` says of it.
    name : str
        What the picture is to the caller; error messages begin with it.

    Raises
    ------
    PyengineError
        It is damaged, too large, not one picture, or OpenImageIO is not there.
    """
    library = _library(name)
    with _named(suffix, name) as path:
        path.write_bytes(content)
        wanted = library.ImageSpec()
        wanted.attribute("oiio:UnassociatedAlpha", 1)
        file = library.ImageInput.open(str(path), wanted)
        if file is None:
            raise _damaged(name, _said(library))
        try:
            return _decoded(library, file, suffix, name)
        except UnicodeError as error:  # damaged texts
            raise _damaged(name, one_line(error)) from error
        finally:
            file.close()


def encode(
    values: npt.NDArray[Any],
    suffix: str,
    chunks: PngInfo,
    name: str,
    *,
    profile: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    """The contents of a file.

    Parameters
    ----------
    values : uint16, float16 or float32 (H, W, C)
        As they are to be stored: grey, RGB or RGBA.
    suffix : str
        How the names of files in its format end.
    chunks : PngInfo
        What a PNG gets besides.
    name : str
        What error messages begin with.
    profile : bytes or None
        The ICC profile.
    dpi : (float, float) or None

    Raises
    ------
    PyengineError
        OpenImageIO is not there, or fails.
    """
    library = _library(name)
    if suffix == ".hdr":
        values = _rounded(np.broadcast_to(values, (*values.shape[:2], 3)))  # it has no room for one channel
    height, width, channels = values.shape
    kinds = {"uint16": library.UINT16, "float16": library.HALF, "float32": library.FLOAT}
    spec = library.ImageSpec(width, height, channels, kinds[str(values.dtype)])
    spec.attribute("oiio:UnassociatedAlpha", 1)  # values are not to be multiplied by it
    spec.attribute("DateTime", "")  # the same picture makes the same file
    if profile is not None:
        kind = library.TypeDesc(library.UINT8, library.SCALAR, library.NOSEMANTICS, len(profile))
        spec.attribute("ICCProfile", kind, np.frombuffer(profile, np.uint8))
    if dpi is not None:
        spec.attribute("ResolutionUnit", "in")
        spec.attribute("XResolution", float(dpi[0]))
        spec.attribute("YResolution", float(dpi[1]))
    with _named(suffix, name) as path:
        file = library.ImageOutput.create(str(path))
        done = file.open(str(path), spec) and file.write_image(np.ascontiguousarray(values)) and file.close()
        said = _said(file)
        if not done:
            raise PyengineError(f"{name}: cannot be written ({one_line(ValueError(said))}): choose another format")
        content = path.read_bytes()
    return content if suffix != ".png" else _cleaned(content, chunks)


def _cleaned(content: bytes, added: PngInfo) -> bytes:
    """A PNG with some chunks, and without what OpenImageIO says of its own accord, such as sRGB beside any profile."""
    cleaned = BytesIO(PNG)
    cleaned.seek(len(PNG))
    for kind, data in _chunks(content):
        if kind in (b"IHDR", b"iCCP", b"pHYs", b"IDAT", b"IEND"):
            putchunk(cleaned, kind, data)
        if kind == b"IHDR":
            for text_kind, text, *_ in added.chunks:
                putchunk(cleaned, text_kind, text)
    return cleaned.getvalue()


def _decoded(library: Any, file: OpenImageIO.ImageInput, suffix: str, name: str) -> Stored:
    spec = file.spec()
    if spec.deep:
        raise PyengineError(f"{name}: a deep image, of several values a pixel: flatten it")
    if file.seek_subimage(1, 0):
        raise _several(name)
    file.seek_subimage(0, 0)
    _said(file)  # that there is no other one
    first, count, alpha = _channels(spec, name)
    check_size(name, spec.width, spec.height, transparent=alpha)
    depth = _DEPTHS.get(str(spec.format))
    if depth is None:
        raise PyengineError(f"{name}: levels of type {spec.format}: convert it to 8 or 16 bits, or to float")
    kind = {16: library.UINT16, "half": library.HALF}.get(depth, library.FLOAT)
    array = file.read_image(0, 0, first, first + count, kind)
    if array is None or file.has_error:
        raise _damaged(name, _said(file))
    array = np.asarray(array).reshape(spec.height, spec.width, count)
    if alpha and not spec.get_int_attribute("oiio:UnassociatedAlpha"):
        array = _unmultiplied(array)
    if count == 2:
        array = array[:, :, [0, 0, 0, 1]]
    profile = spec.getattribute("ICCProfile")
    return Stored(
        upright(array, spec.get_int_attribute("Orientation", 1)),
        depth,
        count < 3,
        is_light=suffix in _LIGHT,
        is_foreign=suffix in _LIGHT and _is_foreign(spec),
        profile=None if profile is None else np.asarray(profile, np.uint8).tobytes(),
        dpi=_dpi(spec),
    )


def _channels(spec: OpenImageIO.ImageSpec, name: str) -> tuple[int, int, bool]:
    """Where the channels that are read begin, how many they are, and whether the last one is alpha."""
    names = [*spec.channelnames]
    for wanted in (["R", "G", "B", "A"], ["R", "G", "B"]):
        if all(channel in names for channel in wanted):
            first = names.index("R")
            if names[first : first + len(wanted)] == wanted:
                return first, len(wanted), len(wanted) == 4
    if len(names) == 1 or (len(names) == 2 and names[1] == "A"):
        return 0, len(names), len(names) == 2
    shown = ", ".join(names[:8])
    raise PyengineError(f"{name}: it has the channels {shown}: save one layer, with R, G and B, or one channel")


def _is_foreign(spec: OpenImageIO.ImageSpec) -> bool:
    own: Any = spec.getattribute("chromaticities")
    return own is not None and not np.allclose(np.ravel(own), _PRIMARIES, atol=2e-3)


def _unmultiplied(array: npt.NDArray[Any]) -> Float32:
    """Colours that were multiplied by alpha as they were before; where nothing is opaque, as they are."""
    values = array.astype(np.float32)
    if array.dtype.kind == "u":
        values /= np.iinfo(array.dtype).max
    alpha = values[:, :, -1:]
    with np.errstate(over="ignore"):
        np.divide(values[:, :, :-1], alpha, out=values[:, :, :-1], where=alpha > 0)
    if array.dtype.kind == "u":
        np.clip(values, 0, 1, out=values)
    return values


def upright(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """An array (H, W, ...) turned and mirrored as EXIF's orientation says that it is to be seen.

    Examples
    --------
    >>> upright(np.array([[1, 2]]), 6)
    array([[1],
           [2]])
    """
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _dpi(spec: OpenImageIO.ImageSpec) -> tuple[float, float] | None:
    unit = spec.get_string_attribute("ResolutionUnit")
    x, y = (spec.get_float_attribute(f"{axis}Resolution") * _DOTS.get(unit, 0) for axis in "XY")
    return (x, y) if 0 < x < float("inf") and 0 < y < float("inf") else None


def check_size(name: str, width: int, height: int, *, transparent: bool) -> None:
    """Refuse a picture, before it is decoded, of more pixels than Pillow trusts, or than there is memory for.

    Raises
    ------
    PyengineError
        The message begins with `name`.

    Examples
    --------
    >>> check_size("exemplar", 640, 480, transparent=False)
    """
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS  # Pillow itself only warns up to twice of it
    if limit is not None and width * height > limit:
        raise too_large(name, f"{width}x{height} is more pixels than Pillow trusts")
    check_picture(name, width, height, transparent=transparent)


def too_large(name: str, found: str) -> PyengineError:
    """What is said of a picture of too many pixels."""
    return PyengineError(f"{name}: {found}: crop it, scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS")


def check_library(name: str) -> None:
    """Raise PyengineError, whose message begins with `name`, if OpenImageIO is not there."""
    _library(name)


def _rounded(values: npt.NDArray[Any]) -> Float32:
    """Values that are cut off to the nearest in a file of shared exponents: half a step more than they were."""
    greatest = values.max(axis=2, keepdims=True)
    exponents = np.frexp(greatest)[1]
    exponents = np.frexp(greatest + np.ldexp(np.float32(0.5), exponents - 8))[1]  # it may be one more
    rounded: Float32 = values + np.where(greatest > 0, np.ldexp(np.float32(0.5), exponents - 8), np.float32(0))
    return rounded


@contextmanager
def _named(suffix: str, name: str) -> Iterator[Path]:
    """The path of a temporary file."""
    try:
        with tempfile.TemporaryDirectory(prefix="pyengine-") as folder:
            yield Path(folder) / f"picture{suffix}"
    except OSError as error:
        raise PyengineError(
            f"{name}: a temporary file can't be written ({one_line(error)}): set TMPDIR to a folder that has room"
        ) from error


def _said(library: Any) -> str:
    """What a library or a file of it says is wrong."""
    try:
        return str(library.geterror())
    except UnicodeError:  # it quotes what it found
        return ""


def _several(name: str) -> PyengineError:
    return PyengineError(f"{name}: several frames, pages or parts: extract one as an image of its own")


def _damaged(name: str, said: str) -> PyengineError:
    reason = one_line(ValueError(said)) if said else "the decoder does not say why"
    return PyengineError(f"{name}: cannot be decoded ({reason}), perhaps damaged or truncated: export it again")
