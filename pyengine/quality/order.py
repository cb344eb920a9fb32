"""Whether what recurs in the exemplar recurs in a picture, at the same distances."""

from __future__ import annotations

import numpy as np

from pyengine.arrays import Float32
from pyengine.images.color import LUMINANCE
from pyengine.lattice import autocorrelation, peaks
from pyengine.quality.checks import check_size

MOST_PEAKS = 12
"""So many of the strongest peaks count: those of a lattice are many, and tell the same."""

SHORTEST = 1 / 8
"""The shortest shift that counts, against the exemplar's shorter side: what recurs within less is not far away."""

SLACK = 0.03
"""By how much of its length a shift may be off."""


def order(exemplar: Float32, image: Float32) -> float | None:
    """How much of the exemplar's long-range order is kept: 1 for all, 0 for none.

    Where courses, meshes or letters recur, the autocorrelation of the luminance has peaks. For each of the twelve
    strongest, at shifts of an eighth of the exemplar's shorter side up to half of each: the highest autocorrelation of
    the image within 3 % of that shift, and a pixel, against the exemplar's, at least 0 and at most 1. The order is
    their mean.

    Parameters
    ----------
    exemplar, image : float32 (H, W, 3) in [0, 1]
        They may have any sizes, but must have one scale. Shifts of more than half of the image's sides don't count.

    Returns
    -------
    float or None
        None where the exemplar has no such peak above 0.25: nothing recurs that would be kept.

    Raises
    ------
    PyengineError
        A side of an image is shorter than 16 pixels.

    Examples
    --------
    >>> board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((16, 16))).astype(np.float32)[:, :, None].repeat(3, 2)
    >>> noise = np.random.default_rng(0).random(board.shape, np.float32)
    >>> order(board, np.roll(board, (5, 9), (0, 1))) > 0.95, order(board, noise) < 0.1, order(noise, board)
    (True, True, None)
    """
    check_size(exemplar, "exemplar")
    check_size(image, "image")
    expected, found = (autocorrelation(x @ LUMINANCE) for x in (exemplar, image))
    middle = np.array(found.shape) // 2
    kept = []
    for peak in peaks(expected, SHORTEST * min(exemplar.shape[:2]))[:MOST_PEAKS]:
        shift = np.array([peak.rows, peak.columns])
        if (np.abs(shift) > middle).any():
            continue
        slack = round(SLACK * float(np.hypot(*shift))) + 1
        (top, left), (bottom, right) = np.maximum(middle + shift - slack, 0), middle + shift + slack + 1
        kept.append(float(np.clip(found[top:bottom, left:right].max() / peak.strength, 0, 1)))
    return float(np.mean(kept)) if kept else None
