"""Which losses are used, on which layers, and how much each counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from pyengine.checks import check_choice, is_number
from pyengine.errors import PyengineError, in_short
from pyengine.losses import KINDS
from pyengine.losses.base import IMAGE, Weight
from pyengine.network.architecture import Architecture
from pyengine.network.graphs import Beyond, Padding, Pooling
from pyengine.wrap import BOTH, Wrap

Weights: TypeAlias = Literal["auto", "thresholds"] | Mapping[str, Weight]
"""How all terms are weighted, or numbers by kind ("gram") or by kind and layer ("gram/relu1_1")."""

MOST_WEIGHT, MOST_STRENGTH = 1e15, 1e6
"""The largest weight, and the largest factor of the content's: a term's gradient, in float32, may be 1e17 before it is
weighted, where those of the published losses are below 1e9; published weights are at most 1e6."""

USUAL = tuple(kind.kind for kind in KINDS.values() if not kind.optional and kind.source == "exemplars")
"""The kinds that are in use where nobody says anything."""


@dataclass(frozen=True)
class LossOptions:
    """Which losses, on which layers, with which weights, on which network.

    Layers are those of a network, known once `on` has been told its architecture.

    Attributes
    ----------
    weights : "auto", "thresholds" or dict
        See `pyengine.synthesize`. Default: "auto".
    layers : dict of str to tuple of str
        The layers by kind; a kind that is missing has its default layers, which nobody knows before `on`.
        Default: none are given.
    kinds : tuple of str
        The kinds in use. Others are used only if `weights` names them. Default: "histogram" and "gram".
    content : bool
        Whether there is a content. Default: False.
    unnamed : float or "auto"
        The weight of terms in use that `weights` does not name. Default: "auto".
    content_strength : float
        A factor of the weights of the kinds that are measured on the content. Default: 1.
    wrap : Wrap
        Where the output wraps round. Default: in both axes.
    padding : {"reflect", "zeros"}
        See `pyengine.synthesize`. Default: "reflect".
    pooling : {"average", "max"}
        See `pyengine.synthesize`. Default: "average".

    Raises
    ------
    PyengineError
        A weight is negative or no number, or there is no such term; all weights are 0; a loss that is used has no
        layers; or the padding or the pooling is unknown.

    Examples
    --------
    >>> options = LossOptions({"histogram": 0, "gram/b": 2}, {"gram": ("a", "b")})
    >>> options.used("gram"), options.weight("gram", "b"), options.weight("gram", "a")
    (('a', 'b'), 2, 'auto')
    """

    weights: Weights = "auto"
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kinds: tuple[str, ...] = USUAL
    content: bool = False
    unnamed: Weight = "auto"
    content_strength: float = 1.0
    wrap: Wrap = BOTH
    padding: Beyond = "reflect"
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        for kind, layers in self.layers.items():
            if isinstance(layers, str) or not (
                isinstance(layers, Sequence) and all(isinstance(x, str) for x in layers)
            ):
                raise PyengineError(f"{kind}_layers={in_short(layers)}: give a sequence of names, such as ('relu4_1',)")
        object.__setattr__(self, "layers", {kind: tuple(layers) for kind, layers in self.layers.items()})
        if isinstance(self.weights, Mapping):  # numbers of Python, which JSON holds
            plain = {k: w.item() if isinstance(w, np.generic) else w for k, w in self.weights.items()}
            object.__setattr__(self, "weights", plain)
        self._check_weights()
        matched = [name for name, kind in KINDS.items() if kind.source == "exemplars" and kind.suffices]
        if not any(self._may_be_used(name) for name in matched):
            raise PyengineError("nothing is left to match: give gram or histogram a layer and a weight that is not 0")
        if not (is_number(self.content_strength) and 0 < self.content_strength <= MOST_STRENGTH):
            raise PyengineError(
                f"content_strength={in_short(self.content_strength)}: give a number above 0, at most {MOST_STRENGTH:g}"
            )
        check_choice("padding", self.padding, get_args(Beyond))
        check_choice("pooling", self.pooling, get_args(Pooling))

    def _check_weights(self) -> None:
        if isinstance(self.weights, str) and self.weights in ("auto", "thresholds"):
            return
        if not isinstance(self.weights, Mapping):
            raise PyengineError(
                f"weights={in_short(self.weights)}: give 'auto', 'thresholds', or numbers by term, such as "
                "{'histogram': 0}"
            )
        for term, weight in self.weights.items():
            kind, slash, layer = str(term).partition("/")
            layers = self.layers.get(kind)
            if kind not in KINDS or (slash and (not layer or (layers is not None and layer not in layers))):
                raise PyengineError(
                    f"weights: there is no term {in_short(term)}: choose {', '.join(KINDS)}, or one layer's, as "
                    "gram/relu1_1"
                )
            fits = weight == "auto" if isinstance(weight, str) else is_number(weight) and 0 <= weight <= MOST_WEIGHT
            if not fits:
                raise PyengineError(
                    f"weights: {term}={in_short(weight)}: give a number that is not negative, and at most "
                    f"{MOST_WEIGHT:g}, or 'auto'"
                )
            if weight and KINDS[kind].source == "content" and not self.content:
                raise PyengineError(f"weights: {term}={weight}: there is no content; give one, or leave it out")
            if weight and layers == ():
                raise PyengineError(
                    f"weights: {term}={in_short(weight)}: there is no layer for it; name one, or leave it out"
                )

    def _may_be_used(self, kind: str) -> bool:
        """Whether a kind has a map of the network to be measured on, as far as is known before `on`."""
        if kind in self.layers:
            return any(layer != IMAGE for layer in self.used(kind))
        named = [weight for term, weight in self._named.items() if term.startswith(f"{kind}/") and weight]
        return bool(self.weight(kind) or named)

    @property
    def _named(self) -> Mapping[str, Weight]:
        return self.weights if isinstance(self.weights, Mapping) else {}

    def on(self, architecture: Architecture, owner: str | None = None) -> LossOptions:
        """The same with every kind's layers on a network.

        Parameters
        ----------
        architecture : Architecture
        owner : str, optional
            Whose layers they are, in words, for the message. Default: None, the architecture's.

        Raises
        ------
        PyengineError
            The network does not have a layer, there is no term that a weight is given for, or nothing is left to match.
        """
        layers = {name: kind.default_layers(architecture) for name, kind in KINDS.items()} | dict(self.layers)
        known = replace(self, layers=layers)
        # The image is a layer of the kinds that are on it, and of no other.
        named = {(name, layer) for name in KINDS for layer in known.used(name)}
        own = {(name, layer) for name, kind in KINDS.items() for layer in kind.default_layers(architecture)}
        architecture.check(sorted(layer for _, layer in named - own), owner)
        return known

    def weight(self, kind: str, layer: str = "") -> Weight:
        """The weight of a term, as given: that of its layer, or else of its kind; 0 for a kind that is not in use."""
        unnamed: Weight = self.unnamed if kind in self.kinds else 0.0
        return self._named.get(f"{kind}/{layer}", self._named.get(kind, unnamed))

    def used(self, kind: str) -> tuple[str, ...]:
        """The layers of a kind on which its weight is not 0."""
        return tuple(layer for layer in self.layers[kind] if self.weight(kind, layer))

    @property
    def output_padding(self) -> Padding:
        """What the network sees beyond the output's borders."""
        return Padding.of(self.wrap, self.padding)

    @property
    def exemplar_padding(self) -> Padding:
        """The same of exemplars, which do not tile: wrapped round, their borders would be edges, and edges be made."""
        return Padding(self.padding, self.padding)

    @property
    def style_maps(self) -> tuple[str, ...]:
        """The feature maps that are measured on exemplars, each once."""
        return self._maps("exemplars")

    @property
    def content_maps(self) -> tuple[str, ...]:
        """The feature maps that are measured on the content, each once."""
        return self._maps("content")

    @property
    def maps(self) -> tuple[str, ...]:
        """The feature maps in use, each once."""
        return tuple(dict.fromkeys((*self.style_maps, *self.content_maps)))

    def _maps(self, source: str) -> tuple[str, ...]:
        kinds = [name for name, kind in KINDS.items() if kind.source == source]
        return tuple(dict.fromkeys(layer for kind in kinds for layer in self.used(kind) if layer != IMAGE))
