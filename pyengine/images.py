"""Images at the files' edge: whatever the user brings becomes one kind of array, and results become files.

Inside the engine an image is float32 (H, W, 3), RGB in [0, 1], a mask float32 (H, W) in [0, 1], and an index image
uint32 (H, W). Pillow does the reading, the writing and the resampling; this module decides what is accepted and says
what is wrong with the rest.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pyengine.arrays import Float32
from pyengine.errors import PyengineError

ByteImage: TypeAlias = NDArray[np.uint8]
Indices: TypeAlias = NDArray[np.uint32]
Source: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any]"

# Suffix -> Pillow's format and options, all as near to lossless as the format goes.
_JPEG = ("JPEG", {"quality": 95, "subsampling": 0})
_TIFF = ("TIFF", {"compression": "tiff_adobe_deflate"})
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": ("WEBP", {"lossless": True}),
}
# JPEG stores sides up to 65535, but libjpeg writes 65500 at most.
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}

# Further frames of these are previews and layers; the first is the picture. Phones write MPO in .jpg files.
_FIRST_FRAME_IS_THE_PICTURE = {"MPO", "PSD"}

# Arithmetic in float32 may leave [0, 1] by rounding; that is no reason to refuse an image.
_ROUNDING = 1e-5

MOST_INDICES = 64
"""Distinct values of an index image, at most: more are the blended colours of edges, or of JPEG."""

# Added to the numbers of colours, which so differ from those of grey levels and palette entries.
FIRST_COLOR = 1 << 24


def load(source: Source, name: str = "exemplar") -> Float32:
    """Turn a file, a Pillow image or an array into float32 (H, W, 3), RGB in [0, 1].

    A file is turned upright by its EXIF orientation and converted to sRGB by its colour profile, where it has
    one that fits; 16-bit grey keeps its depth (Pillow reads 16-bit colour as 8-bit). Where the image is
    transparent, it is composited over its own mean colour, weighted by opacity: no foreign colour enters the
    statistics that are measured on it.

    Parameters
    ----------
    source : str, os.PathLike, PIL.Image.Image or numpy.ndarray
        An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16, or floating point in [0, 1].
    name : str
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
        As in `load`.

    Returns
    -------
    image : numpy.ndarray
        A new float32 array (H, W, 3), composited over its mean colour.
    alpha : numpy.ndarray or None
        A new float32 array (H, W), 1 where the image is opaque; None if it is so everywhere.

    Raises
    ------
    PyengineError
        As in `load`.

    Examples
    --------
    >>> image, alpha = load_with_alpha(np.array([[[1, 0, 0, 1], [0, 0, 1, 0.0]]]))
    >>> image[0, 1], alpha
    (array([1., 0., 0.], dtype=float32), array([[1., 0.]], dtype=float32))
    >>> load_with_alpha(np.ones((8, 8, 4)))[1] is None
    True
    """
    array, name = _read(source, name, _decode)
    colors, alpha = _split(_as_pixels(array, name))
    if alpha is not None:
        colors = _composite(colors, alpha[:, :, None], name)
    return np.array(np.broadcast_to(colors, (*colors.shape[:2], 3)), order="C"), alpha


def load_mask(source: Source, name: str) -> Float32:
    """Turn a file, a Pillow image or an array into a mask: float32 (H, W) in [0, 1], white is 1.

    Levels are taken as they are stored: a colour profile doesn't apply to them. They may come as three equal
    channels; an alpha channel is refused unless it is opaque, for there is no telling which of the two is the mask.

    Parameters
    ----------
    source : str, os.PathLike, PIL.Image.Image or numpy.ndarray
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
    array, name = _read(source, name, partial(_decode, managed=False))
    pixels = _as_pixels(array.astype(np.float32) if array.dtype == bool else array, name)
    levels, alpha = _split(pixels)
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
    source : str, os.PathLike, PIL.Image.Image or numpy.ndarray
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
    array, name = _read(source, name, _decode_indices)
    _check_shape(array, name)
    in_colors = array.ndim == 3 and array.shape[2] > 1
    indices = _color_numbers(array, name) if in_colors else _whole_numbers(array.reshape(array.shape[:2]), name)
    distinct = len(np.unique(indices))
    if distinct > MOST_INDICES:
        raise PyengineError(
            f"{name}: {distinct} distinct values: paint regions in flat colours, without antialiasing, and save as "
            f"PNG, not JPEG"
        )
    return indices


def _read(source: Source, name: str, decode: Callable[[Image.Image], NDArray[Any]]) -> tuple[NDArray[Any], str]:
    """Make an array of any source; with it comes the name, and the path where it has one, for error messages."""
    if isinstance(source, (str, os.PathLike)):
        name = f"{name} {os.fspath(source)}"
        return _from_pillow(_open(Path(source), name), name, decode), name
    if isinstance(source, Image.Image):
        return _from_pillow(source, name, decode), name
    if isinstance(source, np.ndarray):
        return source, name
    raise PyengineError(f"{name}: pass a path, a PIL image or a numpy array, not {type(source).__name__}")


def _open(path: Path, name: str) -> Image.Image:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PyengineError(f"{name}: no such file: check the path") from None
    except IsADirectoryError:
        raise PyengineError(f"{name}: is a folder: name an image file in it") from None
    except PermissionError:
        raise PyengineError(f"{name}: no permission to read it: change the file's permissions") from None
    except (OSError, ValueError) as error:
        raise PyengineError(f"{name}: cannot be read ({_reason(error)}): check the path") from error
    if not content:
        raise PyengineError(f"{name}: the file is empty: export or download it again")
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise PyengineError(f"{name}: not an image in a format that Pillow reads: convert it to PNG or JPEG") from None
    except Exception as error:
        raise _undecodable(name, error) from error
    limit = Image.MAX_IMAGE_PIXELS  # Pillow itself only warns up to twice of it
    if limit is not None and image.width * image.height > limit:
        raise _too_large(name, f"{image.width}x{image.height} is more pixels than Pillow trusts")
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


def _decode(image: Image.Image, managed: bool = True) -> NDArray[Any]:
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


def _decode_indices(image: Image.Image) -> NDArray[Any]:
    """Upright numbers (H, W) as they are stored, whatever their colours in a palette, else uint8 RGB or RGBA."""
    if image.mode in ("1", "L", "P"):
        return np.asarray(ImageOps.exif_transpose(image))
    return _decode(image, managed=False)


def _to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.buildTransform(profile, srgb, image.mode, "RGB").apply(image)


def _undecodable(name: str, error: Exception) -> PyengineError:
    """Pillow's decoders raise nearly anything on a damaged file: OSError, SyntaxError, struct.error, ..."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return _too_large(name, "it has more pixels than Pillow trusts")
    return PyengineError(
        f"{name}: cannot be decoded ({_reason(error)}), perhaps damaged or truncated: export it again, as PNG"
    )


def _too_large(name: str, found: str) -> PyengineError:
    return PyengineError(f"{name}: {found}: crop it, scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS")


def _check_shape(array: NDArray[Any], name: str) -> None:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        remedy = "pass (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] > 4:
            remedy = "move the channels last, numpy.moveaxis(image, 0, -1)"
        raise PyengineError(f"{name}: shape {array.shape} is not an image's: {remedy}")
    if array.size == 0:
        raise PyengineError(f"{name}: shape {array.shape} has no pixels: pass at least one")


def _as_pixels(array: NDArray[Any], name: str) -> Float32:
    """Turn an array of any accepted shape and type into a new one: float32 (H, W, C) in [0, 1]."""
    _check_shape(array, name)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        pixels = array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    elif array.dtype.kind == "f":
        pixels = _in_range(array, name)
    else:
        raise PyengineError(
            f"{name}: values of type {array.dtype}: convert to uint8, uint16 or floating point in [0, 1]"
        )
    return pixels.reshape(*array.shape[:2], -1)


def _split(pixels: Float32) -> tuple[Float32, Float32 | None]:
    """Colours (H, W, 1 or 3) and opacity (H, W), None if it is 1 everywhere."""
    if pixels.shape[2] < 4:
        return pixels, None
    alpha = pixels[:, :, 3].copy()
    return pixels[:, :, :3], None if (alpha == 1).all() else alpha


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
    """Fill what is transparent with the mean colour of what is not."""
    opacity = alpha.sum(dtype=np.float64)
    if opacity == 0:
        raise PyengineError(f"{name}: fully transparent: remove its alpha channel or make it opaque")
    mean = (rgb * alpha).sum((0, 1), dtype=np.float64) / opacity
    composite: Float32 = rgb * alpha + mean.astype(np.float32) * (1 - alpha)
    return composite.clip(0, 1)  # rounding may exceed 1


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
    _format(path)
    check_place(path)


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse, before the work, a path that `write_atomically` could not write to after it.

    Raises
    ------
    PyengineError
        If the path is a folder, or its folder is missing or read-only.

    Examples
    --------
    >>> check_place("no such folder/report.json")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: no such folder/report.json: the folder ... does not exist: create it
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise PyengineError(f"{path}: is a folder: name a file in it")
        if not target.parent.is_dir():
            raise PyengineError(f"{path}: the folder {target.parent} does not exist: create it")
        # Permissions do not tell of read-only file systems or names too long; making a file does.
        trial = _beside(target)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def save(image: ByteImage, path: str | os.PathLike[str]) -> None:
    """Write uint8 (H, W, 3) in the format that the suffix names; see `write_atomically`.

    Raises
    ------
    PyengineError
        If the format or the place cannot take the image.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(np.full((2, 2, 3), 51, np.uint8), Path(folder) / "grey.png")
    ...     load(Path(folder) / "grey.png")[0, 0]
    array([0.2, 0.2, 0.2], dtype=float32)
    """
    kind, options = _format(path)
    height, width = image.shape[:2]
    limit = _LONGEST_SIDE.get(kind)
    if limit is not None and max(width, height) > limit:
        raise PyengineError(f"{path}: {width}x{height} exceeds {kind}'s {limit} pixels a side: use .png")
    picture = Image.fromarray(image)
    write_atomically(path, lambda file: picture.save(file, kind, **options))


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill a temporary file, then put it in the place of `path` in one step.

    Readers see the old file or the new one, never a part. If anything fails, the old one is untouched and
    nothing is left behind. As with a plain `open`, a new file gets the permissions that the umask leaves, an
    existing one keeps its own, and a link keeps pointing where it did.

    Raises
    ------
    PyengineError
        If the system refuses: no such folder, no permission, a full disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "notes", lambda file: file.write(b"done"))
    ...     (Path(folder) / "notes").read_bytes()
    b'done'
    """
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    try:
        temporary.touch(exist_ok=False)
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _format(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise PyengineError(f"{path}: cannot write this format: end the name in {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def _beside(target: Path) -> Path:
    """Name a temporary file in the same folder, hence on the same file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _unwritable(path: str | os.PathLike[str], error: Exception) -> PyengineError:
    return PyengineError(f"{path}: cannot be written ({_reason(error)}): choose another place")


def _reason(error: Exception) -> str:
    """One line, without the number and the temporary name that an OSError carries."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())


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
    return _resample(image, size, Image.Resampling.HAMMING, margin=0)


def upsample_circular(image: Float32, size: tuple[int, int]) -> Float32:
    """Scale an image that wraps around to a larger size, bilinearly; the result wraps around too.

    Parameters
    ----------
    image : numpy.ndarray
        Float32 (H, W, 3), or a mask (H, W).
    size : tuple of int
        Width and height, neither smaller than the image's.

    Examples
    --------
    >>> columns = np.zeros((1, 2, 3), np.float32)
    >>> columns[:, 0] = 1
    >>> upsample_circular(columns, (4, 1))[0, :, 0]
    array([0.75, 0.75, 0.25, 0.25], dtype=float32)
    """
    # A bilinear sample reaches half a pixel over the edge.
    return _resample(image, size, Image.Resampling.BILINEAR, margin=1)


def _resample(image: Float32, size: tuple[int, int], resampling: Image.Resampling, margin: int) -> Float32:
    """Resize channel by channel, in floating point, with `margin` pixels of the opposite side in reach."""
    height, width = image.shape[:2]
    box = (margin, margin, margin + width, margin + height)
    padded = np.pad(np.atleast_3d(image), ((margin, margin), (margin, margin), (0, 0)), mode="wrap")
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(padded, 2, 0))
    resampled = np.dstack([np.asarray(channel.resize(size, resampling, box)) for channel in channels])
    return resampled.reshape(*resampled.shape[:2], *image.shape[2:])
