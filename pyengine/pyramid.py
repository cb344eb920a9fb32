"""Coarse to fine (Risser et al., sec. 5): the sizes of a pyramid of ratio 2."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32
from pyengine.images import resize, upsample_circular

COARSEST = 32
"""Pixels on the shorter side at the coarsest level, at least: there, the deepest feature maps span the image."""

DETAIL = 0.3
"""Share of the exemplar's fine detail that enlarging makes up for with noise."""

FINEST_ITERATIONS = 60
COARSER_ITERATIONS = 100


def default_levels(*sizes: tuple[int, int], coarsest: int = COARSEST) -> int:
    """Number of levels for images of these (width, height): halved as often as the coarsest stays large enough.

    Examples
    --------
    >>> default_levels((256, 256), (512, 300)), default_levels((40, 40))
    (4, 1)
    """
    shortest = min(min(size) for size in sizes)
    levels = 1
    while shortest >= 2**levels * coarsest:
        levels += 1
    return levels


def default_iterations(levels: int) -> tuple[int, ...]:
    """Iterations of each level, coarsest first: the coarse ones are cheap, and make what the fine ones refine.

    Examples
    --------
    >>> default_iterations(3)
    (100, 100, 60)
    """
    return (COARSER_ITERATIONS,) * (levels - 1) + (FINEST_ITERATIONS,)


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """The (width, height) of each level, coarsest first, rounded to whole pixels.

    Examples
    --------
    >>> level_sizes((300, 201), 3)
    [(75, 50), (150, 100), (300, 201)]
    """
    width, height = size
    return [(_halved(width, k), _halved(height, k)) for k in reversed(range(levels))]


def _halved(side: int, times: int) -> int:
    return round(side / (1 << times))


def white_noise(exemplar: Float32, size: tuple[int, int], generator: np.random.Generator) -> Float32:
    """White noise in the exemplar's colours: every pixel is one of the exemplar's, drawn at random.

    Parameters
    ----------
    exemplar : float32 (H, W, 3)
    size : (width, height)
    generator : numpy.random.Generator
    """
    pixels = exemplar.reshape(-1, 3)
    return pixels[generator.integers(len(pixels), size=size[::-1])]


def add_detail(image: Float32, exemplar: Float32, generator: np.random.Generator) -> Float32:
    """Give an enlarged image white noise for the detail that enlarging can't bring.

    A smooth start leaves the finest scale to grow out of the rounding of the pools, in blocks of their size; from a
    little noise of the right strength and colours it grows as it should, in fewer iterations.

    Parameters
    ----------
    image : float32 (H, W, 3)
        From the level below.
    exemplar : float32 (h, w, 3)
        At the same scale; its detail is what is lost when it is halved and enlarged again.
    generator : numpy.random.Generator
    """
    height, width = exemplar.shape[:2]
    smooth = upsample_circular(resize(exemplar, (max(width // 2, 1), max(height // 2, 1))), (width, height))
    covariance = np.cov((exemplar - smooth).reshape(-1, 3), rowvar=False)
    values, axes = np.linalg.eigh(covariance)
    mixing = axes * np.sqrt(np.maximum(values, 0))
    noise = generator.standard_normal(image.shape) @ mixing.T
    detailed: Float32 = np.clip(image + DETAIL * noise, 0, 1).astype(np.float32)
    return detailed
