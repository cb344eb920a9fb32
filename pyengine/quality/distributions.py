"""Whether a picture's pixels and patches are distributed as the exemplar's, wherever they lie."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32
from pyengine.images.color import LUMINANCE
from pyengine.images.resampling import resize
from pyengine.quality.checks import check_size

PATCH = 7
"""Side of the patches, in pixels."""

PROJECTIONS = 128

QUANTILES = 512

LEVELS = 4
"""The pyramid whose patches are compared has at most so many levels."""


def patch_distance(exemplar: Float32, image: Float32) -> float:
    """Sliced Wasserstein distance of all patches, averaged over a pyramid; 0 for the same patches.

    At each of the `LEVELS` of a pyramid of ratio 2, or as many as the images are large enough for, patches of 7x7
    pixels are projected on random directions, and the distributions of the projections compared by their quantiles, in
    units of their deviation in the exemplar. After Karras et al. 2018 (arXiv 1710.10196, sec. 5) and Rabin et al. 2012.

    Parameters
    ----------
    exemplar, image : float32 (H, W, 3) in [0, 1]
        They may have any sizes, but must have one scale.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    >>> patch_distance(image, image)
    0.0
    >>> patch_distance(image, 0.5 * image) > 0.5
    True
    """
    check_size(exemplar, "exemplar")
    check_size(image, "image")
    generator = np.random.default_rng(0)
    distances = []
    for _ in range(LEVELS):
        if min(*exemplar.shape[:2], *image.shape[:2]) < 2 * PATCH:
            break
        distances.append(sliced_distance(_patches(exemplar), _patches(image), generator))
        exemplar, image = (resize(x, (x.shape[1] // 2, x.shape[0] // 2)) for x in (exemplar, image))
    return float(np.mean(distances))


def sliced_distance(expected: Float32, found: Float32, generator: np.random.Generator) -> float:
    """Sliced Wasserstein distance of two sets of vectors, in units of the expected ones' deviation.

    Both are projected on random directions, and the distributions of the projections compared by their quantiles.

    Parameters
    ----------
    expected, found : float32 (N, C), (M, C)
    generator : numpy.random.Generator
        Draws the directions.

    Examples
    --------
    >>> expected = np.random.default_rng(0).standard_normal((1000, 5)).astype(np.float32)
    >>> round(sliced_distance(expected, 2 * expected[::-1], np.random.default_rng(0)), 1)
    1.0
    """
    directions = generator.standard_normal((expected.shape[1], PROJECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    projected = [x @ directions for x in (expected, found)]
    quantiles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    ours, theirs = (np.quantile(p, quantiles, axis=0) for p in projected)
    deviation = max(float(projected[0].std(axis=0).mean()), 1e-6)
    return float(np.sqrt(np.mean((ours - theirs) ** 2))) / deviation


def _patches(image: Float32) -> Float32:
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    return windows.reshape(-1, 3 * PATCH**2)


def drift(exemplar: Float32, image: Float32, block: int = 32) -> tuple[float, float]:
    """How far brightness and contrast wander: (brightness, contrast), both in 1/255.

    The image is cut into blocks; the distribution of their mean luminances, and that of their deviations, are compared
    with the exemplar's by the Wasserstein-1 distance: the mean number of levels by which a block is too bright or dark,
    too harsh or pale. It shows the instability of Gram matrices alone (Risser et al., sec. 4.2).

    Parameters
    ----------
    exemplar, image : float32 (H, W, 3) in [0, 1]
    block : int, default 32
        Side of a block, in pixels; an image with a shorter side is cut into blocks of that side.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> grey = np.full((64, 64, 3), 0.5, np.float32)
    >>> drift(grey, grey + np.float32(10 / 255))
    (10.0, 0.0)
    """
    check_size(exemplar, "exemplar")
    check_size(image, "image")
    expected, found = (_block_statistics(x, block) for x in (exemplar, image))
    quantiles = (np.arange(256) + 0.5) / 256
    brightness, contrast = (
        float(np.mean(np.abs(np.quantile(e, quantiles) - np.quantile(f, quantiles))))
        for e, f in zip(expected, found, strict=True)
    )
    return round(255 * brightness, 3), round(255 * contrast, 3)


def _block_statistics(image: Float32, block: int) -> tuple[Float32, Float32]:
    """Means and deviations of the luminance of blocks that overlap by half."""
    luminance = image @ LUMINANCE.astype(np.float32)
    block = min(block, *luminance.shape)
    step = max(block // 2, 1)
    windows = np.lib.stride_tricks.sliding_window_view(luminance, (block, block))[::step, ::step]
    return windows.mean(axis=(2, 3)).ravel(), windows.std(axis=(2, 3)).ravel()
