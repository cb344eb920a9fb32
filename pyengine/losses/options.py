"""Which losses are used, on which layers, and how much each counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pyengine.checks import check_choice, is_number
from pyengine.errors import PyengineError
from pyengine.network.graphs import Padding, Pooling
from pyengine.tuning import GRAM_LAYERS, HISTOGRAM_LAYERS, Weight, Weights

KINDS = ("gram", "histogram", "structure", "content", "variation")


@dataclass(frozen=True)
class LossOptions:
    """Which losses, on which layers, with which weights, on which network.

    Raises
    ------
    PyengineError
        A weight that is negative or no number, or of no term; all of them 0; no layers for a loss that is used; an
        unknown padding or pooling.

    Examples
    --------
    >>> options = LossOptions({"histogram": 0, "gram/relu4_1": 2})
    >>> options.layers, options.weight("gram", "relu4_1"), options.weight("gram", "relu3_1")
    (('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1'), 2, 'auto')
    """

    weights: Weights = "auto"
    gram_layers: Sequence[str] = GRAM_LAYERS
    histogram_layers: Sequence[str] = HISTOGRAM_LAYERS
    structure_layers: Sequence[str] = ()
    content_layers: Sequence[str] = ()
    content_strength: float = 1.0
    padding: Padding = "wrap"
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        for kind in KINDS[:-1]:  # variation is measured on the image
            layers = getattr(self, f"{kind}_layers")
            if isinstance(layers, str) or not (
                isinstance(layers, Sequence) and all(isinstance(x, str) for x in layers)
            ):
                raise PyengineError(f"{kind}_layers={layers!r}: give a sequence of names, such as ('relu4_1',)")
            object.__setattr__(self, f"{kind}_layers", tuple(layers))
        self._check_weights()
        if not self.style_layers:
            raise PyengineError("nothing is left to match: give gram or histogram a layer and a weight that is not 0")
        if not (is_number(self.content_strength) and 0 < self.content_strength < float("inf")):
            raise PyengineError(f"content_strength={self.content_strength!r}: give a number above 0")
        check_choice("padding", self.padding, ("wrap", "zeros"))
        check_choice("pooling", self.pooling, get_args(Pooling))

    def _check_weights(self) -> None:
        if self.weights in ("auto", "thresholds"):
            return
        if not isinstance(self.weights, Mapping):
            raise PyengineError(
                f"weights={self.weights!r}: give 'auto', 'thresholds', or numbers by term, such as {{'histogram': 0}}"
            )
        for term, weight in self.weights.items():
            kind, _, layer = str(term).partition("/")
            layers: Sequence[str] = getattr(self, f"{kind}_layers", ()) if kind in KINDS else ()
            if kind not in KINDS or (layer and layer not in layers):
                raise PyengineError(
                    f"weights: there is no term {term!r}: choose {', '.join(KINDS)}, or one layer's, as gram/relu1_1"
                )
            if weight != "auto" and not (is_number(weight) and 0 <= weight < float("inf")):
                raise PyengineError(f"weights: {term}={weight!r}: give a number that is not negative, or 'auto'")
            if kind != "variation" and weight and not layers:
                raise PyengineError(f"weights: {term}={weight!r}: there is no layer for it; name one, or leave it out")

    def weight(self, kind: str, layer: str = "") -> Weight:
        """Of a term, as given: that of its layer, or else of its kind; variation is left out unless it is given."""
        default: Weight = 0.0 if kind == "variation" else "auto"
        if not isinstance(self.weights, Mapping):
            return default
        return self.weights.get(f"{kind}/{layer}", self.weights.get(kind, default))

    def used(self, kind: str) -> tuple[str, ...]:
        """Layers of a kind whose weight is not 0."""
        return tuple(layer for layer in getattr(self, f"{kind}_layers") if self.weight(kind, layer))

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The layers on which exemplars are measured, each once."""
        return tuple(dict.fromkeys((*self.used("gram"), *self.used("histogram"), *self.used("structure"))))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in use, each once."""
        return tuple(dict.fromkeys((*self.style_layers, *self.used("content"))))
