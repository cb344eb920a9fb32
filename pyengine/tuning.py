"""Weights of the losses that need no tuning, and the settings of the methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pyengine.network.graphs import Padding

Weight: TypeAlias = "float | Literal['auto']"
Weights: TypeAlias = "Literal['auto', 'thresholds'] | Mapping[str, Weight]"
"""How all terms are weighted, or numbers by kind ("gram") or by kind and layer ("gram/relu1_1")."""

GRAM_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
HISTOGRAM_LAYERS = ("relu1_1", "relu4_1")
CONTENT_LAYERS = ("relu4_1",)
"""The paper's layers (Risser et al., sec. 4.3)."""

STRUCTURE_LAYERS = ("relu3_1",)

Method = Literal["histogram", "gatys"]


@dataclass(frozen=True)
class Preset:
    """What a method sets where the caller says nothing; None: by the size of the pyramid."""

    weights: Mapping[str, Weight] = field(default_factory=dict)
    padding: Padding = "wrap"
    levels: int | None = None
    iterations: int | None = None


METHODS: dict[str, Preset] = {
    "histogram": Preset(),
    "gatys": Preset({"gram": 1.0, "histogram": 0.0}, padding="zeros", levels=1, iterations=500),
}

BLOCK_WEIGHTS = (10.0, 3.0, 1.0, 0.3, 0.1)
"""Share of each block of the network, that is of the layers after so many pools; deeper ones have the last. Found
by trying, by the patch distance of the results (docs/quality.md)."""

KIND_WEIGHTS = {"gram": 1.0, "histogram": 0.2, "structure": 1.0, "content": 0.7, "variation": 1.0}
"""Of each kind of loss against a Gram loss at the same layer; as found."""


THRESHOLDS = {"gram": 1.0, "histogram": 1.0, "structure": 1.0, "content": 1.0, "variation": 1.0}
"""Of the gradients' sizes (Risser et al., sec. 6)."""

REFRESHED_AFTER = (0, 10)
"""Iterations of a level before which weights by thresholds are taken anew: at first gradients shrink fast."""


def threshold_weights(sizes: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """Weights at which no term's gradient exceeds its kind's threshold (Risser et al., sec. 6).

    Parameters
    ----------
    sizes : dict of str to float
        Size of each term's own gradient with respect to its feature map, see `Objective.gradient_sizes`.
    factors : dict of str to float
        Of each term's threshold.

    Examples
    --------
    >>> threshold_weights({"gram/relu1_1": 4.0, "content/relu4_1": 20.0}, {"gram/relu1_1": 1, "content/relu4_1": 1})
    {'gram/relu1_1': 0.25, 'content/relu4_1': 0.05}
    """
    return {
        name: factors[name] * min(1.0, THRESHOLDS[name.partition("/")[0]] / max(size, 1e-30))
        for name, size in sizes.items()
    }


def auto_weight(name: str, magnitude: float, pools: int | None) -> float:
    """Weight of a term in units of its target's own mean square, `magnitude`.

    `pools` is how many there are before the term's layer, or None for a term of the image itself.

    A gradient's size then depends neither on the layer nor on the exemplar, whose values differ by orders of magnitude.
    """
    kind = name.partition("/")[0]
    size = KIND_WEIGHTS[kind] * (1.0 if pools is None else BLOCK_WEIGHTS[min(pools, len(BLOCK_WEIGHTS) - 1)])
    return size / magnitude if magnitude > 0 else 0.0
