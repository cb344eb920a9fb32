"""Weights of the losses that need no tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyengine.losses import Loss

Weight = float | Literal["auto"]

GRAM_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
HISTOGRAM_LAYERS = ("relu1_1", "relu4_1")
"""The paper's layers (Risser et al., sec. 4.3)."""


BLOCK_WEIGHTS = {"1": 10.0, "2": 3.0, "3": 1.0, "4": 0.3, "5": 0.1}
"""Share of each block of the network: found by trying, by the patch distance of the results (docs/quality.md)."""

HISTOGRAM_WEIGHT = 0.2
"""Of a histogram loss against a Gram loss at the same layer; as found."""


def loss_weights(losses: Sequence[Loss], kinds: dict[str, Weight]) -> list[float]:
    """Weight of each loss.

    Parameters
    ----------
    losses : sequence of Loss
    kinds : dict
        For each kind of loss, the part of its name before the slash, a number that every layer gets, or "auto": the
        loss in units of the exemplar's own mean square at that layer. A gradient's size then depends neither on the
        layer nor on the exemplar, whose values differ by orders of magnitude.
    """
    weights = []
    for loss in losses:
        kind = loss.name.partition("/")[0]
        weight = kinds[kind]
        if weight == "auto":
            share = BLOCK_WEIGHTS[loss.layer[4]] * (HISTOGRAM_WEIGHT if kind == "histogram" else 1.0)
            weight = share / loss.magnitude if loss.magnitude > 0 else 0.0
        weights.append(weight)
    return weights
