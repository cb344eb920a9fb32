"""Images at the files' edge: whatever the user brings becomes one kind of array.

Inside the engine an image is float32 (H, W, 3), RGB in [0, 1]. Pillow does the reading, and OpenImageIO of what is
deeper (`deep.py`); this module decides what is accepted and says what is wrong with the rest. Masks and index images
are read by it too, see `labels`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.files import one_line, pieces
from pyengine.images import deep
from pyengine.images.deep import Stored
from pyengine.images.encoding import ROWS, Curve, Data, Depth, Display, Encoding, Linear, Log, shared, under
from pyengine.images.formats import KEYWORD, readable
from pyengine.images.lists import NPY, from_list, saved_array
from pyengine.images.profiles import Profile

LOGGER = logging.getLogger(__name__)

# Further frames of these are previews and layers; the first is the picture. Phones write MPO in .jpg files.
_FIRST_FRAME_IS_THE_PICTURE = {"MPO", "PSD"}

# Arithmetic in float32 may leave [0, 1] by rounding; that is no reason to refuse an image.
_ROUNDING = 1e-5

OPAQUE = 0.5
"""How opaque a pixel has to be to count, with the colour that it has: more than this."""


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


ProfileUse: TypeAlias = Literal["srgb", "keep"]
"""What becomes of a picture's colours: converted to sRGB by its profile, or left as they are."""

Source: TypeAlias = str | os.PathLike[str] | ImageFile | Image.Image | NDArray[Any] | bytes | Sequence[Any]
"""Whatever an image can be read from: bytes are a file's, and a sequence has numbers, row by row."""


def load(source: Source, name: str = "exemplar") -> Float32:
    """Turn a file, a Pillow image or an array into float32 (H, W, 3), RGB in [0, 1].

    A file is turned upright by its EXIF orientation and converted to sRGB by its colour profile, where it has
    one that fits; it is read in all its depth, and what its values mean is told by `load_with_encoding`. Where the
    image is more transparent than opaque, it is composited over its own mean colour, weighted by opacity: no foreign
    colour enters the statistics that are measured on it.

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
    return load_with_encoding(source, name)[:2]


def load_with_encoding(
    source: Source, name: str = "exemplar", *, data: bool = False, profile: ProfileUse = "srgb"
) -> tuple[Float32, Float32 | None, Encoding]:
    """Load an image like `load`, its opacity, and how it was in its file.

    Parameters
    ----------
    source, name
        The arguments of `load`.
    data : bool, default False
        Whether its values are no colours, such as normals or heights: they are taken as they are stored, in proportion
        where they are outside [0, 1], also in arrays.
    profile : {"srgb", "keep"}, default "srgb"
        Whether colours are converted to sRGB, or stay as they are, with their profile in the encoding.

    Returns
    -------
    image : numpy.ndarray
        A new float32 array (H, W, 3), composited over its mean colour where it is more transparent than opaque.
    alpha : numpy.ndarray or None
        A new float32 array (H, W), 1 where the image is opaque; None if it is so everywhere.
    encoding : Encoding
        Its curve leads from the image's values back to those of the file.

    Raises
    ------
    PyengineError
        The errors of `load`.

    Examples
    --------
    >>> heights = np.array([[-2.0, 0.0, 6.0]])
    >>> image, alpha, encoding = load_with_encoding(heights, data=True)
    >>> image[0, :, 0], encoding.curve
    (array([0.  , 0.25, 1.  ], dtype=float32), Data(low=-2.0, high=6.0))
    """
    stored, name = _stored(source, name, partial(decoded, managed=not data, keep=profile == "keep"))
    if stored.is_foreign and not data:
        raise PyengineError(f"{name}: its primaries are not those of sRGB (Rec. 709): convert it to linear sRGB")
    pixels, curve = _as_encoded(stored, data, name)
    colors, alpha = split(pixels)
    grey = stored.grey or colors.shape[2] == 1
    colors = colors[:, :, :1] if grey else colors
    kept, clipped = None, 0.0
    if not data and stored.profile is not None and isinstance(curve, Display):
        kept, clipped = _in_profile(colors, stored, profile, name)
    if alpha is not None:
        _composite(colors, alpha, name)
    encoding = Encoding(stored.depth, grey, curve, kept, stored.dpi, clipped)
    # They are a new array already, which is not to be there twice: a picture may be as large as all the rest.
    return np.repeat(colors, 3, axis=2) if grey else np.ascontiguousarray(colors), alpha, encoding


def load_alike(*sources: tuple[Source, str]) -> list[Float32]:
    """Load images, each with its name, so that equal values of files are equal in all: as the first has them.

    Raises
    ------
    PyengineError
        The errors of `load`.

    Examples
    --------
    >>> [float(image.max()) for image in load_alike((np.zeros((2, 2)), "exemplar"), (np.ones((2, 2)), "image"))]
    [0.0, 1.0]
    """
    loaded = [load_with_encoding(source, name) for source, name in sources]
    curves = [encoding.curve for _, _, encoding in loaded]
    curve = shared(curves, curves[0])
    return [under(image, encoding.curve, curve) for image, _, encoding in loaded]


def _as_encoded(stored: Stored, data: bool, name: str) -> tuple[Float32, Curve]:
    """The engine's values (H, W, C) of a picture's, not yet managed, and the curve that led to them."""
    array = stored.array
    if array.dtype.kind != "f" or not (data or stored.in_file):
        return as_pixels(array, name), Data() if data else Display()
    check_shape(array, name)
    pixels = array.reshape(*array.shape[:2], -1).astype(np.float32, copy=not stored.in_file)
    if not np.isfinite([pixels.min(), pixels.max()]).all():
        raise _not_finite(pixels, name)
    colors = pixels[:, :, :3]
    counting = colors
    if pixels.shape[2] == 4 and (pixels[:, :, 3] > OPAQUE).any():  # what is behind all else may be anything
        counting = colors[pixels[:, :, 3] > OPAQUE]
    low, high = float(counting.min()), float(counting.max())
    in_unit = low >= 0 and high <= 1
    curve: Curve
    if data or stored.grey or colors.shape[2] == 1:
        curve = Data() if in_unit else Data(low, high if high > low else low + 1)
    elif not in_unit:
        curve = Log.of(counting)
    else:
        curve = Linear() if stored.is_light else Display()
    for row in range(0, len(colors), ROWS):
        colors[row : row + ROWS] = curve.encode(colors[row : row + ROWS])
    return pixels.clip(0, 1, out=pixels), curve


def _in_profile(colors: Float32, stored: Stored, use: ProfileUse, name: str) -> tuple[bytes | None, float]:
    """Convert colours in place as a profile asks; what is left of it, and what share of them was outside sRGB."""
    profile = Profile.read(stored.profile or b"")
    if profile is None or (profile.space == "L") != (colors.shape[2] == 1) or profile.is_srgb:
        return None, 0.0
    if use == "keep":
        return profile.content, 0.0
    if profile.curves is None:
        raise PyengineError(
            f"{name}: its colour profile is one of tables, which are applied to 8 bits alone: convert it to sRGB, "
            f"or keep its profile, with profile='keep'"
        )
    return None, profile.to_srgb(colors)


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
    if not file.content.startswith(deep.PNG):
        return None
    text = _open(file.content, f"image {file.path}").info.get(KEYWORD)
    return text if isinstance(text, str) else None


def read_array(source: Source, name: str, decode: Callable[[Image.Image], Stored]) -> tuple[NDArray[Any], str]:
    """Make an array of any source; with it comes the name, and the path where it has one, for error messages.

    Parameters
    ----------
    source : Source
    name : str
        What the image is to the caller.
    decode : callable
        What makes an array of a Pillow image, such as `decoded`.
    """
    stored, name = _stored(source, name, decode)
    return stored.array, name


def _stored(source: Source, name: str, decode: Callable[[Image.Image], Stored]) -> tuple[Stored, str]:
    """A picture as any source has it, decoded so if it is Pillow that reads it; its name is that of `read_array`."""
    if isinstance(source, (str, os.PathLike)):
        source = ImageFile.read(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_content(bytes(source), name, decode), name
    if isinstance(source, ImageFile):
        name = f"{name} {source.path}"
        return _from_content(source.content, name, decode), name
    if isinstance(source, Image.Image):
        return replace(_from_pillow(source, name, decode), in_file=False), name
    if isinstance(source, (list, tuple)):
        source = from_list(source, name)
    if isinstance(source, np.ndarray):
        return _from_array(plain(source, name)), name
    raise PyengineError(f"{name}: pass a path, a PIL image, an array, bytes or a list, not {type(source).__name__}")


def _from_content(content: bytes, name: str, decode: Callable[[Image.Image], Stored]) -> Stored:
    if content.startswith(NPY):
        return _from_array(saved_array(content, name))
    suffix = deep.suffix_of(content)
    if suffix is not None:
        return deep.decode(content, suffix, name)
    if deep.is_deep_png(content):
        decode = partial(_decode_png, content=content)
    return _from_pillow(_open(content, name), name, decode)


def _from_array(array: NDArray[Any]) -> Stored:
    # Arrays of floating-point numbers are what programs compute with: they say nothing of how deep a file is.
    depth: Depth = 16 if array.dtype.kind == "u" and array.dtype.itemsize == 2 else 8
    return Stored(array, depth, array.ndim == 2, in_file=False)


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
    deep.check_size(name, *image.size, transparent=image.has_transparency_data)
    return image


def _from_pillow(image: Image.Image, name: str, decode: Callable[[Image.Image], Stored]) -> Stored:
    try:
        frames = 1 if image.format in _FIRST_FRAME_IS_THE_PICTURE else getattr(image, "n_frames", 1)
        if frames == 1:
            stored = decode(image)
    except Exception as error:
        raise _undecodable(name, error) from error
    if frames > 1:
        raise PyengineError(f"{name}: {frames} frames or pages: extract one as an image of its own")
    if stored.array.dtype == np.int32:  # Pillow's mode I, in which some 16-bit files arrive
        beyond = stored.array[(stored.array < 0) | (stored.array > 65535)]
        if beyond.size:
            raise PyengineError(f"{name}: 32-bit levels such as {beyond[0]}: convert it to 8 or 16 bits")
        stored = replace(stored, array=stored.array.astype(np.uint16))
    return stored


def decoded(image: Image.Image, managed: bool = True, keep: bool = False) -> Stored:
    """Upright pixels: (H, W) of a grey image that is deep, else uint8 RGB or RGBA.

    Of colour profiles, if managed, those are applied that `profiles.Profile` can't, unless they are to be kept; others
    come with the pixels.
    """
    profile = image.info.get("icc_profile") if managed else None
    dpi = _dpi(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Stored(np.asarray(image), "float" if image.mode == "F" else 16, True, profile=profile, dpi=dpi)
    kind, alpha = Image.getmodebase(image.mode), None  # "L" or "RGB", which a profile must fit
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode == "LAB":
        image, kind = _to_srgb(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), "RGB"
    elif image.mode != "CMYK":
        image = image.convert(kind)
    known = Profile.read(profile) if profile else None
    if profile and image.mode != "CMYK" and known is not None and (keep or known.curves is not None):
        pass  # to be applied at full precision, or not at all
    elif profile:
        # With a damaged profile, or one of another colour space, the pixels are still good.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            image = _to_srgb(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        profile = None
    pixels = np.asarray(image.convert("RGB"))
    if alpha is not None:
        pixels = np.dstack([pixels, np.asarray(alpha)])
    return Stored(pixels, 8, kind == "L" and image.mode != "RGB", profile=profile, dpi=dpi)


def _decode_png(image: Image.Image, content: bytes) -> Stored:
    """Upright levels of a PNG of 16 bits that has more than one channel."""
    levels = deep.png_levels(content, image.size)
    opaque = np.uint16(65535)
    if "transparency" in image.info and levels.shape[2] == 3:  # one colour of all
        clear = (levels == np.array(image.info["transparency"], np.uint16)).all(axis=2)
        levels = np.dstack([levels, np.where(clear, np.uint16(0), opaque)])
    grey = levels.shape[2] == 2
    levels = deep.upright(levels[:, :, [0, 0, 0, 1]] if grey else levels, image.getexif().get(0x0112, 1))
    return Stored(levels, 16, grey, profile=image.info.get("icc_profile"), dpi=_dpi(image))


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """What a file says of its resolution, if it makes sense."""
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError, OverflowError):
        x, y = map(float, image.info.get("dpi", ()))
        if 0 < x < float("inf") and 0 < y < float("inf"):
            return x, y
    return None


def _to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.buildTransform(profile, srgb, image.mode, "RGB").apply(image)


def _undecodable(name: str, error: Exception) -> PyengineError:
    """Pillow's decoders raise nearly anything on a damaged file: OSError, SyntaxError, struct.error, ..."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return deep.too_large(name, "it has more pixels than Pillow trusts")
    return PyengineError(
        f"{name}: cannot be decoded ({one_line(error)}), perhaps damaged or truncated: export it again, as PNG"
    )


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
        raise _not_finite(array, name)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        remedy = "divide by 255 if they are 8-bit levels" if low >= 0 and 2 < high <= 255 else "rescale them"
        raise PyengineError(f"{name}: values from {low:g} to {high:g} are not in [0, 1]: {remedy}")
    return np.clip(array.astype(np.float32), 0, 1)


def _not_finite(array: NDArray[Any], name: str) -> PyengineError:
    bad = np.count_nonzero(~np.isfinite(array))
    return PyengineError(f"{name}: {bad} values are NaN or infinite: replace them, see numpy.nan_to_num")


def _composite(rgb: Float32, alpha: Float32, name: str) -> None:
    """Fill what is transparent with the mean colour of what is not, in place.

    What is more than half opaque counts, and keeps its own colour.
    """
    opacity = alpha.sum(dtype=np.float64)
    if opacity == 0:
        raise PyengineError(f"{name}: fully transparent: remove its alpha channel or make it opaque")
    mean = (np.einsum("hwc,hw->c", rgb, alpha, dtype=np.float64) / opacity).astype(np.float32)
    for row in range(0, len(rgb), ROWS):
        part, share = rgb[row : row + ROWS], alpha[row : row + ROWS, :, None]
        blended = part * share + mean * (1 - share)
        part[...] = np.where(share > OPAQUE, part, blended).clip(0, 1)  # rounding may exceed 1
