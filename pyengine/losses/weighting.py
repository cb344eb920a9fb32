"""Weights of the terms that need no tuning: in units of what was measured, or by the sizes of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyengine.losses.base import IMAGE, Loss
from pyengine.losses.options import LossOptions
from pyengine.network.architecture import Architecture

REFRESHED_AFTER = (0, 10)
"""After how many iterations of a level weights by thresholds are taken anew: at first, gradients shrink fast."""


def term_factors(losses: Sequence[Loss], options: LossOptions) -> dict[str, float]:
    """The part of each term's weight that no measurement changes, by the term's name.

    It is the region's share of the output, so that a region's pixels count as much as any others, and for what is
    measured on the content, the content's strength.
    """
    strengths = {"content": options.content_strength}
    return {loss.name: loss.region.share * strengths.get(loss.source, 1.0) for loss in losses}


def term_weights(losses: Sequence[Loss], options: LossOptions, architecture: Architecture) -> dict[str, float]:
    """The terms' weights at the start of a level, by name: as given, or automatic ones (see `Loss.auto_weight`)."""
    factors, weights = term_factors(losses, options), {}
    for loss in losses:
        weight = options.weight(loss.kind, loss.layer)
        if weight == "auto":
            weight = loss.auto_weight(0 if loss.layer == IMAGE else architecture.pools(loss.layer))
        weights[loss.name] = factors[loss.name] * weight
    return weights


def threshold_weights(
    losses: Sequence[Loss], sizes: Mapping[str, float], factors: Mapping[str, float]
) -> dict[str, float]:
    """Weights at which no term's gradient exceeds its kind's threshold (Risser et al., sec. 6).

    Parameters
    ----------
    losses : sequence of Loss
        The terms' losses.
    sizes : dict of str to float
        Size of each term's own gradient with respect to its feature map, see `Objective.gradient_sizes`.
    factors : dict of str to float
        See `term_factors`.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> from pyengine.losses import GramLoss
    >>> from pyengine.losses.base import Sample
    >>> loss = GramLoss.measure("relu1_1", [Sample(np.ones((2, 1, 5), np.float32))], CpuKernels(threads=1))
    >>> threshold_weights([loss], {"gram/relu1_1": 4.0}, {"gram/relu1_1": 1})
    {'gram/relu1_1': 0.25}
    """
    return {loss.name: factors[loss.name] * min(1.0, loss.threshold / max(sizes[loss.name], 1e-30)) for loss in losses}
