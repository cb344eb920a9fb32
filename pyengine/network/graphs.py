"""ONNX graphs of a VGG: the forward pass, and the backward pass derived from it.

Inside a graph an image is (1, 3, H, W); outside it is (1, H, W, 3), RGB in [0, 1]. Feature maps are (1, C, H, W), named
after their ReLU: relu1_1, relu1_2, ... The gradient that a loss gives for a feature map enters the backward graph as
``gradient/relu1_1``; the gradient with respect to the image leaves it as ``gradient/image``.

Pools are 2x2 with stride 2. At an odd side the last window holds what is left, one row or column, and is the mean (or
maximum) of that: no pixel is dropped, and a pooled side is ``ceil(side / 2)``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.network.weights import Weights, relu_of, starts_block

if TYPE_CHECKING:
    import onnx

Padding = Literal["wrap", "zeros", "reflect"]
Pooling = Literal["average", "max"]

OPSET = 19  # the first with Pad(mode="wrap")
IR_VERSION = 9


class Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Keep a constant, unless there is one of this name; returns the name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def convolve(self, x: str, output: str, weight: Float32, bias: str, padding: str) -> str:
        """3x3 convolution that keeps the size; `bias` names a constant, or is empty."""
        inputs = [x, self.constant(f"{output}.weight", weight)]
        if padding == "zeros":
            pads = [1, 1, 1, 1]
        else:
            border = self.constant("border", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
            inputs[0] = self.add("Pad", [x, border], f"{output}.padded", mode=padding)
            pads = [0, 0, 0, 0]
        if bias:
            inputs.append(bias)
        return self.add("Conv", inputs, output, kernel_shape=[3, 3], pads=pads)

    def model(
        self, name: str, inputs: dict[str, tuple[int | str, ...]], outputs: dict[str, tuple[int | str, ...]]
    ) -> onnx.ModelProto:
        """The nodes and the constants they use, with float32 inputs and outputs of these shapes."""
        from onnx import TensorProto, helper

        def infos(shapes: dict[str, tuple[int | str, ...]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(k, TensorProto.FLOAT, list(v)) for k, v in shapes.items()]

        used = {i for node in self.nodes for i in node.input}
        constants = [tensor for key, tensor in self.constants.items() if key in used]
        graph = helper.make_graph(self.nodes, name, infos(inputs), infos(outputs), constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's inputs and outputs by name."""
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in [*model.graph.input, *model.graph.output]
    }


def forward_graph(
    weights: Weights,
    size: tuple[int, int],
    outputs: tuple[str, ...],
    padding: Padding = "wrap",
    pooling: Pooling = "average",
) -> onnx.ModelProto:
    """Graph from the image to feature maps, no deeper than the deepest of them.

    Parameters
    ----------
    weights : Weights
    size : (height, width)
        Of the image, in pixels.
    outputs : tuple of str
        The feature maps to return, such as ``("relu1_1", "relu4_1")``.
    padding : {"wrap", "zeros", "reflect"}
        What the convolutions see beyond the border. "zeros" are those of the network: the mean colour of its
        training images.
    pooling : {"average", "max"}

    Examples
    --------
    >>> from pyengine.network.weights import load
    >>> shapes_of(forward_graph(load("vgg16"), (32, 48), ("relu2_1",)))
    {'image': (1, 32, 48, 3), 'relu2_1': (1, 128, 16, 24)}
    """
    graph = Graph()
    preprocessing = weights.preprocessing
    x = graph.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if padding == "zeros":
        mean = graph.constant("mean", preprocessing.mean_colour.reshape(1, 3, 1, 1))
        x = graph.add("Sub", [x, mean], "centred")
    h, w = size
    shapes: dict[str, tuple[int | str, ...]] = {}
    for convolution in weights.convolutions:
        name, weight, bias = convolution.name, convolution.weight, convolution.bias
        if name == weights.convolutions[0].name:
            weight, bias = preprocessing.fold(weight, bias, mean=padding != "zeros")
        if starts_block(name):
            x = _pool(graph, x, f"{x}.pooled", pooling)
            h, w = -(-h // 2), -(-w // 2)
        # One pixel has no neighbour to reflect, but itself.
        mode = "edge" if padding == "reflect" and min(h, w) == 1 else padding
        x = graph.convolve(x, name, weight, graph.constant(f"{name}.bias", bias), mode)
        x = graph.add("Relu", [x], relu_of(name))
        if x in outputs:
            shapes[x] = (1, weight.shape[0], h, w)
        if len(shapes) == len(outputs):
            break
    return graph.model("forward", {"image": (1, *size, 3)}, shapes)


def _pool(graph: Graph, x: str, output: str, pooling: Pooling) -> str:
    op = "AveragePool" if pooling == "average" else "MaxPool"
    return graph.add(op, [x], output, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def backward_graph(forward: onnx.ModelProto, layers: tuple[str, ...]) -> onnx.ModelProto:
    """Graph from gradients with respect to feature maps to the gradient with respect to the image.

    The forward graph is walked in reverse. A 3x3 convolution that keeps the size has as its adjoint the convolution
    with the kernel flipped in both axes and the channels swapped, under the same padding; so there are only plain
    ``Conv`` nodes here, which run as fast as those of the forward pass.

    Parameters
    ----------
    forward : onnx.ModelProto
        From `forward_graph`, wrap or zero padding, with every ReLU up to the deepest of `layers` among its outputs: the
        ReLUs' masks are taken from them.
    layers : tuple of str
        The feature maps for which a gradient will be given.
    """
    from onnx import numpy_helper

    graph = Graph()
    constants = {tensor.name: tensor for tensor in forward.graph.initializer}
    made_by = {node.output[0]: node for node in forward.graph.node}
    shapes = shapes_of(forward)
    inputs: dict[str, tuple[int | str, ...]] = {}
    gradient = ""
    for node in reversed(forward.graph.node):
        value, source = node.output[0], node.input[0]
        if value in layers:
            entering = f"gradient/{value}"
            inputs[entering] = shapes[value]
            gradient = graph.add("Add", [gradient, entering], f"{value}.sum") if gradient else entering
        if not gradient:  # deeper than the deepest layer in use
            continue
        if node.op_type == "Relu":
            # 1 where the map is positive, else 0: min(1, max(0, 1e37 x)) in one pass; a comparison and a cast take
            # two, and ONNX Runtime's Where is six times as slow.
            inputs[value] = shapes[value]
            mask = graph.add("HardSigmoid", [value], f"{value}.mask", alpha=1e37, beta=0.0)
            gradient = graph.add("Mul", [gradient, mask], f"{value}.masked")
        elif node.op_type == "Conv":
            weight = numpy_helper.to_array(constants[node.input[1]])
            adjoint = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
            padding = "zeros"
            if made_by[source].op_type == "Pad":
                padding = made_by[source].attribute[0].s.decode()
                if padding != "wrap":  # reflected borders would have to be added up
                    raise ValueError(f"there is no backward graph under {padding!r} padding")
                source = made_by[source].input[0]
            if made_by[source].op_type.endswith("Pool"):
                adjoint = adjoint / 4  # the pool's own factor, see _unpool
            gradient = graph.convolve(gradient, f"{value}.adjoint", adjoint, "", padding)
        elif node.op_type.endswith("Pool"):
            gradient = _unpool(graph, gradient, source, shapes[source], node.op_type)
        elif node.op_type == "Transpose":
            gradient = graph.add("Transpose", [gradient], "gradient/image", perm=[0, 2, 3, 1])
    return graph.model("backward", inputs, {"gradient/image": shapes["image"]})


def _unpool(graph: Graph, gradient: str, source: str, shape: tuple[int, ...], op: str) -> str:
    """Adjoint of a 2x2 pool of `source`, times 4: the quarter is in the kernel of the convolution before."""
    name = f"{source}.unpooled"
    h, w = shape[2:]
    double = graph.constant("double", np.array([1, 1, 2, 2], np.float32))

    def spread(x: str, output: str) -> str:
        """Every window's value at each of its pixels."""
        x = graph.add(
            "Resize", [x, "", double], output, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        if h % 2 or w % 2:
            ends = graph.constant(f"{source}.ends", np.array([h, w], np.int64))
            starts = graph.constant("starts", np.array([0, 0], np.int64))
            axes = graph.constant("axes", np.array([2, 3], np.int64))
            x = graph.add("Slice", [x, starts, ends, axes], f"{output}.cropped")
        return x

    if op == "MaxPool":
        from onnx import TensorProto

        # Pixels that share their window's maximum share its gradient equally.
        maximum = spread(_pool(graph, source, f"{name}.maximum", "max"), f"{name}.maxima")
        equal = graph.add("Equal", [source, maximum], f"{name}.equal")
        chosen = graph.add("Cast", [equal], f"{name}.chosen", to=TensorProto.FLOAT)
        share = _pool(graph, chosen, f"{name}.share", "average")
        gradient = graph.add("Div", [gradient, share], f"{name}.divided")
    gradient = spread(gradient, name)
    if op == "MaxPool":
        gradient = graph.add("Mul", [gradient, chosen], f"{name}.routed")
    if h % 2 or w % 2:  # the last windows hold fewer pixels, so each of these weighs more
        rows, columns = np.ones((h, 1), np.float32), np.ones((1, w), np.float32)
        rows[-1, 0] += h % 2
        columns[0, -1] += w % 2
        scale = graph.constant(f"{source}.edge", (rows * columns)[None, None])
        gradient = graph.add("Mul", [gradient, scale], f"{name}.weighed")
    return gradient


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
    from onnx import TensorProto

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
            parameters.append(graph.add("Cast", [key], f"{key}.float32", to=TensorProto.FLOAT) if half else key)
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
