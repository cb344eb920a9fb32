"""The colours that a picture was painted in, and each pixel's: without what antialiasing and JPEG made of them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32

Labels = npt.NDArray[np.int8]
Pixels = npt.NDArray[np.uint8]
Histogram = tuple[Float32, npt.NDArray[np.float64]]

NOISE = 24.0
"""How far a flat colour's pixels are from it, of 255, at most: beside edges, JPEG at quality 75 has errors of 20."""

APART = 2 * NOISE
"""How far main colours are from one another, at least: so no pixel is as near as noise to two of them."""

LEAST_SHARE = 1 / 2000
"""The share of the pixels that a main colour has, at least: less is a speck of a few pixels in a small picture."""

COMMON = 1 / 100
"""The share of the pixels that a main colour has where it is nearer to another, at least, if there are to be more: of
JPEG's errors, no one is as frequent."""

CLEAR = 0.985
"""The share of what is smooth that has to be near a main colour: of maps of 3 to 7 colours in JPEG of quality 75, 0.993
at least, and of 28 photographs and paintings 0.55 to 0.983, as their colours run into one another."""

SMOOTH = 0.5
"""The share of a picture that has to be smooth: in one of painted regions, edges are the smaller part."""

WIDE = 3
"""Pixels on a side of a square of one colour that main colours are looked for in: JPEG, which halves the resolution of
hues, has lines of blends along edges that are narrower."""

_BIN = 4
"""Levels that are counted together."""


def solid(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the pixels of an image (H, W) of numbers that are in a square of 2x2 of one number.

    Examples
    --------
    >>> solid(np.array([[1, 1, 2], [1, 1, 3]])).astype(int)
    array([[1, 1, 0],
           [1, 1, 0]])
    """
    same = (
        (numbers[:-1, :-1] == numbers[1:, :-1])
        & (numbers[:-1, :-1] == numbers[:-1, 1:])
        & (numbers[:-1, :-1] == numbers[1:, 1:])
    )
    return _in_squares(same, 2)


def main_colors(pixels: Pixels, count: int | None = None) -> Float32 | None:
    """Find the colours that a picture is painted in.

    They are the peaks of the histogram of what is smooth, which leaves the blends at edges out.

    Parameters
    ----------
    pixels : uint8 (H, W, C)
    count : int, optional
        How many there are at most. Default: None, as many as there clearly are, two or more: if nearly all that is
        smooth is as near to one of them as noise is, and they are apart.

    Returns
    -------
    float32 (K, C) or None
        The main colours, the most frequent first; fewer than `count` if there clearly are no more. None if it is not
        clear how many there are.

    Examples
    --------
    >>> pixels = np.uint8([[0, 1, 0, 0, 128, 255, 254, 255]] * 3)[:, :, None]
    >>> main_colors(pixels).round().tolist()
    [[0.0], [255.0]]
    >>> main_colors(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1)) is None
    True
    """
    smooth, least = _smooth(pixels, WIDE), max(LEAST_SHARE * pixels[..., 0].size, 4)
    if smooth.mean() >= SMOOTH:
        found, explained = _peaks(_histogram(pixels[smooth]), APART, least)
        if len(found) >= 2 and explained >= CLEAR * smooth.sum():
            if count is None:
                return found
            if len(found) < count:
                closer, _ = _peaks(_histogram(pixels[smooth]), APART / 4, COMMON * pixels[..., 0].size)
                found = max(found, closer, key=len)
                return np.concatenate([found, _thin(pixels, found, least)])[:count]
            if len(found) == count:
                return found
    if count is None:
        return None
    found = np.zeros((0, pixels.shape[2]), np.float32)
    for flat in (smooth, np.ones_like(smooth)):
        histogram, apart = _histogram(pixels[flat]), APART
        while apart >= _BIN and flat.any() and len(found) < count:
            found, _ = _peaks(histogram, apart, 1)
            apart /= 2
    return found[:count]


def snap(pixels: Pixels, colors: Float32) -> Labels:
    """Give each pixel one of the main colours.

    What is smooth gets the nearest one. What is not, at edges, gets one of those that are beside it: a blend of two
    colours may be nearest to a third.

    Parameters
    ----------
    pixels : uint8 (H, W, C)
    colors : float32 (K, C)

    Returns
    -------
    int8 (H, W)
        Which of the colours.

    Examples
    --------
    >>> pixels = np.uint8([[0, 0, 115, 255, 255], [0, 0, 140, 255, 255]])[:, :, None]
    >>> snap(pixels, np.float32([[0], [128], [255]]))
    array([[0, 0, 0, 2, 2],
           [0, 0, 2, 2, 2]], dtype=int8)
    """
    nearest, distance = _nearest(pixels, colors)
    labels: Labels = np.where(_smooth(pixels, 2) & (distance <= NOISE), nearest, np.int8(-1))
    _drop_blends(labels, colors)
    return grow(labels, pixels, colors, nearest)


def grow(labels: Labels, pixels: npt.NDArray[np.uint8 | np.uint32], colors: Float32, otherwise: Labels) -> Labels:
    """Continue labels to where there are none (-1): there, each pixel gets the nearest colour of those beside it.

    Parameters
    ----------
    labels : int8 (H, W)
    pixels : uint8 or uint32 (H, W, C)
    colors : float32 (K, C)
    otherwise : int8 (H, W)
        The labels where there are none at all.

    Examples
    --------
    >>> labels = np.array([[0, -1, -1, 1]], np.int8)
    >>> pixels = np.uint8([[0, 9, 200, 255]])[:, :, None]
    >>> grow(labels, pixels, np.float32([[0], [255]]), labels)
    array([[0, 0, 1, 1]], dtype=int8)
    """
    if not (labels >= 0).any():
        return otherwise
    width = labels.shape[1] + 2
    padded = np.pad(labels, 1, constant_values=-1).ravel()
    rows, columns = np.nonzero(labels < 0)
    places, wanted = (rows + 1) * width + columns + 1, pixels[rows, columns]
    around = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
    while len(places):
        beside = padded[places[:, None] + around]
        reached = (beside >= 0).any(axis=1)
        choices = beside[reached]
        off = ((colors[choices] - wanted[reached][:, None]) ** 2).sum(axis=2)
        off[choices < 0] = np.inf
        padded[places[reached]] = choices[np.arange(len(choices)), off.argmin(axis=1)]
        places, wanted = places[~reached], wanted[~reached]
    return padded.reshape(-1, width)[1:-1, 1:-1].copy()


def _smooth(pixels: Pixels, side: int) -> npt.NDArray[np.bool_]:
    """The pixels that are in a square of so many pixels on a side whose colours differ by no more than noise."""
    if min(pixels.shape[:2]) < side:
        return np.zeros(pixels.shape[:2], np.bool_)
    within = []
    for channel in np.moveaxis(pixels, 2, 0):
        low = high = channel
        for axis in (0, 1):
            for _ in range(side - 1):
                one, other = _shifted(axis)
                low, high = np.minimum(low[one], low[other]), np.maximum(high[one], high[other])
        within.append(high - low <= NOISE)
    return _in_squares(np.logical_and.reduce(within), side)


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the pixels are that have one before them along an axis, and those that have one after."""
    return (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(-1),)


def _in_squares(squares: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) that are in squares of so many on a side, of which (H - side + 1, W - side + 1) are marked."""
    for axis in (0, 1):
        for _ in range(side - 1):
            before = [(0, 0), (0, 0)]
            before[axis] = (1, 1)
            padded = np.pad(squares, before)
            one, other = _shifted(axis)
            squares = padded[one] | padded[other]
    return squares


def _histogram(flat: Pixels) -> Histogram:
    """The mean colours in bins where there are any, and how many pixels are there."""
    channels, side = flat.shape[1], 256 // _BIN
    bins = np.zeros(len(flat), np.int32)
    for channel in flat.T:
        bins = bins * side + channel // _BIN
    counts = np.bincount(bins, minlength=side**channels).astype(np.float64)
    there = np.flatnonzero(counts)
    sums = np.stack([np.bincount(bins, channel, side**channels)[there] for channel in flat.T], axis=1)
    return (sums / counts[there, None]).astype(np.float32), counts[there]


def _peaks(histogram: Histogram, apart: float, least: float) -> tuple[Float32, float]:
    """The peaks of a histogram that are so far apart, of so many pixels each; and how many pixels are near any."""
    centres, counts = histogram
    left = np.ones(len(counts), np.bool_)
    near_any = np.zeros(len(counts), np.bool_)
    radius = apart / 2
    found = []
    while left.any():
        peak = np.flatnonzero(left)[counts[left].argmax()]
        colour = centres[peak]
        for _ in range(4):  # to the mean of what is around, a few times: a bin is not where the peak is
            within = np.linalg.norm(centres - colour, axis=1) <= radius
            within[peak] = True
            colour = (centres[within] * counts[within, None]).sum(axis=0) / counts[within].sum()
        distance = np.linalg.norm(centres - colour, axis=1)
        near = left & (distance <= radius)
        if counts[near].sum() >= least:
            found.append((counts[near].sum(), colour))
            near_any |= distance <= radius
        left &= distance > apart
        left[peak] = False
    found.sort(key=lambda pair: -pair[0])
    colours = np.array([colour for _, colour in found], np.float32).reshape(-1, centres.shape[1])
    return colours, float(counts[near_any].sum())


def _thin(pixels: Pixels, found: Float32, least: float) -> Float32:
    """The main colours of what is two pixels wide, but for those that are blends of others."""
    thin, _ = _peaks(_histogram(pixels[_smooth(pixels, 2)]), APART, least)
    pairs = list(combinations(found, 2))
    is_new = [
        np.linalg.norm(found - colour, axis=1).min() > APART and all(_off_line(colour, a, b) > NOISE for a, b in pairs)
        for colour in thin
    ]
    return thin[is_new]


def _nearest(pixels: Pixels, colors: Float32) -> tuple[Labels, Float32]:
    """Which colour is nearest to each pixel, and how far it is."""
    nearest = np.zeros(pixels.shape[:2], np.int8)
    least = np.full(pixels.shape[:2], np.inf, np.float32)
    for rows in range(0, len(pixels), 64):  # a part at a time: they are many in floating point
        part = pixels[rows : rows + 64].astype(np.float32)
        off = np.stack([np.linalg.norm(part - colour, axis=2) for colour in colors])
        nearest[rows : rows + 64], least[rows : rows + 64] = off.argmin(axis=0), off.min(axis=0)
    return nearest, least


def _drop_blends(labels: Labels, colors: Float32) -> None:
    """Take away (-1) what is thin, lies between two others, and has a colour that is a blend of theirs."""
    from scipy.ndimage import find_objects, label, maximum_filter, minimum_filter

    core = minimum_filter(labels, 3, mode="nearest") == maximum_filter(labels, 3, mode="nearest")
    for k, colour in enumerate(colors):
        others = [j for j in range(len(colors)) if j != k]
        pairs = [(a, b) for a, b in combinations(others, 2) if _off_line(colour, colors[a], colors[b]) <= APART]
        if not pairs:
            continue
        pieces, count = label(labels == k, np.ones((3, 3)))
        has_core = np.zeros(count + 1, np.bool_)
        has_core[pieces[core & (labels == k)]] = True
        for number, place in enumerate(find_objects(pieces), 1):
            if has_core[number]:
                continue
            around = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in place)
            beside = {int(j) for j in np.unique(labels[around])}
            if any(a in beside and b in beside for a, b in pairs):
                labels[place][pieces[place] == number] = -1


def _off_line(colour: Float32, a: Float32, b: Float32) -> float:
    """How far a colour is from the blends of two others."""
    along = b - a
    share = float(np.clip((colour - a) @ along / max(float(along @ along), 1e-9), 0, 1))
    return float(np.linalg.norm(colour - a - share * along))
