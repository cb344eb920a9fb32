"""A model: a network with its weights, as it was published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.network.architecture import Architecture, Layer


@dataclass(frozen=True)
class Preprocessing:
    """What a network was trained on: ``x = (channels of the RGB image in [0, 1] * scale - mean) / std``.

    Attributes
    ----------
    channels : {"RGB", "BGR"}
        The order of the network's input channels; `mean` and `std` are in that order.
    scale : float
        What brings [0, 1] to the network's range.
    mean, std : tuple of three floats
        Mean and deviation of the training images, in that range.

    Examples
    --------
    >>> PREPROCESSINGS["caffe"].channels
    'BGR'
    """

    channels: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def fold(self, filters: Float32, bias: Float32, *, mean: bool) -> tuple[Float32, Float32]:
        """Filters and bias of the first convolution that take the RGB image in [0, 1] itself.

        Parameters
        ----------
        filters, bias : float32 (O, 3, K, K), (O,)
            Those that take what the network was trained on.
        mean : bool
            Fold the mean into the bias as well. Exact where the padding repeats pixels of the image (wrap, reflect);
            where it puts in zeros, these stand for the mean colour, which then has to be subtracted before.
        """
        factor = np.asarray(self.scale, np.float64) / np.asarray(self.std, np.float64)
        folded = filters.astype(np.float64) * factor[:, None, None]
        if mean:
            shift = np.asarray(self.mean) / np.asarray(self.std)
            bias = (bias - np.einsum("oikl,i->o", filters.astype(np.float64), shift)).astype(np.float32)
        if self.channels == "BGR":
            folded = folded[:, ::-1]
        return np.ascontiguousarray(folded, np.float32), bias

    @property
    def mean_colour(self) -> Float32:
        """The RGB colour in [0, 1] that becomes 0: float32 (3,)."""
        mean = np.asarray(self.mean, np.float64) / self.scale
        return np.asarray(mean[::-1] if self.channels == "BGR" else mean, np.float32)


PREPROCESSINGS = {
    "caffe": Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torchvision": Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""By the framework that the network was published for; Keras' VGGs are Caffe's."""


@dataclass(frozen=True)
class Convolution:
    """The numbers of a layer's convolution.

    Attributes
    ----------
    layer : Layer
        The layer that begins with it.
    filters : float32 (O, I, K, K)
        One for each of the layer's channels.
    bias : float32 (O,)
        What is added to each channel.
    """

    layer: Layer
    filters: Float32
    bias: Float32


@dataclass(frozen=True)
class Model:
    """A network with its weights.

    Attributes
    ----------
    name : str
        What the model is called here.
    architecture : Architecture
        What the network is made of.
    preprocessing : Preprocessing
        What the network was trained on.
    convolutions : tuple of Convolution
        One for each layer of the architecture, first to last.
    origin : str
        Where the weights came from.
    sha256 : str
        The hash of the model file, in hexadecimal digits. Default: empty, where there is no file yet.
    """

    name: str
    architecture: Architecture
    preprocessing: Preprocessing
    convolutions: tuple[Convolution, ...]
    origin: str
    sha256: str = ""

    def __getitem__(self, layer: str) -> Convolution:
        """A layer's convolution."""
        return next(convolution for convolution in self.convolutions if convolution.layer.name == layer)

    def check_layers(self, names: Iterable[str]) -> None:
        """Raise PyengineError for a layer that this model lacks."""
        self.architecture.check(names, f"model {self.name!r}")

    def check_half(self) -> None:
        """Raise PyengineError for a convolution that float16 cannot hold."""
        most = float(np.finfo(np.float16).max)
        for convolution in self.convolutions:
            largest = max(float(np.abs(array).max()) for array in (convolution.filters, convolution.bias))
            if largest > most:
                raise PyengineError(
                    f"{convolution.layer.convolution} holds a weight of size {largest:g}, float16 no more than "
                    f"{most:g}; leave out --half, or precision='float16'"
                )

    def up_to(self, name: str) -> Model:
        """The same without what lies behind a layer; PyengineError if there is no such layer."""
        self.check_layers([name])
        architecture = self.architecture.up_to(name)
        return replace(self, architecture=architecture, convolutions=self.convolutions[: len(architecture.layers)])

    def of_channels(self, begin: int, end: int) -> Model:
        """The first convolution alone, with its filters from `begin` to before `end`."""
        first = self.convolutions[0]
        filters, bias = first.filters[begin:end], first.bias[begin:end]
        layer = replace(first.layer, channels=len(bias))
        architecture = Architecture(self.architecture.name, (layer,))
        return replace(self, architecture=architecture, convolutions=(Convolution(layer, filters, bias),))
