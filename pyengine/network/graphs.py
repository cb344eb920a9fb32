"""ONNX graphs of a VGG: the forward pass, and the adjoint of each convolution for the backward pass.

Inside a graph an image is (1, 3, H, W); outside it is (1, H, W, 3), RGB in [0, 1]. Feature maps are (1, C, H, W), named
after their ReLU: relu1_1, relu1_2, ... What stands between two convolutions in the backward pass, the pool's adjoint,
the ReLU's mask and the border, is one pass over memory in a kernel of ours (`Kernels.relu_gradient`); as ONNX nodes it
would be up to four.

Pools are 2x2 with stride 2. At an odd side the last window holds what is left, one row or column, and is the mean (or
maximum) of that: no pixel is dropped, and a pooled side is ``ceil(side / 2)``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pyengine.network.weights import Weights, pools_before, relu_of, starts_block

if TYPE_CHECKING:
    import onnx

Padding = Literal["wrap", "zeros", "reflect"]
Pooling = Literal["average", "max"]

SMALLEST = 16
"""Pixels on the shorter side that an image must have."""

OPSET = 19  # the first with Pad(mode="wrap")
IR_VERSION = 9

DOMAIN = "pyengine"
"""Of the operator Convolution, which is ours: see csrc/operator.cpp."""

BORDERS = {"given": 0, "zeros": 1, "wrap": 2}
"""Its attribute `border`."""

POOLS = {None: 0, "average": 1, "max": 2}
"""Its attribute `pool`."""

WINOGRAD_TILE = 4
"""Pixels on a side of the squares in which it computes."""

HALF_SCALE = 2.0**-7
"""Of activations in float16: VGG's reach 1e5 for images in 0..255, float16 ends at 65504."""

HALF_PEAK = 64.0
"""Largest magnitude of a gradient that enters a convolution in float16: sums over its channels must fit in."""


class Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, inputs: list[str], output: str, *more: str, **attributes: Any) -> str:
        """Append a node, of one or more outputs; returns the name of the first."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output, *more], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Keep a constant, unless there is one of this name; returns the name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def convolve(self, x: str, output: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any], padding: str) -> str:
        """3x3 convolution that keeps the size, and the ReLU after it, whose result is `output`."""
        filters, biases = self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)
        if padding != "zeros":
            x = self.pad(x, output, padding)
        pads = [1, 1, 1, 1] if padding == "zeros" else [0, 0, 0, 0]
        x = self.add("Conv", [x, filters, biases], f"{output}.sum", kernel_shape=[3, 3], pads=pads)
        return self.add("Relu", [x], output)

    def convolve_winograd(
        self,
        x: str,
        output: str,
        weight: npt.NDArray[Any],
        bias: npt.NDArray[Any],
        padding: str,
        *,
        relu: bool = True,
        pooling: Pooling | None = None,
        mask: str | None = None,
    ) -> str:
        """The same by our own operator, and the pool after it; `mask` is what that tells of the map before the pool."""
        if padding not in BORDERS:
            x, padding = self.pad(x, output, padding), "given"
        filters, biases = self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)
        outputs = [output] if mask is None else [output, mask]
        attributes: dict[str, Any] = {"border": BORDERS[padding], "relu": int(relu), "pool": POOLS[pooling]}
        return self.add("Convolution", [x, filters, biases], *outputs, domain=DOMAIN, **attributes)

    def pad(self, x: str, output: str, mode: str) -> str:
        """A border of one pixel."""
        border = self.constant("border", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return self.add("Pad", [x, border], f"{output}.padded", mode=mode)

    def cast(self, x: str, output: str, kind: npt.DTypeLike) -> str:
        """Convert to another number type; returns the name of the output."""
        from onnx import helper

        return self.add("Cast", [x], output, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def model(
        self,
        name: str,
        inputs: dict[str, tuple[int | str, ...]],
        outputs: dict[str, tuple[int | str, ...]],
        masks: tuple[str, ...] = (),
    ) -> onnx.ModelProto:
        """The nodes and the constants they use, with float32 inputs and outputs of these shapes; `masks` are uint16."""
        from onnx import TensorProto, helper

        def infos(shapes: dict[str, tuple[int | str, ...]]) -> list[onnx.ValueInfoProto]:
            kinds = {k: TensorProto.UINT16 if k in masks else TensorProto.FLOAT for k in shapes}
            return [helper.make_tensor_value_info(k, kinds[k], list(v)) for k, v in shapes.items()]

        used = {i for node in self.nodes for i in node.input}
        constants = [tensor for key, tensor in self.constants.items() if key in used]
        graph = helper.make_graph(self.nodes, name, infos(inputs), infos(outputs), constants)
        versions = [helper.make_opsetid("", OPSET)]
        if any(node.domain == DOMAIN for node in self.nodes):
            versions.append(helper.make_opsetid(DOMAIN, 1))
        return helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)


def forward_graph(
    weights: Weights,
    outputs: tuple[str, ...],
    padding: Padding = "wrap",
    pooling: Pooling = "average",
    *,
    size: tuple[int, int] | None = None,
    half: bool = False,
    winograd: bool = False,
    masks: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """Graph from the image to feature maps, no deeper than the deepest of them.

    Parameters
    ----------
    weights : Weights
    outputs : tuple of str
        The feature maps to return, such as ``("relu1_1", "relu4_1")``.
    padding : {"wrap", "zeros", "reflect"}
        What the convolutions see beyond the border. "zeros" are those of the network: the mean colour of its
        training images.
    pooling : {"average", "max"}
    size : (height, width), optional
        Of the image, in pixels, if the graph is for one size only. Under reflection it has to be where a feature map
        is one pixel high or wide.
    half : bool
        Compute in float16, but for the first convolution, which sees the image itself. Activations are kept at
        `HALF_SCALE` of their size, out of reach of float16's largest number; that is exact, since a ReLU network is
        homogeneous in its input and its biases.
    winograd : bool
        Let our own operator do the convolutions. It takes less than half the time, but runs on a CPU only.
    masks : tuple of str
        Feature maps that are not among `outputs`, and of which is returned as little as the way back through ReLU and
        pool needs: from our own operator bits, uint16 (1, C, ceil(h / 4), ceil(w / 4)), else the maps themselves.

    Examples
    --------
    >>> from pyengine.network.weights import load
    >>> model = forward_graph(load("vgg16"), ("relu2_1",), size=(32, 48))
    >>> [(v.name, [dim.dim_value for dim in v.type.tensor_type.shape.dim]) for v in model.graph.output]
    [('relu2_1', [1, 128, 16, 24])]
    """
    graph = Graph()
    preprocessing = weights.preprocessing
    x = graph.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if padding == "zeros":
        mean = graph.constant("mean", preprocessing.mean_colour.reshape(1, 3, 1, 1))
        x = graph.add("Sub", [x, mean], "centred")
    shapes: dict[str, tuple[int | str, ...]] = {}
    scale, kind = (HALF_SCALE, np.float16) if half else (1.0, np.float32)
    for convolution, following in zip_longest(weights.convolutions, weights.convolutions[1:]):
        name, layer = convolution.name, relu_of(convolution.name)
        first = name == weights.convolutions[0].name
        if first:
            weight, bias = preprocessing.fold(convolution.weight, convolution.bias, mean=padding != "zeros")
            weight, bias = np.float32(scale) * weight, np.float32(scale) * bias
        else:
            weight, bias = convolution.weight.astype(kind), (np.float32(scale) * convolution.bias).astype(kind)
        sides = None if size is None else map_size(layer, size)
        # One pixel has no neighbour to reflect, but itself.
        mode = "edge" if padding == "reflect" and sides and min(sides) == 1 else padding
        wanted = layer in outputs or layer in masks
        pool = pooling if following is not None and starts_block(following.name) else None
        rows, columns = sides or (f"{layer}.height", f"{layer}.width")
        if winograd:
            mask = layer if layer in masks else None
            if layer in outputs:
                x = graph.convolve_winograd(x, layer, weight, bias, mode)
            else:  # nobody wants the map before the pool
                x = graph.convolve_winograd(x, f"{layer}.map", weight, bias, mode, pooling=pool, mask=mask)
                pool = None
            if mask:
                rows, columns = mask_size(sides) if sides else (f"{layer}.rows", f"{layer}.columns")
        elif not half:
            x = graph.convolve(x, layer, weight, bias, mode)
        else:
            x = graph.convolve(x, f"{layer}.scaled" if wanted else layer, weight, bias, mode)
            if wanted:
                full = x if first else graph.cast(x, f"{layer}.single" if layer in outputs else layer, np.float32)
                if layer in outputs:
                    graph.add("Mul", [full, graph.constant("unscale", np.array([1 / scale], np.float32))], layer)
                elif first:
                    graph.add("Identity", [full], layer)
            if first:
                x = graph.cast(x, f"{layer}.half", np.float16)
        if wanted:
            shapes[layer] = (1, weight.shape[0], rows, columns)
        if len(shapes) == len({*outputs, *masks}):
            break
        if pool:
            x = _pool(graph, x, f"{x}.pooled", pool)
    image = {"image": (1, *(size or ("height", "width")), 3)}
    return graph.model("forward", image, shapes, masks=masks if winograd else ())


def mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the mask of a feature map of this (height, width): a word for each of Winograd's squares.

    Examples
    --------
    >>> mask_size((12, 17))
    (3, 5)
    """
    return -(-size[0] // WINOGRAD_TILE), -(-size[1] // WINOGRAD_TILE)


def map_size(layer: str, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a feature map of an image of this (height, width).

    Examples
    --------
    >>> map_size("relu3_1", (47, 64))
    (12, 16)
    """
    window: int = 2 ** pools_before(layer)
    return -(-size[0] // window), -(-size[1] // window)


def _pool(graph: Graph, x: str, output: str, pooling: Pooling) -> str:
    op = "AveragePool" if pooling == "average" else "MaxPool"
    return graph.add(op, [x], output, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def adjoint_graph(
    weights: Weights,
    name: str,
    *,
    size: tuple[int, int] | None = None,
    half: bool = False,
    winograd: bool = False,
) -> onnx.ModelProto:
    """Graph from the gradient with respect to a convolution's output to that with respect to its input.

    A 3x3 convolution that keeps the size has as its adjoint the convolution with the kernel flipped in both axes and
    the channels swapped, under the same padding: a plain ``Conv``, which runs as fast as those of the forward pass.
    The gradient comes as ``padded`` (1, O, h + 2, w + 2), with its border, and leaves as ``gradient`` (1, I, h, w), or
    (1, h, w, 3) where the input is the image.

    Parameters
    ----------
    weights : Weights
    name : str
        Of the convolution.
    size : (height, width), optional
        Of its maps, if the graph is for one size only.
    half : bool
        Compute in float16, but for the first convolution. A further input, ``peak`` (1,), is the largest magnitude in
        ``padded``: by it the gradient is brought into float16's range, and back.
    winograd : bool
        As in `forward_graph`.
    """
    graph = Graph()
    convolution = next(c for c in weights.convolutions if c.name == name)
    weight = convolution.weight
    first = name == weights.convolutions[0].name
    if first:
        weight, _ = weights.preprocessing.fold(weight, convolution.bias, mean=True)
    adjoint = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    outer: tuple[int | str, ...] = ("rows", "columns") if size is None else (size[0] + 2, size[1] + 2)
    inner: tuple[int | str, ...] = ("height", "width") if size is None else size
    inputs: dict[str, tuple[int | str, ...]] = {"padded": (1, weight.shape[0], *outer)}
    shape: tuple[int | str, ...] = (1, weight.shape[1], *inner)

    def convolve(x: str, output: str) -> str:
        filters = adjoint.astype(np.float16 if half and not first else np.float32)
        if winograd:
            return graph.convolve_winograd(x, output, filters, np.zeros(len(filters), np.float32), "given", relu=False)
        return graph.add("Conv", [x, graph.constant("weight", filters)], output, kernel_shape=[3, 3])

    if first:
        graph.add("Transpose", [convolve("padded", "planes")], "gradient", perm=[0, 2, 3, 1])
        shape = (1, *inner, weight.shape[1])
    elif half:
        inputs["peak"] = (1,)
        least = graph.constant("least", np.array([1e-30], np.float32))
        most = graph.constant("most", np.array([HALF_PEAK], np.float32))
        unit = graph.add("Div", [most, graph.add("Max", ["peak", least], "magnitude")], "unit")
        x = convolve(graph.cast(graph.add("Mul", ["padded", unit], "scaled"), "half", np.float16), "adjoint")
        graph.add("Div", [graph.cast(x, "single", np.float32), unit], "gradient")
    else:
        convolve("padded", "gradient")
    return graph.model("adjoint", inputs, {"gradient": shape})


def model_file(weights: Weights, *, half: bool) -> onnx.ModelProto:
    """What a model file holds: the network as published, and in its metadata what pyengine must know of it.

    The graph runs as it is, from ``image`` (1, H, W, 3) RGB in [0, 1] to the deepest feature map, with zero padding and
    average pools; the engine takes only the weights from it. They are the published ones: preprocessing is in the
    graph, not folded in.

    Parameters
    ----------
    weights : Weights
    half : bool
        Store the weights as float16: half the size, features within 0.1 %. They are computed with in float32.
    """
    graph = Graph()
    pre = weights.preprocessing
    x = graph.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if pre.channels == "BGR":
        x = graph.add("Gather", [x, graph.constant("order", np.array([2, 1, 0]))], "ordered", axis=1)
    x = graph.add("Mul", [x, graph.constant("scale", np.array(pre.scale, np.float32))], "scaled")
    x = graph.add("Sub", [x, graph.constant("mean", np.array(pre.mean, np.float32).reshape(3, 1, 1))], "centred")
    x = graph.add("Div", [x, graph.constant("std", np.array(pre.std, np.float32).reshape(3, 1, 1))], "preprocessed")
    for convolution in weights.convolutions:
        if starts_block(convolution.name):
            x = _pool(graph, x, f"{x}.pooled", "average")
        parameters = []
        for part, array in (("weight", convolution.weight), ("bias", convolution.bias)):
            key = f"{convolution.name}.{part}"
            graph.constant(key, array.astype(np.float16 if half else np.float32))
            parameters.append(graph.cast(key, f"{key}.float32", np.float32) if half else key)
        x = graph.add("Conv", [x, *parameters], convolution.name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        x = graph.add("Relu", [x], relu_of(convolution.name))
    channels = weights.convolutions[-1].weight.shape[0]
    model = graph.model("vgg", {"image": (1, "height", "width", 3)}, {x: (1, channels, "rows", "columns")})
    model.producer_name = "pyengine"
    for key, value in {
        "pyengine": "1",  # version of this format
        "architecture": weights.architecture,
        "preprocessing": json.dumps(asdict(pre)),
        "convolutions": " ".join(convolution.name for convolution in weights.convolutions),
        "origin": weights.origin,
    }.items():
        model.metadata_props.add(key=key, value=value)
    return model
