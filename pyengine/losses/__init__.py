"""The losses, one a file: each measures its target once and is evaluated on the image's feature maps after that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Kernels, PixelWeights
from pyengine.network.tiles import Window


@dataclass(frozen=True, eq=False)
class Sample:
    """What a loss measures of one exemplar: a feature map, and how much each of its pixels counts.

    Attributes
    ----------
    features : float32 (C, H, W)
    weights : PixelWeights, optional
        Of its pixels; None stands for ones.
    factor : float
        Of the weights, against those of other exemplars' samples.
    """

    features: Float32
    weights: PixelWeights | None = None
    factor: float = 1.0

    @property
    def mass(self) -> float:
        """All that the pixels count for together."""
        return self.factor * (self.features[0].size if self.weights is None else self.weights.total)

    def mean_square(self, kernels: Kernels) -> float:
        """Of the values, every pixel counting as much as it does."""
        gram = kernels.gram(self.features, self.weights)
        return kernels.fetch([gram.trace()])[0] / len(gram)


@dataclass(frozen=True, eq=False)
class Region:
    """The part of the output that a loss is evaluated on (Risser et al., sec. 5, localised losses).

    Attributes
    ----------
    name : str
        Empty if there is one region only.
    share : float
        Of the output's pixels that are in it.
    weights : dict of str to PixelWeights
        How much each pixel counts, by layer; a layer that is missing counts every pixel alike.
    """

    name: str = ""
    share: float = 1.0
    weights: Mapping[str, PixelWeights] = field(default_factory=dict)

    def has_pixels(self, layer: str) -> bool:
        """Whether any pixel of a layer counts."""
        return layer not in self.weights or self.weights[layer].total > 0

    def on(self, window: Window, layer: str, kernels: Kernels) -> Region:
        """What of it is in a tile's own part of a layer."""
        return replace(self, weights={layer: window.weigh(self.weights.get(layer), kernels)})


WHOLE = Region()


class Loss(Protocol):
    """A loss on one feature map."""

    @property
    def name(self) -> str:
        """Kind, layer and, where there are several, region, such as "gram/relu1_1" or "gram/relu1_1/2"."""
        ...

    @property
    def layer(self) -> str:
        """The feature map it is evaluated on."""
        ...

    @property
    def region(self) -> Region:
        """The part of the output it is evaluated on."""
        ...

    @property
    def magnitude(self) -> float:
        """Mean square of what is measured on the target: the unit in which values are comparable."""
        ...

    def evaluate(
        self,
        features: Float32,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> None:
        """Compute the loss and its gradient.

        Parameters
        ----------
        features : float32 (C, H, W)
        kernels : Kernels
        value : float64 ()
            Takes the value, before any weight.
        weight : float
            Of the gradient only.
        gradient : float32 (C, H, W), optional
            Takes `weight` times the gradient with respect to `features`.
        accumulate : bool
            Add to what `gradient` holds rather than overwrite it.
        """
        ...


class AdditiveLoss(Loss, Protocol):
    """A loss on a statistic that is a sum over pixels, so that a map can be evaluated part by part.

    A part is a loss of its own, from `on`. Add up the `statistic` of all; any one's `slope` of the sum gives the value,
    and what every one's `pull` needs.
    """

    def on(self, window: Window, kernels: Kernels) -> AdditiveLoss:
        """The same on the maps of a tile, of which only the tile's own part counts."""
        ...

    def statistic(self, features: Float32, kernels: Kernels) -> Float64:
        """What the loss knows of a map, over the mass of the whole."""
        ...

    def slope(self, statistic: Float64, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float64:
        """Write the value, from the whole's statistic; returns what the gradient is made of.

        Parameters
        ----------
        statistic : float64
            The parts' sum.
        shape : (C, H, W)
            Of the map, or of any of the parts'.
        kernels : Kernels
        value : float64 ()
        """
        ...

    def pull(
        self,
        features: Float32,
        slope: Float64,
        kernels: Kernels,
        gradient: Float32,
        *,
        weight: float = 1.0,
        accumulate: bool = False,
    ) -> None:
        """Write, or add, `weight` times the gradient with respect to `features`."""
        ...


def term_name(kind: str, layer: str, region: Region) -> str:
    """See `Loss.name`."""
    return "/".join(part for part in (kind, layer, region.name) if part)
