"""How good a texture is, by figures that the engine does not optimise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images.color import LUMINANCE
from pyengine.images.reading import Source, load
from pyengine.images.resampling import resize

PATCH = 7
"""Side of the patches, in pixels."""

PROJECTIONS = 128

LEVELS = 4
"""The pyramid whose patches are compared has at most so many levels."""

SHORTEST_SIDE = 2 * PATCH
"""Least side of an image to measure, in pixels."""


@dataclass(frozen=True)
class Comparison:
    """How much an image looks like an exemplar. See `compare`.

    Attributes
    ----------
    patch_distance : float
        0 for the same patches, some 0.5 for noise. See `patch_distance`.
    brightness_drift, contrast_drift : float
        In levels of 255. See `drift`.
    seam_ratio : float
        The image's alone: above 1, its border is a seam. See `seam_ratio`.
    """

    patch_distance: float
    brightness_drift: float
    contrast_drift: float
    seam_ratio: float


def compare(exemplar: Source, image: Source) -> Comparison:
    """Measure how much an image looks like an exemplar, by figures that the synthesis does not optimise.

    - The patch distance is the sliced Wasserstein distance (Rabin et al. 2012) of all 7x7 patches over a pyramid, after
      Karras et al. 2018 (arXiv 1710.10196, sec. 5): 0 for the same patches.
    - Brightness and contrast drift are the Wasserstein-1 distances, in levels of 255, of the mean luminances (ITU-R
      BT.601) of blocks of 32x32 pixels, and of their deviations: they put in numbers the instability that Risser et al.
      2017 (arXiv 1701.08893, sec. 4.2) show in pictures. A figure of our own.
    - The seam ratio is the mean step across the border to the sharpest inside: above 1, the image does not tile. A
      figure of our own.

    Parameters
    ----------
    exemplar, image : path, PIL image, or array
        Anything that `pyengine.synthesize` takes; of any sizes from 14x14 pixels, but of one scale.

    Returns
    -------
    Comparison

    Raises
    ------
    PyengineError
        An image that can't be read, or with a side shorter than 14 pixels.

    Examples
    --------
    >>> grey = np.full((64, 64, 3), 100, np.uint8)
    >>> compare(grey, grey + np.uint8(10))
    Comparison(patch_distance=..., brightness_drift=10.0, contrast_drift=0.0, seam_ratio=0.0)
    """
    expected, found = load(exemplar), load(image, "image")
    brightness, contrast = drift(expected, found)
    return Comparison(patch_distance(expected, found), brightness, contrast, seam_ratio(found))


def _check_size(image: Float32, what: str) -> None:
    height, width = image.shape[:2]
    if min(height, width) < SHORTEST_SIDE:
        raise PyengineError(
            f"{what} of {width}x{height} pixels: a figure needs both sides to be at least {SHORTEST_SIDE}"
        )


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
        A side of an image is shorter than 14 pixels.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    >>> patch_distance(image, image)
    0.0
    >>> patch_distance(image, 0.5 * image) > 0.5
    True
    """
    _check_size(exemplar, "exemplar")
    _check_size(image, "image")
    generator = np.random.default_rng(0)
    quantiles = (np.arange(512) + 0.5) / 512
    distances = []
    for _ in range(LEVELS):
        if min(*exemplar.shape[:2], *image.shape[:2]) < SHORTEST_SIDE:
            break
        directions = generator.standard_normal((3 * PATCH**2, PROJECTIONS)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        projected = [_patches(x) @ directions for x in (exemplar, image)]
        expected, found = (np.quantile(p, quantiles, axis=0) for p in projected)
        deviation = max(float(projected[0].std(axis=0).mean()), 1e-6)
        distances.append(float(np.sqrt(np.mean((expected - found) ** 2))) / deviation)
        exemplar, image = (resize(x, (x.shape[1] // 2, x.shape[0] // 2)) for x in (exemplar, image))
    return float(np.mean(distances))


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
        A side of an image is shorter than 14 pixels.

    Examples
    --------
    >>> grey = np.full((64, 64, 3), 0.5, np.float32)
    >>> drift(grey, grey + np.float32(10 / 255))
    (10.0, 0.0)
    """
    _check_size(exemplar, "exemplar")
    _check_size(image, "image")
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


def layout_similarity(content: Float32, image: Float32) -> float:
    """How much of a content's layout is in an image: 1 for all, 0 for none.

    The correlation of the two luminances' gradient magnitudes (Sobel), both reduced to a quarter of the side: outlines
    count, not colours, and not the strokes that replace fine detail. A figure of our own.

    Parameters
    ----------
    content, image : float32 (H, W, 3) in [0, 1]
        The content is scaled to the image's size.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 14 pixels.

    Examples
    --------
    >>> picture = np.kron(np.eye(8, dtype=np.float32), np.ones((8, 8), np.float32))[:, :, None].repeat(3, axis=2)
    >>> round(layout_similarity(picture, 1 - picture), 3), layout_similarity(picture, picture[::-1]) < 0.5
    (1.0, True)
    """
    from scipy.ndimage import generic_gradient_magnitude, sobel

    _check_size(content, "content")
    _check_size(image, "image")
    height, width = image.shape[:2]
    edges = [
        generic_gradient_magnitude(resize(x, (width // 4, height // 4)) @ LUMINANCE, sobel) for x in (content, image)
    ]
    if min(float(e.std()) for e in edges) == 0:
        return 0.0
    return float(np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1])


def seam_ratio(image: Float32) -> float:
    """Mean step across the border, the image wrapped round, to the sharpest inside: above 1, the border is a seam.

    A step is the mean difference of two neighbouring rows or columns; the ratio is the larger of the two directions'.
    Compared with the sharpest rather than with the mean, a line of mortar that falls on the border is no seam.

    Parameters
    ----------
    image : float32 (H, W, 3) in [0, 1]

    Raises
    ------
    PyengineError
        A side of the image is shorter than 14 pixels.

    Examples
    --------
    >>> ramp = np.linspace(0, 1, 21, dtype=np.float32)
    >>> round(seam_ratio(np.broadcast_to(ramp[:, None, None], (21, 21, 3))), 3)
    20.0
    """
    _check_size(image, "image")
    ratios = []
    for axis in (0, 1):
        others = (1 - axis, 2)
        sharpest = float(np.abs(np.diff(image, axis=axis)).mean(axis=others).max())
        across = float(np.abs(np.take(image, 0, axis) - np.take(image, -1, axis)).mean())
        ratios.append(across / max(sharpest, 1e-6))
    return max(ratios)
