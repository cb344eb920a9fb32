"""Images at the files' edge: whatever the user brings becomes one kind of array.

Inside the engine an image is float32 (H, W, 3), RGB in [0, 1]. Pillow does the reading; this module decides what is
accepted and says what is wrong with the rest. Masks and index images are read by it too, see `labels`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pyengine.arrays import Float32
from pyengine.checks import is_number
from pyengine.errors import PyengineError, in_short
from pyengine.files import one_line, pieces
from pyengine.images.formats import KEYWORD, readable
from pyengine.machine import check_picture

LOGGER = logging.getLogger(__name__)

# Further frames of these are previews and layers; the first is the picture. Phones write MPO in .jpg files.
_FIRST_FRAME_IS_THE_PICTURE = {"MPO", "PSD"}

# Arithmetic in float32 may leave [0, 1] by rounding; that is no reason to refuse an image.
_ROUNDING = 1e-5

OPAQUE = 0.5
"""How opaque a pixel has to be to count, with the colour that it has: more than this."""

_NPY = np.lib.format.MAGIC_PREFIX
"""How a .npy file begins."""

_PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A file that was read once: accepted wherever a path to an image is.

    Attributes
    ----------
    path : Path
    content : bytes
        All of it, not decoded yet.

    Examples
    --------
    >>> ImageFile(Path("empty.png"), b"").sha256[:8]
    'e3b0c442'
    """

    path: Path
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], name: str) -> ImageFile:
        """Read a file.

        Parameters
        ----------
        path : str or os.PathLike
        name : str
            What the image is to the caller; error messages begin with it.

        Raises
        ------
        PyengineError
            If the file can't be read or is empty.

        Examples
        --------
        >>> ImageFile.read("none.png", "content")
        Traceback (most recent call last):
        ...
        pyengine.errors.PyengineError: content none.png: no such file: check the path
        """
        name = f"{name} {os.fspath(path)}"
        try:
            content = b"".join(pieces(path))
        except FileNotFoundError:
            raise PyengineError(f"{name}: no such file: check the path") from None
        except IsADirectoryError:
            raise PyengineError(f"{name}: is a folder: name an image file in it") from None
        except PermissionError:
            raise PyengineError(f"{name}: no permission to read it: change the file's permissions") from None
        except (OSError, ValueError) as error:
            raise PyengineError(f"{name}: cannot be read ({one_line(error)}): check the path") from error
        if not content:
            raise PyengineError(f"{name}: the file is empty: export or download it again")
        LOGGER.info("read %s", name)
        return cls(Path(path), content)

    @cached_property
    def sha256(self) -> str:
        """The content's hash, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


Source: TypeAlias = str | os.PathLike[str] | ImageFile | Image.Image | NDArray[Any] | bytes | Sequence[Any]
"""Whatever an image can be read from: bytes are a file's, and a sequence has numbers, row by row."""


def load(source: Source, name: str = "exemplar") -> Float32:
    """Turn a file, a Pillow image or an array into float32 (H, W, 3), RGB in [0, 1].

    A file is turned upright by its EXIF orientation and converted to sRGB by its colour profile, where it has
    one that fits; 16-bit grey keeps its depth (Pillow reads 16-bit colour as 8-bit). Where the image is
    more transparent than opaque, it is composited over its own mean colour, weighted by opacity: no foreign colour
    enters the statistics that are measured on it.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
        An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16, or floating point in [0, 1].
    name : str, default "exemplar"
        What the image is to the caller; error messages begin with it.

    Returns
    -------
    numpy.ndarray
        A new float32 array (H, W, 3).

    Raises
    ------
    PyengineError
        If the source cannot be read or is not one image with finite values in range.

    Examples
    --------
    >>> load(np.array([[0, 51], [102, 255]], np.uint8))[:, :, 0]
    array([[0. , 0.2],
           [0.4, 1. ]], dtype=float32)
    >>> load(np.full((8, 8, 3), 200.0), name="content")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: content: values from 200 to 200 are not in [0, 1]: divide by 255 if ...
    """
    return load_with_alpha(source, name)[0]


def load_with_alpha(source: Source, name: str = "exemplar") -> tuple[Float32, Float32 | None]:
    """Load an image like `load`, and its opacity with it.

    Parameters
    ----------
    source, name
        The arguments of `load`.

    Returns
    -------
    image : numpy.ndarray
        A new float32 array (H, W, 3), composited over its mean colour where it is more transparent than opaque.
    alpha : numpy.ndarray or None
        A new float32 array (H, W), 1 where the image is opaque; None if it is so everywhere.

    Raises
    ------
    PyengineError
        The errors of `load`.

    Examples
    --------
    >>> image, alpha = load_with_alpha(np.array([[[1, 0, 0, 1], [0, 0, 1, 0.0]]]))
    >>> image[0, 1], alpha
    (array([1., 0., 0.], dtype=float32), array([[1., 0.]], dtype=float32))
    >>> load_with_alpha(np.ones((8, 8, 4)))[1] is None
    True
    """
    array, name = read_array(source, name, decoded)
    colors, alpha = split(as_pixels(array, name))
    if alpha is not None:
        colors = _composite(colors, alpha[:, :, None], name)
    # They are a new array already, which is not to be there twice: a picture may be as large as all the rest.
    return np.repeat(colors, 3, axis=2) if colors.shape[2] == 1 else np.ascontiguousarray(colors), alpha


def read_metadata(source: str | os.PathLike[str] | ImageFile) -> str | None:
    """The text that `writing.save` wrote into a PNG; None in any other file, and where there is none.

    Raises
    ------
    PyengineError
        If the file can't be read, or is a damaged PNG.

    Examples
    --------
    >>> import tempfile
    >>> from pyengine.images.writing import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(np.zeros((2, 2, 3), np.uint8), f"{folder}/black.png", metadata="made of nothing")
    ...     read_metadata(f"{folder}/black.png")
    'made of nothing'
    """
    file = source if isinstance(source, ImageFile) else ImageFile.read(source, "image")
    if not file.content.startswith(_PNG):
        return None
    text = _open(file.content, f"image {file.path}").info.get(KEYWORD)
    return text if isinstance(text, str) else None


def read_array(source: Source, name: str, decode: Callable[[Image.Image], NDArray[Any]]) -> tuple[NDArray[Any], str]:
    """Make an array of any source; with it comes the name, and the path where it has one, for error messages.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
    name : str
        What the image is to the caller.
    decode : callable
        What makes an array of a Pillow image, such as `decoded`.
    """
    if isinstance(source, (str, os.PathLike)):
        source = ImageFile.read(source, name)
    if isinstance(source, ImageFile):
        name = f"{name} {source.path}"
        return _from_content(source.content, name, decode), name
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_content(bytes(source), name, decode), name
    if isinstance(source, Image.Image):
        return _from_pillow(source, name, decode), name
    if isinstance(source, np.ndarray):
        return plain(source, name), name
    if isinstance(source, (list, tuple)):
        return from_list(source, name), name
    raise PyengineError(f"{name}: pass a path, a PIL image, an array, bytes or a list, not {type(source).__name__}")


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


def _from_content(content: bytes, name: str, decode: Callable[[Image.Image], NDArray[Any]]) -> NDArray[Any]:
    if content.startswith(_NPY):
        return _saved_array(content, name)
    return _from_pillow(_open(content, name), name, decode)


def _saved_array(content: bytes, name: str) -> NDArray[Any]:
    """The array in a .npy file, in which nothing is run."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise PyengineError(
            f"{name}: cannot be read as .npy ({one_line(error)}): save a plain array with numpy.save"
        ) from error
    check_shape(array, name)
    check_picture(name, array.shape[1], array.shape[0], transparent=array.shape[2:] == (4,))
    return array


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to standard error what comes as an exception as well, if it comes to anything."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # where it is no library of its own
        library = ctypes.CDLL(sys.modules["PIL._imaging"].__file__ or "")
        for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            handler(None)


def plain(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The same as an array of NumPy's own class: a matrix has two axes whatever is done to it.

    Raises
    ------
    PyengineError
        Some of it is masked, so that there is no saying what is there.

    Examples
    --------
    >>> plain(np.ma.masked_less([0.5, 2.0], 1), "content")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: content: 1 values are masked: fill them, see numpy.ma.filled, or give a mask as well
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        masked = np.count_nonzero(np.ma.getmaskarray(array))
        raise PyengineError(
            f"{name}: {masked} values are masked: fill them, see numpy.ma.filled, or give a mask as well"
        )
    return np.asarray(array)


def _identified(content: bytes) -> Image.Image:
    """Open an image in one of the formats that the table names."""
    Image.preinit()  # the few that are usual; to import all takes as long as to read a picture
    with contextlib.suppress(UnidentifiedImageError):
        return Image.open(io.BytesIO(content), formats=[name for name in readable() if name in Image.OPEN])
    Image.init()
    return Image.open(io.BytesIO(content), formats=[name for name in readable() if name in Image.OPEN])


def _open(content: bytes, name: str) -> Image.Image:
    try:
        image = _identified(content)
    except UnidentifiedImageError:
        raise PyengineError(f"{name}: not an image in a format that is read here: convert it to PNG or JPEG") from None
    except Exception as error:
        raise _undecodable(name, error) from error
    if image.format == "TIFF":
        _silence_libtiff()
    limit = Image.MAX_IMAGE_PIXELS  # Pillow itself only warns up to twice of it
    if limit is not None and image.width * image.height > limit:
        raise _too_large(name, f"{image.width}x{image.height} is more pixels than Pillow trusts")
    check_picture(name, *image.size, transparent=image.has_transparency_data)
    return image


def _from_pillow(image: Image.Image, name: str, decode: Callable[[Image.Image], NDArray[Any]]) -> NDArray[Any]:
    try:
        frames = 1 if image.format in _FIRST_FRAME_IS_THE_PICTURE else getattr(image, "n_frames", 1)
        if frames == 1:
            array = decode(image)
    except Exception as error:
        raise _undecodable(name, error) from error
    if frames > 1:
        raise PyengineError(f"{name}: {frames} frames or pages: extract one as an image of its own")
    if array.dtype == np.int32:  # Pillow's mode I, in which some 16-bit files arrive
        beyond = array[(array < 0) | (array > 65535)]
        if beyond.size:
            raise PyengineError(f"{name}: 32-bit levels such as {beyond[0]}: convert it to 8 or 16 bits")
        array = array.astype(np.uint16)
    return array


def decoded(image: Image.Image, managed: bool = True) -> NDArray[Any]:
    """Upright pixels: (H, W) of a deep grey image, else uint8 RGB or RGBA, by the colour profile if managed."""
    profile = image.info.get("icc_profile") if managed else None
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    kind, alpha = Image.getmodebase(image.mode), None  # "L" or "RGB", which a profile must fit
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode == "LAB":
        image = _to_srgb(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    elif image.mode != "CMYK":
        image = image.convert(kind)
    if profile:
        # With a damaged profile, or one of another colour space, the pixels are still good.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            image = _to_srgb(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    rgb = np.asarray(image.convert("RGB"))
    return rgb if alpha is None else np.dstack([rgb, np.asarray(alpha)])


def _to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.buildTransform(profile, srgb, image.mode, "RGB").apply(image)


def _undecodable(name: str, error: Exception) -> PyengineError:
    """Pillow's decoders raise nearly anything on a damaged file: OSError, SyntaxError, struct.error, ..."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return _too_large(name, "it has more pixels than Pillow trusts")
    return PyengineError(
        f"{name}: cannot be decoded ({one_line(error)}), perhaps damaged or truncated: export it again, as PNG"
    )


def _too_large(name: str, found: str) -> PyengineError:
    return PyengineError(f"{name}: {found}: crop it, scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS")


def check_shape(array: NDArray[Any], name: str) -> None:
    """Raise PyengineError for what is no array of pixels."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        remedy = "pass (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] > 4:
            remedy = "move the channels last, numpy.moveaxis(image, 0, -1)"
        raise PyengineError(f"{name}: shape {array.shape} is not an image's: {remedy}")
    if array.size == 0:
        raise PyengineError(f"{name}: shape {array.shape} has no pixels: pass at least one")


def as_pixels(array: NDArray[Any], name: str) -> Float32:
    """Turn an array of any accepted shape and type into a new one: float32 (H, W, C) in [0, 1]."""
    check_shape(array, name)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        pixels = array.astype(np.float32)
        pixels /= np.float32(np.iinfo(array.dtype).max)
    elif array.dtype.kind == "f":
        pixels = _in_range(array, name)
    else:
        raise PyengineError(
            f"{name}: values of type {array.dtype}: convert to uint8, uint16 or floating point in [0, 1]"
        )
    return pixels.reshape(*array.shape[:2], -1)


def split(pixels: Float32) -> tuple[Float32, Float32 | None]:
    """Colours (H, W, 1 or 3) and opacity (H, W), None if it is 1 everywhere."""
    if pixels.shape[2] < 4:
        return pixels, None
    alpha = pixels[:, :, 3].copy()
    return pixels[:, :, :3], None if (alpha == 1).all() else alpha


def _in_range(array: NDArray[Any], name: str) -> Float32:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():  # one NaN is enough to make both NaN
        bad = np.count_nonzero(~np.isfinite(array))
        raise PyengineError(f"{name}: {bad} values are NaN or infinite: replace them, see numpy.nan_to_num")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        remedy = "divide by 255 if they are 8-bit levels" if low >= 0 and 2 < high <= 255 else "rescale them"
        raise PyengineError(f"{name}: values from {low:g} to {high:g} are not in [0, 1]: {remedy}")
    return np.clip(array.astype(np.float32), 0, 1)


def _composite(rgb: Float32, alpha: Float32, name: str) -> Float32:
    """Fill what is transparent with the mean colour of what is not.

    What is more than half opaque counts, and keeps its own colour.
    """
    opacity = alpha.sum(dtype=np.float64)
    if opacity == 0:
        raise PyengineError(f"{name}: fully transparent: remove its alpha channel or make it opaque")
    mean = (rgb * alpha).sum((0, 1), dtype=np.float64) / opacity
    composite = rgb * alpha + mean.astype(np.float32) * (1 - alpha)
    return np.where(alpha > OPAQUE, rgb, composite).clip(0, 1)  # rounding may exceed 1
