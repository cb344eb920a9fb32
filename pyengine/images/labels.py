"""Masks and index images at the files' edge: what says which pixels are meant, rather than what they look like.

A mask is float32 (H, W) in [0, 1], white is 1, or bool where it is black and white; an index image is uint32 (H, W), a
number for each pixel. They come as people have them: with antialiased edges, and from JPEG. What is read otherwise than
pixel by pixel is told in a warning, and refused where it would be a guess.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pyengine.arrays import Float32
from pyengine.checks import is_number
from pyengine.errors import PyengineError, in_short
from pyengine.images.color import LUMINANCE
from pyengine.images.deep import Stored
from pyengine.images.reading import Source, as_pixels, check_shape, decoded, read_array, split
from pyengine.images.snapping import NOISE, grow, main_colors, snap, solid

Indices: TypeAlias = NDArray[np.uint32]

MOST_INDICES = 64
"""Distinct values of an index image, at most."""

FIRST_COLOR = 1 << 24
"""Added to the numbers of colours, which so differ from those of grey levels and palette entries."""

TINT = 32 / 255
"""By how much the channels of a grey pixel may differ, as in JPEG."""

TINTED = 0.01
"""The share of a mask's pixels that may differ by more, as text does that is smoothed for screens."""

VALLEY = 0.25
"""How many pixels may be around the middle between a mask's dark and its light, of those around these in as wide a
range: of antialiased and noisy masks, 0.2 at most from a spot of 6 pixels on; of photographs, 0.37 at least, of noise
and even ramps 1."""

PURE = 2 / 255
"""How near to black or white a level is that is taken for it where a mask is soft."""


def load_mask(source: Source, name: str) -> Float32:
    """Turn a file, a Pillow image or an array into a soft mask: float32 (H, W) in [0, 1], white is 1.

    Levels are taken as they are stored: a colour profile doesn't apply to them. They may come as three nearly equal
    channels, of which the luminance counts, with a warning; an alpha channel is refused unless it is opaque, for there
    is no telling which of the two is the mask.

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
    mask, _, tint = _levels(source, name)
    if tint:
        _tell(f"{name}: colours that differ by up to {255 * tint:.0f} of 255 are read as grey")
    return mask


def load_flags(source: Source, name: str, threshold: float | None = None) -> NDArray[np.bool_]:
    """Turn a file, a Pillow image or an array into a black and white mask: bool (H, W), white is True.

    A mask with levels between black and white is read by a threshold, which a warning names: in the middle between its
    dark and its light, if its histogram has a valley there; or 0.5, if half of it or more is black and white itself, as
    where edges are soft.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
        As for `load_mask`.
    name : str
        What the mask is to the caller; error messages begin with it.
    threshold : float, optional
        The level above which it is white. Default: None, as above.

    Returns
    -------
    numpy.ndarray
        A new bool array (H, W).

    Raises
    ------
    PyengineError
        The errors of `load_mask`; or a threshold would be a guess, as for a photograph.

    Examples
    --------
    >>> load_flags(np.array([[0, 255, 255]], np.uint8), "fill")
    array([[False,  True,  True]])
    >>> load_flags(np.linspace(0, 1, 64)[None], "fill")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: fill: its levels, 0.00 to 1.00, are not clearly of two kinds, dark and light: ...
    """
    mask, name, _ = _levels(source, name)
    if threshold is not None:
        return mask > threshold
    if ((mask == 0) | (mask == 1)).all():
        return mask > 0.5
    found = _threshold(mask)
    if found is None:
        raise PyengineError(
            f"{name}: its levels, {mask.min():.2f} to {mask.max():.2f}, are not clearly of two kinds, dark and light: "
            "make it black and white, or give the level between them as mask_threshold"
        )
    between = np.count_nonzero((mask != 0) & (mask != 1))
    _tell(f"{name}: {between} pixels are not black or white: what is above {found:.2f} is read as white")
    return mask > found


def check_threshold(threshold: Any) -> None:
    """Raise PyengineError for what is no threshold of a mask.

    Examples
    --------
    >>> check_threshold(128)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: mask_threshold=128: give a level from 0 to below 1, above which a mask is white
    """
    if not is_number(threshold) or not 0 <= threshold < 1:
        raise PyengineError(
            f"mask_threshold={in_short(threshold)}: give a level from 0 to below 1, above which a mask is white"
        )


@dataclass(frozen=True, eq=False)
class IndexImage:
    """An index image, and how it was read.

    Attributes
    ----------
    indices : uint32 (H, W)
    name : str
        What it is to the caller, with its path.
    painted : bool
        Whether its numbers are colours, of a picture.
    others : int
        How many other values were snapped to its main ones. Default: 0, its numbers are as they were stored.
    """

    indices: Indices
    name: str
    painted: bool
    others: int = 0

    @property
    def numbers(self) -> list[int]:
        """Its numbers, in order."""
        return [int(number) for number in np.unique(self.indices)]


def load_indices(source: Source, name: str, count: int | None = None) -> IndexImage:
    """Turn a file, a Pillow image or an array into an index image: a number for each pixel, uint32 (H, W).

    Numbers are a palette image's indices, a grey image's levels or an array's integers, as they are stored. A layout
    painted in flat colours will do as well: red, green and blue make ``0x1000000 + (red << 16) + (green << 8) + blue``,
    except that a grey colour is its level. What antialiasing and JPEG make of flat colours is snapped to them.

    Parameters
    ----------
    source : str, os.PathLike, ImageFile, PIL.Image.Image or numpy.ndarray
        An array is bool, integer, or whole floating point of (H, W) or (H, W, 1), none negative; or uint8 of
        (H, W, 3) or (H, W, 4), opaque.
    name : str
        What the index image is to the caller; error messages begin with it.
    count : int, optional
        How many main values there are at most, to which all others are snapped. Default: None, as many as there clearly
        are.

    Raises
    ------
    PyengineError
        If the source cannot be read, is not one opaque image of whole numbers, or has many values of which it is not
        clear which ones are meant.

    Examples
    --------
    >>> load_indices(np.array([[0, 7]]), "layout").indices
    array([[0, 7]], dtype=uint32)
    >>> colors = np.array([[[255, 0, 0], [9, 9, 9]]], np.uint8)
    >>> [hex(number) for number in load_indices(colors, "layout").indices[0]]
    ['0x1ff0000', '0x9']
    """
    modes = []

    def decode(image: Image.Image) -> Stored:
        modes.append(image.mode)
        return _decode_indices(image)

    array, name = read_array(source, name, decode)
    check_shape(array, name)
    in_colors = array.ndim == 3 and array.shape[2] > 1
    indices = _color_numbers(array, name) if in_colors else _whole_numbers(array.reshape(array.shape[:2]), name)
    values, counts = np.unique(indices, return_counts=True)
    read = IndexImage(indices, name, in_colors or bool(modes and modes[0] not in ("1", "P")))
    if len(values) <= MOST_INDICES and (not read.painted or _is_flat(indices, values)):
        if count is None or len(values) <= count:
            return read
        main = values[np.sort(np.argsort(-counts, kind="stable")[:count])]
        labels = np.where(np.isin(indices, main), np.searchsorted(main, indices), -1).astype(np.int8)
        labels = grow(labels, indices[:, :, None], main[:, None].astype(np.float32), labels)
        return replace(read, indices=main[labels].astype(np.uint32), others=len(values) - count)
    deep = array.dtype == np.uint16
    if not (in_colors or deep or array.dtype == np.uint8):
        raise PyengineError(f"{name}: {len(values)} distinct numbers: give {MOST_INDICES} at most")
    pixels = array.reshape(*indices.shape, -1)[:, :, :3]
    if deep:
        pixels = (pixels // 257).astype(np.uint8)
    colors = main_colors(pixels, count)
    if colors is None:
        raise PyengineError(
            f"{name}: {len(values)} distinct values, and it is not clear which ones are meant: paint regions in flat "
            "colours, 48 of 255 apart, or say how many there are with regions"
        )
    main = np.array([_number(values, counts, colour) for colour in colors], np.uint32)
    return replace(read, indices=main[snap(pixels, colors)], painted=not deep, others=len(values) - len(colors))


def agreeing(images: Sequence[IndexImage]) -> list[IndexImage]:
    """The same index images, with the numbers of snapped ones as others have them where they are as near as noise is.

    What an image's numbers are is told in a warning, if it was snapped.

    Examples
    --------
    >>> import warnings
    >>> layout = IndexImage(np.array([[0, 255]], np.uint32), "layout", True)
    >>> regions = IndexImage(np.array([[0, 250]], np.uint32), "regions", True, others=30)
    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     [image.numbers for image in agreeing([layout, regions])]
    [[0, 255], [0, 255]]
    >>> print(told[0].message)
    regions: 30 other values are snapped to the 2 main ones, 0, 255
    """
    known = {number for image in images if image.painted and not image.others for number in image.numbers}
    found = []
    for image in images:
        if image.others:
            if image.painted:
                image = replace(image, indices=_renamed(image, known))
                known |= set(image.numbers)
            numbers = image.numbers
            names = ", ".join(map(number_name, numbers))
            _tell(f"{image.name}: {image.others} other values are snapped to the {len(numbers)} main ones, {names}")
        found.append(image)
    return found


def number_name(number: int) -> str:
    """What a number of an index image is called.

    Examples
    --------
    >>> number_name(7), number_name(FIRST_COLOR + 0xff0000)
    ('7', '#ff0000')
    """
    return f"#{number - FIRST_COLOR:06x}" if number >= FIRST_COLOR else str(number)


def _levels(source: Source, name: str) -> tuple[Float32, str, float]:
    """A mask's levels (H, W), its name with its path, and by how much its channels differ."""
    array, name = read_array(source, name, partial(decoded, managed=False))
    pixels = as_pixels(array.astype(np.float32) if array.dtype == bool else array, name)
    levels, alpha = split(pixels)
    if alpha is not None:
        raise _transparent(name)
    differences = np.ptp(levels, axis=2)
    if not differences.any():
        return levels[:, :, 0].copy(), name, 0.0
    if (differences > TINT).mean() > TINTED:
        raise PyengineError(f"{name}: a mask is grey, this is in colour: convert it to greyscale, white for 1")
    return (levels @ LUMINANCE).clip(0, 1), name, float(differences.max())


def _threshold(mask: Float32) -> float | None:
    """The level between a mask's dark and its light; None if it would be a guess."""
    black, white = mask <= PURE, mask >= 1 - PURE
    if black.any() and white.any() and (black | white).mean() >= 0.5:
        return 0.5
    counts = np.bincount(np.round(mask * 255).astype(np.intp).ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, sums = counts.cumsum(), (counts * levels).cumsum()
    above = below[-1] - below
    inside = (below > 0) & (above > 0)
    if not inside.any():
        return None
    # Where Otsu's variance between the two classes is greatest; it is the same all over a gap.
    between = np.full(256, -1.0)
    between[inside] = (sums[-1] * below - sums * below[-1])[inside] ** 2 / (below * above)[inside]
    split_at = int(between.argmax()) + 1
    dark = int(np.searchsorted(below, below[split_at - 1] / 2))
    light = int(np.searchsorted(below, below[split_at - 1] + above[split_at - 1] / 2))
    middle, reach = (dark + light) / 2, (light - dark) / 6

    def around(level: float) -> float:
        return float(counts[np.abs(levels - level) <= reach].sum())

    if light - dark < NOISE or around(middle) > VALLEY * min(around(dark), around(light)):
        return None
    return middle / 255


def _is_flat(indices: Indices, values: Indices) -> bool:
    """Whether all values are meant: most pixels of each are in squares of 2x2, as few are of blends at edges.

    If none of any is, the picture is too small to tell.
    """
    in_squares = solid(indices)
    shares = [in_squares[indices == value].mean() for value in values]
    return bool(min(shares) >= 0.5 or max(shares) == 0)


def _number(values: Indices, counts: NDArray[np.intp], colour: Float32) -> int:
    """The number of a main colour, of all with their counts: the most frequent near it, or its grey if it is one."""
    colors = _rgb(values)
    distance = np.linalg.norm(colors - (colour if len(colour) == 3 else np.repeat(colour, 3)), axis=1)
    chosen = np.where(distance <= max(float(distance.min()), NOISE / 4), counts, 0).argmax()
    number, rgb = int(values[chosen]), colors[chosen]
    if 255 < number < FIRST_COLOR:  # of 16 bits
        return number
    if rgb.max() <= NOISE / 3:
        return 0
    return int(rgb.mean().round()) if np.ptp(rgb) <= NOISE / 3 else number


def _renamed(image: IndexImage, known: set[int]) -> Indices:
    """An image's indices, with the known number nearest to each of its own, if it is as near as noise."""
    numbers = np.array(image.numbers, np.uint32)
    renamed = numbers.copy()
    choices = np.array(sorted(known), np.uint32)
    if len(choices):
        distances = np.linalg.norm(_rgb(numbers)[:, None] - _rgb(choices)[None], axis=2)
        near = distances.min(axis=1) <= NOISE
        # Two that are near to one are both left as they are: they are meant to differ.
        taken, uses = np.unique(distances.argmin(axis=1)[near], return_counts=True)
        near &= ~np.isin(distances.argmin(axis=1), taken[uses > 1])
        renamed[near] = choices[distances.argmin(axis=1)[near]]
    found: Indices = renamed[np.searchsorted(numbers, image.indices)]
    return found


def _rgb(numbers: NDArray[np.uint32]) -> Float32:
    """The colours of numbers (N,), from 0 to 255 (N, 3): of levels beyond, which are of 16 bits, their grey."""
    levels = np.where(numbers > 255, numbers // 257, numbers)
    colors = np.where(numbers >= FIRST_COLOR, numbers, levels * 0x10101)
    return np.stack([colors >> 16 & 255, colors >> 8 & 255, colors & 255], axis=1).astype(np.float32)


def _decode_indices(image: Image.Image) -> Stored:
    """Upright numbers (H, W) as they are stored, whatever their colours in a palette, else uint8 RGB or RGBA."""
    if image.mode in ("1", "L") or (image.mode == "P" and len(image.getcolors() or ()) <= MOST_INDICES):
        return Stored(np.asarray(ImageOps.exif_transpose(image)), 8, True)
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


def _tell(text: str) -> None:
    warnings.warn(text, stacklevel=4)
