"""A network that computes: feature maps of an image, and the gradient with respect to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.kernels import Kernels, Unpool
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.graphs import (
    LEAST_SIDE,
    WINOGRAD_TILE,
    WRAPPED,
    Padding,
    Pooling,
    adjoint_filters,
    adjoint_graph,
    forward_graph,
    is_winograds,
    mask_size,
    needs_size,
)
from pyengine.network.model import Model
from pyengine.network.reflection import Reflection
from pyengine.network.sessions import Provider, Run, Session

DIRECT = 128 * 128
"""Pixels of an image below which a CPU's convolutions are sums of products: Winograd's larger filters would take longer
to read than their multiplications save."""

CAPTURED = 512 * 512
"""Pixels of the largest image for which a GPU's work is recorded as a CUDA graph: beyond, launching is no matter."""

Shape = tuple[int, ...]
"""Sides of an array."""


class ModelSessions:
    """A model's sessions on one device, each made when it is first needed. May be used from several threads at once.

    Parameters
    ----------
    model : Model
    kernels : Kernels
    provider : Provider
        On the same device as the kernels.
    threads : int
        How many the execution provider uses, on a CPU.
    half : bool
        Compute in float16, see `graphs.forward_graph`; by default in float32.
    """

    def __init__(self, model: Model, kernels: Kernels, provider: Provider, *, threads: int, half: bool = False) -> None:
        self.model = model
        self.kernels = kernels
        self.half = half
        self._provider = provider
        self._threads = threads
        self._forward: dict[object, Session] = {}
        self._adjoints: dict[object, Session] = {}
        self._reflections: dict[str, Reflection] = {}
        self._of_channels: dict[tuple[int, int], ModelSessions] = {}
        self._lock = Lock()

    @property
    def on_gpu(self) -> bool:
        """Whether arrays are in a GPU's memory."""
        return self._provider.on_gpu

    def winograd(self, size: tuple[int, int]) -> bool:
        """Whether the 3x3 convolutions of an image of this (height, width) are Winograd's."""
        return not (self.on_gpu or self.half) and size[0] * size[1] >= DIRECT

    def alignment(self, size: tuple[int, int]) -> int:
        """How a part of an image of this (height, width) has to lie for convolutions to round as on the whole image.

        Winograd's convolutions round in squares that begin at a map's corner. So the part has to begin, on each of its
        maps, at a multiple of so many pixels: the side of such a square, or 1 where there are none.
        """
        squares = self.winograd(size) and any(map(is_winograds, self.model.architecture.layers))
        return WINOGRAD_TILE if squares else 1

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
        capture = self.on_gpu and bool(masks) and size[0] * size[1] <= CAPTURED
        architecture = self.model.architecture
        used = architecture.up_to(architecture.deepest((*layers, *masks)))
        fixed = size if self._provider.fixes_sizes or capture or needs_size(used, size, padding) else None
        key = (fixed, layers, masks, padding, pooling, winograd)
        with self._lock:
            if capture or key not in self._forward:
                graph = forward_graph(
                    self.model,
                    layers,
                    padding,
                    pooling,
                    size=fixed,
                    half=self.half,
                    winograd=winograd,
                    masks=masks,
                )
                session = Session(graph, self._provider, self._threads, capture=capture)
                if capture:  # what is recorded for some arrays must not be replayed for others
                    return session
                self._forward[key] = session
            return self._forward[key]

    def adjoint(self, layer: str, size: tuple[int, int], *, winograd: bool) -> Session:
        """The adjoint of a layer's convolution between maps of this (height, width); see `graphs.adjoint_graph`."""
        fixed = size if self._provider.fixes_sizes else None
        key = (layer, fixed, winograd)
        with self._lock:
            if key not in self._adjoints:
                graph = adjoint_graph(self.model, layer, size=fixed, half=self.half, winograd=winograd)
                self._adjoints[key] = Session(graph, self._provider, self._threads)
            return self._adjoints[key]

    def reflection(self, layer: str) -> Reflection:
        """What is added to the adjoint of a layer's convolution where the border is a reflection."""
        with self._lock:
            if layer not in self._reflections:
                self._reflections[layer] = Reflection(adjoint_filters(self.model, layer), self.kernels)
            return self._reflections[layer]

    def of_channels(self, begin: int, end: int) -> ModelSessions:
        """Those of the first layer alone, with its channels from `begin` to before `end`."""
        with self._lock:
            if (begin, end) not in self._of_channels:
                self._of_channels[begin, end] = ModelSessions(
                    self.model.of_channels(begin, end), self.kernels, self._provider, threads=self._threads
                )
            return self._of_channels[begin, end]


class Network:
    """A model's network for images of one size. Not for several threads at once.

    Parameters
    ----------
    sessions : ModelSessions
    size : (height, width)
        In pixels, both at least 16.
    layers : tuple of str
        The feature maps to give out.
    padding, pooling
        See `graphs.forward_graph`; by default "wrap" in both axes, and "average".
    gradient : bool
        Whether `backward` will be called, as it may by default. If not, only the buffers of `layers` are kept.
    winograd : bool, optional
        What `ModelSessions.winograd` says of the image that this is a part of; by default, of its own size.

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
    >>> from pyengine.network.modelfile import load
    >>> sessions = ModelSessions(load("vgg16"), CpuKernels(threads=1), Provider(), threads=1)
    >>> network = Network(sessions, (20, 17), ("relu2_1",))
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
        sessions: ModelSessions,
        size: tuple[int, int],
        layers: tuple[str, ...],
        *,
        padding: Padding = WRAPPED,
        pooling: Pooling = "average",
        gradient: bool = True,
        winograd: bool | None = None,
    ) -> None:
        sessions.model.check_layers(layers)
        if min(size) < LEAST_SIDE:
            raise PyengineError(
                f"image of {size[1]}x{size[0]} pixels: both sides must be at least {LEAST_SIDE}; enlarge it first"
            )
        if winograd is None:
            winograd = sessions.winograd(size)
        architecture = sessions.model.architecture
        used = _shapes(architecture.up_to(architecture.deepest(layers)), size, pooling)
        masks = tuple(shapes.layer.name for shapes in used if shapes.layer.name not in layers) if gradient else ()
        self._buffers = _allocate(sessions.kernels, size, used, layers, masks, winograd=winograd, gradient=gradient)
        self._forward = sessions.forward(size, layers, masks, padding, pooling, winograd=winograd).bind(self._buffers)
        self.features: dict[str, Float32] = {layer: self._buffers[layer][0] for layer in layers}
        self.gradients: dict[str, Float32] = {}
        self._steps: dict[str, list[_Step]] = {}
        for shapes in reversed(used):
            layer = shapes.layer.name
            if layer in layers:
                steps = self._steps[layer] = []
            if gradient:
                adjoint = sessions.adjoint(layer, shapes.map[1:], winograd=winograd)
                steps.append(_Step(sessions, shapes, adjoint, self._buffers, padding))
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


@dataclass(frozen=True)
class _LayerShapes:
    """Shapes of a layer's arrays, for images of one size.

    Attributes
    ----------
    layer : Layer
    map : (C, H, W)
        The feature map, and the gradient with respect to it.
    unpool : {"none", "average", "max"}
        The pool behind the layer, whose adjoint is on the way back.
    """

    layer: Layer
    map: tuple[int, int, int]
    unpool: Unpool

    @property
    def padded(self) -> tuple[int, int, int]:
        """The gradient with respect to the convolution's output, with its border."""
        channels, height, width = self.map
        return channels, height + 2 * self.layer.border, width + 2 * self.layer.border

    @property
    def above(self) -> tuple[int, int, int]:
        """What comes back to the ReLU, or to the pool after it."""
        channels, height, width = self.map
        return self.map if self.unpool == "none" else (channels, -(-height // 2), -(-width // 2))

    @property
    def below(self) -> tuple[int, int, int]:
        """The gradient with respect to the convolution's input."""
        return self.layer.inputs, *self.map[1:]


def _shapes(architecture: Architecture, size: tuple[int, int], pooling: Pooling) -> list[_LayerShapes]:
    """The shapes of all layers of an architecture, first to last."""
    return [
        _LayerShapes(
            layer,
            (layer.channels, *architecture.map_size(layer.name, size)),
            pooling if architecture.pool_follows(layer.name) else "none",
        )
        for layer in architecture.layers
    ]


def _allocate(
    kernels: Kernels,
    size: tuple[int, int],
    used: list[_LayerShapes],
    layers: tuple[str, ...],
    masks: tuple[str, ...],
    *,
    winograd: bool,
    gradient: bool,
) -> dict[str, Any]:
    """A network's arrays, by what graphs call them; gradients are under ``gradient/`` and the layer's name.

    `used` are the layers that are computed, `layers` those given out, `masks` the others, if there is a way back.
    """
    shapes: dict[str, Shape] = {"image": (1, *size, 3)}
    bits: dict[str, Shape] = {}
    for own in used:
        name = own.layer.name
        if name in masks and winograd and is_winograds(own.layer):
            bits[name] = (1, own.layer.channels, *mask_size(own.map[1:]))
            shapes[name] = (-(-math.prod(bits[name]) // 2),)
        elif name in layers or name in masks:
            shapes[name] = (1, *own.map)
    if gradient:
        shapes["gradient/image"] = shapes["image"]
        # What goes in and out of the convolutions on the way back is of no use after the next: one place for all.
        shapes["padded"] = (max(math.prod(own.padded) for own in used),)
        shapes["above"] = (max(math.prod(own.above) for own in used),)
        shapes["peak"] = (1,)
        for own in used:  # what comes back is smaller than the map
            if own.layer.name in layers and own.unpool != "none":
                shapes[f"gradient/{own.layer.name}"] = shapes[own.layer.name]
    buffers: dict[str, Any] = dict(kernels.allocate(shapes))
    for name, shape in bits.items():
        words = buffers[name].view(np.uint16)
        buffers[name] = words[: math.prod(shape)].reshape(shape)
    return buffers


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
        sessions: ModelSessions,
        shapes: _LayerShapes,
        adjoint: Session,
        buffers: Mapping[str, Any],
        padding: Padding,
    ) -> None:
        layer = shapes.layer.name
        first = layer == sessions.model.architecture.first
        self._kernels = sessions.kernels
        self._features = buffers[layer][0]  # or what the forward graph gives in its place
        self._loss = buffers[f"gradient/{layer}"][0] if f"gradient/{layer}" in buffers else None
        self._padded = _view(buffers["padded"], shapes.padded)
        self._above = _view(buffers["above"], shapes.above)
        self.gradient: Float32 = self._above if self._loss is None else self._loss
        self._border = shapes.layer.border
        self._unpool = shapes.unpool
        self._padding = padding
        self._peak = buffers["peak"] if sessions.half and not first else None
        gradient = buffers["gradient/image"] if first else _view(buffers["above"], shapes.below)[None]
        bound = {"padded": self._padded[None], "gradient": gradient, "peak": buffers["peak"]}
        self._adjoint: Run = adjoint.bind(bound)
        self._reflection = sessions.reflection(layer) if "reflect" in padding else None
        self._below = gradient[0].transpose(2, 0, 1) if first else gradient[0]

    def __call__(self) -> None:
        self._kernels.relu_gradient(
            self._features,
            self._padded,
            self._above,
            self._loss,
            border=self._border,
            unpool=self._unpool,
            wrap=self._padding.wrap,
            peak=self._peak,
        )
        self._adjoint()
        if self._reflection is not None:
            self._reflection.add(self._padded, self._below, self._padding)


def _view(buffer: Float32, shape: tuple[int, int, int]) -> Float32:
    """The beginning of a buffer, in a shape."""
    return buffer[: math.prod(shape)].reshape(shape)
