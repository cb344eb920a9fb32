"""Coarse to fine (Risser et al., sec. 5): the sizes of a pyramid of ratio 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.images.resampling import resize, upsample
from pyengine.level import Level
from pyengine.wrap import NEITHER

Start = Literal["noise", "patches"]

COARSEST = 32
"""Pixels on the shorter side at the coarsest level, at least: noise becomes what the deepest maps span there."""

LAID_OUT = 1024
"""Pixels on the longer side of a picture that is laid out from patches, at most: it takes 200 bytes for each."""

LARGE, MULTIPLE = 256, 16
"""Sides of 256 pixels or more are multiples of 16 at coarser levels, so that an output that wraps round can be cut into
tiles there, whatever its size at the finest; the proportions change by 3 % at most."""

ROWS_AT_A_TIME = 256
"""How many rows of an image get their noise at a time."""

DETAIL = 0.3
"""The share of the exemplar's fine detail that enlarging makes up for with noise."""

ITERATIONS = 100, 60
"""How many iterations each coarser level gets by default, and the finest: the coarse ones are cheap, and make what the
fine ones refine."""

ITERATIONS_AFTER_PATCHES = 40, 25
"""How many the first level gets after the one that is laid out, and each finer one. With more, things that the patches
left whole are deformed; with 25 after patches, seams remain."""


def most_levels(*sizes: tuple[int, int], coarsest: int) -> int:
    """Number of levels for images of these (width, height) of which the coarsest has so many pixels on any side.

    Examples
    --------
    >>> most_levels((256, 256), (512, 300), coarsest=32), most_levels((40, 40), coarsest=32)
    (4, 1)
    """
    shortest = min(min(size) for size in sizes)
    levels = 1
    while shortest >= 2**levels * coarsest:
        levels += 1
    return levels


def default_levels(start: Start, size: tuple[int, int], *others: tuple[int, int]) -> int:
    """Number of levels for an output of a (width, height), made from others.

    Noise needs as many as the coarsest stays large enough. Patches are laid out at half the size, or less if that is
    still large: things are in their places then, and all that is fine is new.

    Examples
    --------
    >>> default_levels("noise", (512, 512), (300, 256)), default_levels("patches", (512, 512), (300, 256))
    (4, 2)
    """
    most = most_levels(size, *others, coarsest=COARSEST)
    if start == "noise":
        return most
    wanted = 2
    while max(size) > LAID_OUT * 2 ** (wanted - 1):
        wanted += 1
    return min(wanted, most)


def default_iterations(levels: int, start: Start) -> tuple[int, ...]:
    """Iterations of each level, coarsest first.

    Examples
    --------
    >>> default_iterations(3, "noise"), default_iterations(3, "patches")
    ((100, 100, 60), (0, 40, 25))
    """
    if start == "noise":
        coarser, finest = ITERATIONS
        return (coarser,) * (levels - 1) + (finest,)
    first, finer = ITERATIONS_AFTER_PATCHES
    return (0, first, *(finer,) * (levels - 2)) if levels > 1 else (first,)


def equal_iterations(number: int, levels: int, start: Start) -> tuple[int, ...]:
    """As many iterations at each level, coarsest first, but none where patches are laid out.

    Examples
    --------
    >>> equal_iterations(20, 2, "noise"), equal_iterations(20, 2, "patches"), equal_iterations(20, 1, "patches")
    ((20, 20), (0, 20), (20,))
    """
    return (number,) * levels if start == "noise" or levels == 1 else (0, *(number,) * (levels - 1))


def level_sizes(size: tuple[int, int], levels: int, multiple: int = 1) -> list[tuple[int, int]]:
    """The (width, height) of each level, coarsest first, rounded to whole pixels.

    Parameters
    ----------
    size : (width, height)
        The size of the finest level.
    levels : int
        How many levels there are.
    multiple : int
        What sides of `LARGE` pixels or more are multiples of at coarser levels. Default: 1.

    Examples
    --------
    >>> level_sizes((300, 201), 3)
    [(75, 50), (150, 100), (300, 201)]
    >>> level_sizes((1200, 1000), 3, multiple=16)
    [(304, 250), (608, 496), (1200, 1000)]
    """
    width, height = size
    return [(_halved(width, k, multiple), _halved(height, k, multiple)) for k in reversed(range(levels))]


def _halved(side: int, times: int, multiple: int) -> int:
    halved = side / (1 << times)
    unit = multiple if times and halved >= LARGE else 1
    return round(halved / unit) * unit


def white_noise(level: Level, generator: np.random.Generator) -> Float32:
    """White noise in the exemplars' colours: every pixel is one of its region's, drawn at random.

    Returns
    -------
    float32 (H, W, 3)
        An image of the level's size.
    """
    width, height = level.size
    image = np.empty((height, width, level.channels), np.float32)
    colours = np.concatenate([exemplar.image.reshape(-1, level.channels) for exemplar in level.exemplars])
    for region, where in _territories(level):
        mass = np.cumsum(_coverage(level, region))
        drawn = generator.random(np.count_nonzero(where)) * mass[-1]
        image[where] = colours[np.minimum(np.searchsorted(mass, drawn, "right"), len(colours) - 1)]
    return image


def add_detail(image: Float32, level: Level, generator: np.random.Generator) -> Float32:
    """Give an enlarged image white noise for the detail that enlarging can't bring.

    A smooth start leaves the finest scale to grow out of the rounding of the pools, in blocks of their size; from a
    little noise of the right strength and colours it grows as it should, in fewer iterations.

    Parameters
    ----------
    image : float32 (H, W, 3)
        The coarser level's image, enlarged.
    level : Level
        The detail of its exemplars is what is lost when they are halved and enlarged again.
    generator : numpy.random.Generator
        The source of the noise.
    """
    detail = np.concatenate([_detail(exemplar.image) for exemplar in level.exemplars])
    mixings = []
    for region, where in _territories(level):
        coverage = _coverage(level, region)
        deviation = detail - np.average(detail, axis=0, weights=coverage)
        values, axes = np.linalg.eigh((coverage * deviation.T) @ deviation / coverage.sum())
        mixings.append((where, axes * np.sqrt(np.maximum(values, 0))))
    detailed = np.empty_like(image)
    for begin in range(0, len(image), ROWS_AT_A_TIME):  # noise in float64 takes more than an evaluation in tiles
        rows = slice(begin, begin + ROWS_AT_A_TIME)
        noise = generator.standard_normal(image[rows].shape)
        for where, mixing in mixings:
            noise[where[rows]] = noise[where[rows]] @ mixing.T
        detailed[rows] = np.clip(image[rows] + DETAIL * noise, 0, 1)
    return detailed


def _detail(image: Float32) -> Float32:
    """What a picture loses when it is halved and enlarged again, as (N, 3)."""
    height, width = image.shape[:2]
    smooth = upsample(resize(image, (max(width // 2, 1), max(height // 2, 1))), (width, height), wrap=NEITHER)
    return (image - smooth).reshape(-1, image.shape[2])


def _coverage(level: Level, region: int) -> Float64:
    """How much each pixel of the exemplars, one after another, counts for a region."""
    coverage = []
    for exemplar in level.exemplars:
        own = exemplar.coverage(region)
        coverage.append(exemplar.factor * (np.ones(exemplar.image[:, :, 0].size) if own is None else own.ravel()))
    return np.concatenate(coverage, dtype=np.float64)


def _territories(level: Level) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Each region that has pixels and where: a pixel is of the region that it belongs to most."""
    width, height = level.size
    owners = np.zeros((height, width), np.intp) if level.masks is None else level.masks.argmax(axis=0)
    for region in range(len(level.regions)):
        if (owners == region).any():
            yield region, owners == region
