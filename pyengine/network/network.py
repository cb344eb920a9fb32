"""A VGG that computes: feature maps of an image, and the gradient with respect to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from threading import Lock
from typing import Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.kernels import Kernels, Unpool
from pyengine.network.graphs import (
    SMALLEST,
    WINOGRAD_TILE,
    Padding,
    Pooling,
    adjoint_graph,
    forward_graph,
    map_size,
    mask_size,
)
from pyengine.network.sessions import Provider, Run, Session
from pyengine.network.weights import Convolution, Weights, relu_of, starts_block

DIRECT = 128 * 128
"""Pixels of an image below which a CPU's convolutions are sums of products: Winograd's larger filters would take longer
to read than their multiplications save."""

CAPTURED = 512 * 512
"""Pixels of the largest image for which a GPU's work is recorded as a CUDA graph: beyond, launching is no matter."""


class Vgg:
    """A model's graphs on one device, each made when it is first needed. May be used from several threads at once.

    Parameters
    ----------
    weights : Weights
    kernels : Kernels
    provider : Provider
        On the same device.
    threads : int
        Of the execution provider, on a CPU.
    half : bool
        Compute in float16; see `graphs.forward_graph`.
    """

    def __init__(
        self, weights: Weights, kernels: Kernels, provider: Provider, *, threads: int, half: bool = False
    ) -> None:
        self.weights = weights
        self.kernels = kernels
        self.half = half
        self._provider = provider
        self._threads = threads
        self._forward: dict[object, Session] = {}
        self._adjoints: dict[object, Session] = {}
        self._heads: dict[tuple[int, int], Vgg] = {}
        self._lock = Lock()

    def winograd(self, size: tuple[int, int]) -> bool:
        """Whether the convolutions of an image of this (height, width) are Winograd's; see `graphs.forward_graph`."""
        return not (self._provider.on_gpu or self.half) and size[0] * size[1] >= DIRECT

    def grain(self, size: tuple[int, int]) -> int:
        """Pixels on a side of the squares in which a convolution's results are rounded, from the map's corner on."""
        return WINOGRAD_TILE if self.winograd(size) else 1

    def forward(
        self,
        size: tuple[int, int],
        layers: tuple[str, ...],
        masks: tuple[str, ...],
        padding: Padding,
        pooling: Pooling,
        *,
        winograd: bool,
    ) -> Session:
        """The graph from an image of this (height, width); see `graphs.forward_graph`."""
        # Without masks there is no way back: an exemplar's network, which runs once.
        capture = self._provider.on_gpu and bool(masks) and size[0] * size[1] <= CAPTURED
        deepest = max((*layers, *masks), key=self.weights.layers.index)
        lone = padding == "reflect" and min(map_size(deepest, size)) == 1
        fixed = size if self._provider.fixes_sizes or capture or lone else None
        key = (fixed, layers, masks, padding, pooling, winograd)
        with self._lock:
            if capture or key not in self._forward:
                model = forward_graph(
                    self.weights,
                    layers,
                    padding,
                    pooling,
                    size=fixed,
                    half=self.half,
                    winograd=winograd,
                    masks=masks,
                )
                session = Session(model, self._provider, self._threads, capture=capture)
                if capture:  # what is recorded for some arrays must not be replayed for others
                    return session
                self._forward[key] = session
            return self._forward[key]

    def adjoint(self, convolution: str, size: tuple[int, int], *, winograd: bool) -> Session:
        """The adjoint of a convolution between maps of this (height, width); see `graphs.adjoint_graph`."""
        fixed = size if self._provider.fixes_sizes else None
        key = (convolution, fixed, winograd)
        with self._lock:
            if key not in self._adjoints:
                model = adjoint_graph(self.weights, convolution, size=fixed, half=self.half, winograd=winograd)
                self._adjoints[key] = Session(model, self._provider, self._threads)
            return self._adjoints[key]

    def head(self, first: int, last: int) -> Vgg:
        """The first convolution alone, with its filters from `first` to before `last`."""
        with self._lock:
            if (first, last) not in self._heads:
                start = self.weights.convolutions[0]
                some = Convolution(start.name, start.weight[first:last], start.bias[first:last])
                self._heads[first, last] = Vgg(
                    replace(self.weights, convolutions=(some,)), self.kernels, self._provider, threads=self._threads
                )
            return self._heads[first, last]


class Network:
    """A VGG for images of one size. Not for several threads at once.

    Parameters
    ----------
    vgg : Vgg
    size : (height, width)
        In pixels, both at least 16.
    layers : tuple of str
        The feature maps to give out.
    padding, pooling
        See `graphs.forward_graph`.
    gradient : bool
        Whether `backward` will be called. If not, only the buffers of `layers` are kept.
    winograd : bool, optional
        What `Vgg.winograd` says of the image that this is a part of; by default, of its own size.

    Attributes
    ----------
    layers : tuple of str
        Those given out, deepest first: in the order of the way back.
    features : dict of str to float32 (C, H, W)
        The feature maps, written by `forward`. All arrays are on the device.
    gradients : dict of str to float32 (C, H, W)
        Gradients of a scalar with respect to `features`, collected on the way back. They share memory: each is
        there from when it has been come to until `backward` goes on from it.
    image_gradient : float32 (H, W, 3)
        With respect to the image: where the way back ends.

    Examples
    --------
    >>> import numpy as np
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> from pyengine.network.weights import load
    >>> vgg = Vgg(load("vgg16"), CpuKernels(threads=1), Provider(), threads=1)
    >>> network = Network(vgg, (20, 17), ("relu2_1",))
    >>> network.forward(np.zeros((20, 17, 3), np.float32))
    >>> network.features["relu2_1"].shape  # an odd side is rounded up when pooled
    (128, 10, 9)
    >>> network.zero_gradients()
    >>> for layer in network.layers:
    ...     network.gradients[layer] += 1  # of the sum of all activations
    ...     network.backward(layer)
    >>> network.image_gradient.shape
    (20, 17, 3)
    """

    def __init__(
        self,
        vgg: Vgg,
        size: tuple[int, int],
        layers: tuple[str, ...],
        *,
        padding: Padding = "wrap",
        pooling: Pooling = "average",
        gradient: bool = True,
        winograd: bool | None = None,
    ) -> None:
        weights = vgg.weights
        weights.check_layers(layers)
        if min(size) < SMALLEST:
            raise PyengineError(
                f"image of {size[1]}x{size[0]} pixels: both sides must be at least {SMALLEST}; enlarge it first"
            )
        if gradient and padding == "reflect":  # reflected borders would have to be added up
            raise ValueError("there is no backward pass under 'reflect' padding")
        deepest = max(map(weights.layers.index, layers))
        convolutions = weights.convolutions[: deepest + 1]
        masks = tuple(layer for layer in weights.layers[: deepest + 1] if layer not in layers) if gradient else ()
        if winograd is None:
            winograd = vgg.winograd(size)
        shapes: dict[str, tuple[int, ...]] = {"image": (1, *size, 3)}
        bits: dict[str, tuple[int, ...]] = {}
        for convolution in convolutions:
            layer = relu_of(convolution.name)
            channels, sides = len(convolution.weight), map_size(layer, size)
            if winograd and layer in masks:
                bits[layer] = (1, channels, *mask_size(sides))
                shapes[layer] = (-(-math.prod(bits[layer]) // 2),)
            elif layer in layers or layer in masks:
                shapes[layer] = (1, channels, *sides)
        unpools: dict[str, Unpool] = {
            convolution.name: pooling if following is not None and starts_block(following.name) else "none"
            for convolution, following in zip_longest(convolutions, convolutions[1:])
        }
        if gradient:
            shapes["gradient/image"] = shapes["image"]
            # What goes in and out of the convolutions on the way back is of no use after the next: one place for all.
            shapes["padded"] = (max(_count(_padded(c, size)) for c in convolutions),)
            above = [_above(c, size, unpools[c.name]) for c in convolutions]
            shapes["above"] = (max(map(_count, above)),)
            shapes["peak"] = (1,)
            for convolution in convolutions:  # what comes back is smaller than the map
                layer = relu_of(convolution.name)
                if layer in layers and unpools[convolution.name] != "none":
                    shapes[f"gradient/{layer}"] = shapes[layer]
        self._buffers: dict[str, Any] = dict(vgg.kernels.allocate(shapes))
        for layer, shape in bits.items():
            words = self._buffers[layer].view(np.uint16)
            self._buffers[layer] = words[: math.prod(shape)].reshape(shape)
        forward = vgg.forward(size, layers, masks, padding, pooling, winograd=winograd)
        self._forward = forward.bind(self._buffers)
        self.features = {layer: self._buffers[layer][0] for layer in layers}
        self.gradients: dict[str, Float32] = {}
        self._steps: dict[str, list[_Step]] = {}
        for convolution in reversed(convolutions):
            layer = relu_of(convolution.name)
            if layer in layers:
                steps = self._steps[layer] = []
            if gradient:
                adjoint = vgg.adjoint(convolution.name, map_size(layer, size), winograd=winograd)
                unpool = unpools[convolution.name]
                steps.append(_Step(vgg, convolution, adjoint, size, self._buffers, padding == "wrap", unpool))
                if layer in layers:
                    self.gradients[layer] = steps[0].gradient
        self.layers = tuple(self._steps)
        if gradient:
            self.image_gradient: Float32 = self._buffers["gradient/image"][0]

    def forward(self, image: Float32) -> None:
        """Compute `features` of an image, float32 (H, W, 3) in [0, 1]."""
        self._buffers["image"][0] = image
        self._forward()

    def zero_gradients(self) -> None:
        """Begin a way back. From the deepest layer to the first, add to its gradient, then call `backward`."""
        for layer, gradient in self.gradients.items():
            if layer == self.layers[0] or f"gradient/{layer}" in self._buffers:
                gradient.fill(0)

    def backward(self, layer: str) -> None:
        """Go on from a layer's gradient to the next of `layers`, or from the last to the image."""
        for step in self._steps[layer]:
            step()

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that the sessions read and write: feature maps, their gradients, and the image."""
        return sum(buffer.nbytes for buffer in self._buffers.values())


class _Step:
    """The backward pass through one convolution and the ReLU after it, and through the pool after that.

    Attributes
    ----------
    gradient : float32 (C, H, W)
        With respect to the map after the ReLU, to be added to: what came back from deeper maps, or where that is
        smaller, since there is a pool, an array of its own.
    """

    def __init__(
        self,
        vgg: Vgg,
        convolution: Convolution,
        adjoint: Session,
        size: tuple[int, int],
        buffers: Mapping[str, Any],
        wrap: bool,
        unpool: Unpool,
    ) -> None:
        layer = relu_of(convolution.name)
        first = convolution.name == vgg.weights.convolutions[0].name
        self._kernels = vgg.kernels
        self._features = buffers[layer][0]  # or what the forward graph gives in its place
        self._loss = buffers[f"gradient/{layer}"][0] if f"gradient/{layer}" in buffers else None
        self._padded = _view(buffers["padded"], _padded(convolution, size))
        self._above = _view(buffers["above"], _above(convolution, size, unpool))
        self.gradient: Float32 = self._above if self._loss is None else self._loss
        self._unpool = unpool
        self._wrap = wrap
        self._peak = buffers["peak"] if vgg.half and not first else None
        gradient = buffers["gradient/image"] if first else _view(buffers["above"], _below(convolution, size))[None]
        bound = {"padded": self._padded[None], "gradient": gradient, "peak": buffers["peak"]}
        self._adjoint: Run = adjoint.bind(bound)

    def __call__(self) -> None:
        self._kernels.relu_gradient(
            self._features,
            self._padded,
            self._above,
            self._loss,
            unpool=self._unpool,
            wrap=self._wrap,
            peak=self._peak,
        )
        self._adjoint()


def _padded(convolution: Convolution, size: tuple[int, int]) -> tuple[int, int, int]:
    """Shape of the gradient with respect to a convolution's output, with its border."""
    height, width = map_size(relu_of(convolution.name), size)
    return len(convolution.weight), height + 2, width + 2


def _above(convolution: Convolution, size: tuple[int, int], unpool: Unpool) -> tuple[int, int, int]:
    """Shape of what comes back to a convolution's ReLU, or to the pool after it."""
    height, width = map_size(relu_of(convolution.name), size)
    windows = (height, width) if unpool == "none" else (-(-height // 2), -(-width // 2))
    return len(convolution.weight), *windows


def _below(convolution: Convolution, size: tuple[int, int]) -> tuple[int, int, int]:
    """Shape of the gradient with respect to a convolution's input."""
    return convolution.weight.shape[1], *map_size(relu_of(convolution.name), size)


def _count(shape: tuple[int, int, int]) -> int:
    channels, height, width = shape
    return channels * height * width


def _view(buffer: Float32, shape: tuple[int, int, int]) -> Float32:
    """The beginning of a buffer, in a shape."""
    return buffer[: _count(shape)].reshape(shape)
