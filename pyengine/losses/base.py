"""What every loss is: a target that is measured once, and the distance of a feature map from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias

from pyengine.arrays import Float32, Float64
from pyengine.kernels import Coverage, Kernels
from pyengine.network.architecture import Architecture
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, Wrap

Weight: TypeAlias = float | Literal["auto"]

Statistic: TypeAlias = Any
"""An array on the device, of a form that only the loss knows whose it is."""

IMAGE = "image"
"""The layer of losses on the image itself, which is (H, W, 3), and no feature map of the network."""

BLOCK_WEIGHTS = (10.0, 3.0, 1.0, 0.3, 0.1)
"""What a loss counts by how often its feature map has been halved; maps that were halved more often count as the last.
The numbers were found by trying, by the patch distance of the results (docs/quality.md)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What a loss measures of one picture: a feature map, and how much each of its pixels counts.

    Attributes
    ----------
    features : float32 (C, H, W)
        The feature map; for losses on the image itself, the image (H, W, 3).
    coverage : Coverage, optional
        How much each pixel counts. Default: None, all alike.
    factor : float
        The factor of the coverage, against other pictures' samples. Default: 1.
    """

    features: Float32
    coverage: Coverage | None = None
    factor: float = 1.0

    @property
    def mass(self) -> float:
        """All that the pixels count for together."""
        return self.factor * (self.features[0].size if self.coverage is None else self.coverage.total)

    def mean_square(self, kernels: Kernels) -> float:
        """Mean square of the values, every pixel counting by its coverage."""
        gram = kernels.gram(self.features, self.coverage)
        return kernels.fetch([gram.trace()])[0] / len(gram)


@dataclass(frozen=True, eq=False)
class Region:
    """The part of the output that a loss is evaluated on (Risser et al., sec. 5, localised losses).

    Attributes
    ----------
    name : str
        The region's name. Default: empty, for the only region there is.
    share : float
        The share of the output's pixels that are in it. Default: 1.
    coverage : dict of str to Coverage
        How much each pixel counts, by layer; on a layer that is missing, all count alike. Default: none.
    """

    name: str = ""
    share: float = 1.0
    coverage: Mapping[str, Coverage] = field(default_factory=dict)

    def has_pixels(self, layer: str) -> bool:
        """Whether any pixel of a layer counts."""
        return layer not in self.coverage or self.coverage[layer].total > 0

    def within(self, window: Window, layer: str, kernels: Kernels) -> Region:
        """The part of the region that is a tile's own, on one layer."""
        return replace(self, coverage={layer: window.cover(self.coverage.get(layer), kernels)})


EVERYWHERE = Region()
"""The only region, where nothing is painted."""


class Loss(ABC):
    """A loss on one feature map, in one region. A kind of loss is a subclass that says everything about itself.

    Attributes
    ----------
    kind : str
        The name of the kind, by which weights and terms name it: "gram".
    source : {"exemplars", "content", "maps"}
        The pictures on which targets are measured; "maps" are the exemplars with all their maps together. Default:
        "exemplars".
    optional : bool
        Whether the kind is left out unless it is asked for. Default: False.
    suffices : bool
        Whether there is something to match where no other kind is left. Default: True.
    by_region : bool
        Whether each painted region has a loss of its own; otherwise one loss is for all of the output. Default: True.
    strength : float
        The automatic weight against that of a Gram loss on the same layer, as found by trying. Default: 1.
    threshold : float
        The largest size of the gradient under weights by thresholds (Risser et al., sec. 6). Default: 1.
    reach : int
        How many pixels of the feature map beyond the one in question are looked at. Default: 0.
    keeps_map : bool
        Whether the target takes as much memory as the feature map it was measured on. Default: False.
    whole_channels : int
        How many channels as large as the feature map there are for the whole image, even where it is in tiles.
        Default: 0.
    layer : str
        The feature map it is evaluated on, or `IMAGE`.
    region : Region
        The part of the output it is evaluated on.
    magnitude : float
        Mean square of what was measured: the unit in which values are comparable.
    """

    kind: ClassVar[str]
    source: ClassVar[Literal["exemplars", "content", "maps"]] = "exemplars"
    optional: ClassVar[bool] = False
    suffices: ClassVar[bool] = True
    by_region: ClassVar[bool] = True
    strength: ClassVar[float] = 1.0
    threshold: ClassVar[float] = 1.0
    reach: ClassVar[int] = 0
    keeps_map: ClassVar[bool] = False
    whole_channels: ClassVar[int] = 0

    layer: str
    region: Region
    magnitude: float

    @classmethod
    @abstractmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """The layers on which the kind is used where nobody says which."""

    @classmethod
    @abstractmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> Loss:
        """Take what is measured on all samples together as target.

        Parameters
        ----------
        layer : str
            The feature map that is measured, or `IMAGE`.
        samples : sequence of Sample
            What is measured, a sample for each picture; their masses together are above 0.
        kernels : Kernels
            The device's.
        region : Region
            The part of the output that the loss is for. Default: all of it.
        wrap : Wrap
            Where the output wraps round. Default: in both axes.
        """

    @property
    def name(self) -> str:
        """Kind, layer and, where there are several, region, such as "gram/relu1_1" or "gram/relu1_1/2"."""
        return "/".join(part for part in (self.kind, self.layer, self.region.name) if part and part != IMAGE)

    def auto_weight(self, halvings: int) -> float:
        """Weight in units of the target's own mean square.

        The gradient's size then depends neither on the layer nor on the exemplar, whose values differ by orders of
        magnitude.

        Parameters
        ----------
        halvings : int
            How often the feature map has been halved.
        """
        if not self.magnitude > 0:
            return 0.0
        block = 1.0 if self.layer == IMAGE else BLOCK_WEIGHTS[min(halvings, len(BLOCK_WEIGHTS) - 1)]
        return self.strength * block / self.magnitude

    @abstractmethod
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
            The feature map, or the image (H, W, 3).
        kernels : Kernels
            The device's.
        value : float64 ()
            Takes the value, before any weight.
        weight : float
            A factor of the gradient, not of the value. Default: 1.
        gradient : float32 (C, H, W), optional
            Takes `weight` times the gradient with respect to `features`. Default: None, no gradient is wanted.
        accumulate : bool
            Whether to add to what `gradient` holds rather than overwrite it. Default: False.
        """


class AdditiveLoss(Loss):
    """A loss on a statistic that is a sum over pixels, so that a feature map can be evaluated tile by tile.

    Each tile has a loss of its own, from `within`. The sum of all tiles' statistics has a residual, from which any of
    them computes the value, and every one its part of the gradient.
    """

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
        """See `Loss.evaluate`: here as on an image of one tile."""
        residual = self.residual(self.statistic(features, kernels), features.shape, kernels, value)
        if gradient is not None:
            if not accumulate:
                gradient.fill(0)
            self.add_gradient(features, residual, kernels, gradient, weight=weight)

    @abstractmethod
    def within(self, window: Window, kernels: Kernels) -> AdditiveLoss:
        """The same loss on the maps of a tile, in which only the tile's own part counts."""

    @abstractmethod
    def statistic(self, features: Float32, kernels: Kernels, others: Statistic | None = None) -> Statistic:
        """What the loss measures of a map, over the mass of the whole: a sum over the pixels that count.

        Parameters
        ----------
        features : float32 (C, H, W)
            The feature map.
        kernels : Kernels
            The device's.
        others : Statistic, optional
            What was measured on other tiles, to which this is added; it may be written over. Default: None, nothing.
        """

    @abstractmethod
    def residual(self, statistic: Statistic, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Statistic:
        """How the whole map's statistic differs from the target; writes the value that follows from it.

        Parameters
        ----------
        statistic : Statistic
            The sum of all tiles' statistics, which may be written over.
        shape : (C, H, W)
            The shape of the map, or of any tile's.
        kernels : Kernels
            The device's.
        value : float64 ()
            Takes the value.
        """

    @abstractmethod
    def add_gradient(
        self, features: Float32, residual: Statistic, kernels: Kernels, gradient: Float32, *, weight: float
    ) -> None:
        """Add `weight` times the gradient with respect to `features`, as it follows from the residual."""


class ChannelLoss(Loss):
    """A loss that needs all of a channel's pixels at once, but no other channel: the whole map, channel by channel.

    In tiles, the map is kept for the whole image, and its channels are gone through a few at a time.
    """

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels of the feature map."""

    @abstractmethod
    def evaluate_channels(
        self,
        features: Float32,
        first: int,
        kernels: Kernels,
        value: Float64,
        *,
        weight: float = 1.0,
        gradient: Float32 | None = None,
        accumulate: bool = False,
    ) -> None:
        """Compute the mean over some of the channels, `features` (c, H, W), from the map's channel `first` on.

        All other parameters are those of `evaluate`.
        """
