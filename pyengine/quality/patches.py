"""How near the patches of one picture are to those of another: whether things look as they do in the exemplar."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.quality.checks import check_size

SIDE = 15
"""Pixels on a side of a patch: enough to see that something is bent, or grown together from two."""

SCALES = 3
"""Patches are compared at so many sizes of the pictures at most, each half of the one before."""

QUERIES = 1024
"""Patches that are looked for at a scale, at most: the mean of so many is 2 % off at worst."""

COMPONENTS = 64
"""Numbers that patches are compared by, their principal components: what is found is 1 % farther than the nearest."""

FITTED = 1024
"""Patches that the components are fitted to, at most."""

AT_A_TIME = 2**13
"""Patches of which all pixels are in memory at a time."""

Corners = npt.NDArray[np.intp]
"""Row and column of the first pixel of each of N patches: (N, 2)."""


def realism(exemplar: Float32, image: Float32) -> float:
    """How far an image's patches are from the exemplar's, in 1/255: 0 where each is found in it, as it is.

    The root mean square difference of a patch of 15x15 pixels and the nearest of the exemplar, on an average over 1024
    of the image's patches, drawn at random, and over the scales 1, 1/2 and 1/4, or those of them at which all sides
    have 30 pixels. What is deformed, blurred or blended has no patch near it. With the pictures in each other's places
    it says what is left out: how far the exemplar's patches are from the image's. The two are the coherence and the
    completeness of Simakov et al. 2008.

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
    >>> exemplar = np.random.default_rng(0).random((40, 40, 3), np.float32)
    >>> realism(exemplar, exemplar[:20, 10:])
    0.0
    >>> realism(exemplar, exemplar[::-1]) > 50
    True
    """
    check_size(exemplar, "exemplar")
    check_size(image, "image")
    generator = np.random.default_rng(0)
    means = []
    for scale in range(SCALES):
        if scale and min(*exemplar.shape[:2], *image.shape[:2]) < 2 * SIDE:
            break
        corners = corners_of(image, SIDE)
        corners = corners[generator.choice(len(corners), min(len(corners), QUERIES), replace=False)]
        _, differences = nearest(image, corners, exemplar, SIDE)
        means.append(float(differences.mean(dtype=np.float64)))
        exemplar, image = _halved(exemplar), _halved(image)
    return round(255 * float(np.mean(means)), 3)


def _halved(image: Float32) -> Float32:
    """Means of 2x2 pixels, in which what lay an even number of pixels apart is still the same."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    means: Float32 = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    return means


def corners_of(image: Float32, side: int, step: int = 1) -> Corners:
    """The corners of an image's patches, row by row.

    Parameters
    ----------
    image : (H, W, 3)
    side : int
        Pixels on a side of the patches.
    step : int
        Take only every so many-th, down and to the right. Default: 1, all.

    Examples
    --------
    >>> corners_of(np.zeros((7, 8, 3)), 5, step=2)
    array([[0, 0],
           [0, 2],
           [2, 0],
           [2, 2]])
    """
    rows, columns = (np.arange(0, length - side + 1, step) for length in image.shape[:2])
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def nearest(image: Float32, corners: Corners, exemplar: Float32, side: int) -> tuple[Corners, Float32]:
    """Find the exemplar's patches that are most like some of an image's.

    They are looked for by the principal components of the exemplar's patches.

    Parameters
    ----------
    image, exemplar : float32 (H, W, 3)
    corners : int (N, 2)
        Which of the image's patches to look for.
    side : int
        Pixels on a side of the patches.

    Returns
    -------
    found : int (N, 2)
        The corners of the exemplar's patches.
    differences : float32 (N,)
        The root mean square difference of the two patches, over all their pixels.

    Examples
    --------
    >>> exemplar = np.random.default_rng(0).random((40, 40, 3), np.float32)
    >>> found, differences = nearest(exemplar[10:], np.array([[0, 0], [3, 5]]), exemplar, side=9)
    >>> found.tolist(), differences.tolist()
    ([[10, 0], [13, 5]], [0.0, 0.0])
    """
    from pyengine.kernels.cpu import CpuKernels
    from pyengine.machine import default_threads

    ours, theirs = (np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(0, 1)) for x in (image, exemplar))
    rows, columns = theirs.shape[:2]
    pixels = 3 * side * side

    def source_patches(numbers: npt.NDArray[np.integer]) -> Float32:
        patches: Float32 = theirs[numbers // columns, numbers % columns].reshape(-1, pixels)
        return patches

    count = rows * columns
    fitted = source_patches(np.random.default_rng(0).choice(count, min(count, FITTED), replace=False))
    mean = fitted.mean(0)
    axes = np.linalg.svd(fitted - mean, full_matrices=False)[2][:COMPONENTS]

    def reduced(patches: Float32) -> Float32:
        vectors: Float32 = axes @ (patches - mean).T
        return vectors

    parts = np.array_split(np.arange(count), -(-count // AT_A_TIME))
    sources = np.concatenate([reduced(source_patches(part)) for part in parts], axis=1)
    found, differences = [], []
    for part in np.array_split(corners, -(-len(corners) // AT_A_TIME)):
        patches = ours[part[:, 0], part[:, 1]].reshape(-1, pixels)
        numbers, _ = CpuKernels(default_threads()).nearest(reduced(patches), sources)
        found.append(np.stack(np.divmod(numbers.astype(np.intp), columns), axis=1))
        differences.append(np.sqrt(((patches - source_patches(numbers)) ** 2).mean(1)))
    return np.concatenate(found), np.concatenate(differences)
