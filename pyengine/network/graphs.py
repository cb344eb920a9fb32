"""ONNX graphs of a model: the forward pass, and the adjoint of each convolution for the backward pass.

Inside a graph an image is (1, 3, H, W); outside it is (1, H, W, 3), RGB in [0, 1]. Feature maps are (1, C, H, W), under
the names of the architecture's layers. What stands between two convolutions in the backward pass, the pool's adjoint,
the ReLU's mask and the border, is one pass over memory in a kernel of ours (`Kernels.relu_gradient`); as ONNX nodes it
would be up to four.

Pools are 2x2 with stride 2. At an odd side the last window holds what is left, one row or column, and is the mean (or
maximum) of that: no pixel is dropped, and a pooled side is ``ceil(side / 2)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.model import Convolution, Model
from pyengine.wrap import Wrap

if TYPE_CHECKING:
    import onnx

Beyond = Literal["reflect", "zeros"]
"""What a network sees beyond a border that does not meet the opposite one."""


class Padding(NamedTuple):
    """What convolutions see beyond the borders of a map, in the order of its axes.

    Attributes
    ----------
    y : {"wrap", "reflect", "zeros"}
        What is above and below.
    x : {"wrap", "reflect", "zeros"}
        What is to the left and to the right.

    Examples
    --------
    >>> Padding.of(Wrap.of("x"), "reflect"), Padding.of(Wrap.of("x"), "reflect").wrap
    (Padding(y='reflect', x='wrap'), Wrap(y=False, x=True))
    """

    y: Literal["wrap"] | Beyond
    x: Literal["wrap"] | Beyond

    @classmethod
    def of(cls, wrap: Wrap, beyond: Beyond) -> Padding:
        """That of a map that wraps round in some axes."""
        return cls("wrap" if wrap.y else beyond, "wrap" if wrap.x else beyond)

    @property
    def wrap(self) -> Wrap:
        """The axes in which the map wraps round."""
        return Wrap(self.y == "wrap", self.x == "wrap")


WRAPPED = Padding("wrap", "wrap")

Pooling = Literal["average", "max"]

LEAST_SIDE = 16
"""Pixels that an image must have on its shorter side."""

OPSET = 19  # the first with Pad(mode="wrap")
IR_VERSION = 9

DOMAIN = "pyengine"
"""The domain of the operator Convolution, which is ours: see csrc/operator.cpp."""

BORDERS = {"given": 0, "zeros": 1, "wrap": 2, "reflect": 3}
"""Values of its attributes `border_y` and `border_x`."""

POOLS = {None: 0, "average": 1, "max": 2}
"""Values of its attribute `pool`."""

WINOGRAD_KERNEL = 3
"""Pixels on a side of the filters that it can compute with."""

WINOGRAD_TILE = 4
"""Pixels on a side of the squares in which it computes."""

HALF_SCALE = 2.0**-7
"""What activations are multiplied by in float16: VGG's reach 1e5 for images in 0..255, float16 ends at 65504."""

HALF_PEAK = 64.0
"""Largest magnitude of a gradient that enters a convolution in float16: sums over its channels must fit in."""

Shape = tuple[int | str, ...]
"""Sides of an array; a name where a side is left open."""


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

    def cast(self, x: str, output: str, kind: npt.DTypeLike) -> str:
        """Convert to another number type; returns the name of the output."""
        from onnx import helper

        return self.add("Cast", [x], output, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def pool(self, x: str, output: str, pooling: Pooling) -> str:
        """Mean or maximum of every 2x2 pixels; returns the name of the output."""
        op = "AveragePool" if pooling == "average" else "MaxPool"
        return self.add(op, [x], output, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)

    def pad(self, x: str, output: str, padding: Padding, border: int, sides: tuple[int, int] | None) -> str:
        """A border of some pixels, but for zeros, around a map of a (height, width), or for None any not too small."""
        if sides is None or not is_too_small(sides, padding, border):
            for mode in dict.fromkeys(own for own in padding if own != "zeros"):  # one node where both are alike
                widths = [border if own == mode else 0 for own in padding]
                pads = self.constant("border.{}.{}".format(*widths), np.array([0, 0, *widths] * 2, np.int64))
                x = self.add("Pad", [x, pads], f"{output}.padded.{mode}", mode=mode)
            return x
        # Pad takes each pixel once at most; this takes the pixels that a border repeats as often as they are in it.
        for axis, (own, side) in enumerate(zip(padding, sides, strict=True), start=2):
            if own != "zeros":
                picks = self.constant(f"border.{border}.{own}.{side}", np.pad(np.arange(side), border, mode=own))
                x = self.add("Gather", [x, picks], f"{output}.padded.{axis}", axis=axis)
        return x

    def convolve(
        self,
        x: str,
        output: str,
        filters: npt.NDArray[Any],
        bias: npt.NDArray[Any],
        padding: Padding,
        *,
        sides: tuple[int, int] | None = None,
    ) -> str:
        """Convolution that keeps the size, and the ReLU after it, whose result is `output`.

        `sides` are (height, width) of the map, if the graph is for one size only.
        """
        kernel = filters.shape[-1]
        border = kernel // 2
        if border:
            x = self.pad(x, output, padding, border, sides)
        pads = [border if own == "zeros" else 0 for own in padding] * 2
        inputs = [x, self.constant(f"{output}.weight", filters), self.constant(f"{output}.bias", bias)]
        x = self.add("Conv", inputs, f"{output}.sum", kernel_shape=[kernel, kernel], pads=pads)
        return self.add("Relu", [x], output)

    def convolve_winograd(
        self,
        x: str,
        output: str,
        filters: npt.NDArray[Any],
        bias: npt.NDArray[Any],
        padding: Padding | None,
        *,
        relu: bool = True,
        pooling: Pooling | None = None,
        mask: str | None = None,
    ) -> str:
        """The same by our own operator, and the pool after it; `mask` is what that tells of the map before the pool.

        Without a padding, `x` has its border already.
        """
        outputs = [output] if mask is None else [output, mask]
        borders = {f"border_{axis}": BORDERS["given" if padding is None else getattr(padding, axis)] for axis in "yx"}
        attributes: dict[str, Any] = {**borders, "relu": int(relu), "pool": POOLS[pooling]}
        inputs = [x, self.constant(f"{output}.weight", filters), self.constant(f"{output}.bias", bias)]
        return self.add("Convolution", inputs, *outputs, domain=DOMAIN, **attributes)

    def model(
        self, name: str, inputs: dict[str, Shape], outputs: dict[str, Shape], masks: tuple[str, ...] = ()
    ) -> onnx.ModelProto:
        """The nodes and the constants they use, with float32 inputs and outputs of these shapes; `masks` are uint16."""
        from onnx import TensorProto, helper

        def infos(shapes: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
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
    model: Model,
    outputs: tuple[str, ...],
    padding: Padding = WRAPPED,
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
    model : Model
    outputs : tuple of str
        The feature maps to return, such as ``("relu1_1", "relu4_1")``.
    padding : Padding
        What the convolutions see beyond the borders; by default "wrap" in both axes. "zeros" are those of the network:
        the mean colour of its training images.
    pooling : {"average", "max"}
        What the pools compute, by default "average".
    size : (height, width), optional
        The image's, in pixels, if the graph is for one size only; by default it is for any. It has to be for one where
        a feature map is smaller than its border: see `needs_size`.
    half : bool
        Compute in float16, but for the first convolution, which sees the image itself. Activations are kept at
        `HALF_SCALE` of their size, out of reach of float16's largest number; that is exact, since a ReLU network is
        homogeneous in its input and its biases. By default float32.
    winograd : bool
        Let our own operator do the 3x3 convolutions. It takes less than half the time, but runs on a CPU only. By
        default ONNX Runtime does all of them.
    masks : tuple of str
        Feature maps that are not among `outputs`, and of which is returned as little as the way back through ReLU and
        pool needs: from our own operator bits, uint16 (1, C, ceil(h / 4), ceil(w / 4)), else the maps themselves. By
        default none.

    Examples
    --------
    >>> from pyengine.network.modelfile import load
    >>> graph = forward_graph(load("vgg16"), ("relu2_1",), size=(32, 48)).graph
    >>> [(v.name, [dim.dim_value for dim in v.type.tensor_type.shape.dim]) for v in graph.output]
    [('relu2_1', [1, 128, 16, 24])]
    """
    graph = Graph()
    architecture = model.architecture
    x = graph.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if "zeros" in padding:
        mean = graph.constant("mean", model.preprocessing.mean_colour.reshape(1, 3, 1, 1))
        x = graph.add("Sub", [x, mean], "centred")
    shapes: dict[str, Shape] = {}
    bits: list[str] = []
    for convolution in model.up_to(architecture.deepest((*outputs, *masks))).convolutions:
        layer = convolution.layer
        name = layer.name
        sides = None if size is None else architecture.map_size(name, size)
        pool = pooling if architecture.pool_follows(name) else None
        filters, bias = _as_computed(model, convolution, mean="zeros" not in padding, half=half)
        height, width = sides or (f"{name}.height", f"{name}.width")
        if winograd and is_winograds(layer):
            if name in outputs:
                x = graph.convolve_winograd(x, name, filters, bias, padding)
            else:  # nobody wants the map before the pool
                mask = name if name in masks else None
                x = graph.convolve_winograd(x, f"{name}.map", filters, bias, padding, pooling=pool, mask=mask)
                pool = None
            if name in masks:
                bits.append(name)
                height, width = mask_size(sides) if sides else (f"{name}.rows", f"{name}.columns")
        elif half:
            kept = name in outputs or name in masks
            x = graph.convolve(x, f"{name}.scaled" if kept else name, filters, bias, padding, sides=sides)
            x = _leave_half(
                graph, x, name, output=name in outputs, mask=name in masks, first=name == architecture.first
            )
        else:
            x = graph.convolve(x, name, filters, bias, padding, sides=sides)
        if name in outputs or name in masks:
            shapes[name] = (1, layer.channels, height, width)
        if pool and len(shapes) < len({*outputs, *masks}):
            x = graph.pool(x, f"{x}.pooled", pool)
    image: dict[str, Shape] = {"image": (1, *(size or ("height", "width")), 3)}
    return graph.model("forward", image, shapes, masks=tuple(bits))


def _as_computed(
    model: Model, convolution: Convolution, *, mean: bool, half: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Filters and bias as the forward graph computes with them: the first take the image itself; see `HALF_SCALE`."""
    scale = np.float32(HALF_SCALE if half else 1)
    if convolution.layer.name == model.architecture.first:
        filters, bias = model.preprocessing.fold(convolution.filters, convolution.bias, mean=mean)
        return scale * filters, scale * bias
    kind = np.float16 if half else np.float32
    return convolution.filters.astype(kind), (scale * convolution.bias).astype(kind)


def _leave_half(graph: Graph, x: str, name: str, *, output: bool, mask: bool, first: bool) -> str:
    """Give out a map that was computed in float16 as float32, as an output in its own size; returns what goes on.

    The first map is computed in float32, and what goes on is float16.
    """
    if output:
        single = x if first else graph.cast(x, f"{name}.single", np.float32)
        graph.add("Mul", [single, graph.constant("unscale", np.array([1 / HALF_SCALE], np.float32))], name)
    elif mask and first:
        graph.add("Identity", [x], name)
    elif mask:
        graph.cast(x, name, np.float32)
    return graph.cast(x, f"{name}.half", np.float16) if first else x


def is_winograds(layer: Layer) -> bool:
    """Whether our own operator can do a layer's convolution; ONNX Runtime does the others."""
    return layer.kernel == WINOGRAD_KERNEL


def mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the mask of a feature map of this (height, width): a word for each of Winograd's squares.

    Examples
    --------
    >>> mask_size((12, 17))
    (3, 5)
    """
    return -(-size[0] // WINOGRAD_TILE), -(-size[1] // WINOGRAD_TILE)


def is_too_small(size: tuple[int, int], padding: Padding, border: int) -> bool:
    """Whether a map of this (height, width) has too few pixels for a border that repeats none of them.

    Examples
    --------
    >>> reflected = Padding("wrap", "reflect")
    >>> is_too_small((1, 4), reflected, 1), is_too_small((4, 1), reflected, 1), is_too_small((4, 1), reflected, 0)
    (False, True, False)
    """
    needed = {"wrap": border, "reflect": border + 1, "zeros": 0}
    return border > 0 and any(side < needed[own] for side, own in zip(size, padding, strict=True))


def needs_size(architecture: Architecture, size: tuple[int, int], padding: Padding) -> bool:
    """Whether a forward graph for images of this (height, width) has to be for this size only."""
    return any(
        is_too_small(architecture.map_size(layer.name, size), padding, layer.border) for layer in architecture.layers
    )


def adjoint_graph(
    model: Model,
    name: str,
    *,
    size: tuple[int, int] | None = None,
    half: bool = False,
    winograd: bool = False,
) -> onnx.ModelProto:
    """Graph from the gradient with respect to a convolution's output to that with respect to its input.

    A convolution that keeps the size has as its adjoint the convolution with the kernel flipped in both axes and the
    channels swapped, under the same padding: a plain ``Conv``, which runs as fast as those of the forward pass. In an
    axis under reflection it is the one under zeros, with what `Reflection` adds along the border. The gradient comes as
    ``padded`` (1, O, h + 2b, w + 2b), with a border of the kernel's b pixels, and leaves as ``gradient`` (1, I, h, w),
    or (1, h, w, 3) where the input is the image.

    Parameters
    ----------
    model : Model
    name : str
        The layer whose convolution it is.
    size : (height, width), optional
        The size of its maps, if the graph is for one only; by default it is for any.
    half : bool
        Compute in float16, but for the first convolution. A further input, ``peak`` (1,), is the largest magnitude in
        ``padded``: by it the gradient is brought into float16's range, and back. By default float32.
    winograd : bool
        See `forward_graph`. Default: False.
    """
    graph = Graph()
    first = name == model.architecture.first
    half = half and not first
    layer, filters = model.architecture[name], adjoint_filters(model, name).astype(np.float16 if half else np.float32)
    border = 2 * layer.border
    outer: Shape = ("rows", "columns") if size is None else (size[0] + border, size[1] + border)
    inner: Shape = ("height", "width") if size is None else size
    inputs: dict[str, Shape] = {"padded": (1, layer.channels, *outer)}
    shape: Shape = (1, layer.inputs, *inner)

    def convolve(x: str, output: str) -> str:
        if winograd and is_winograds(layer):
            bias = np.zeros(layer.inputs, np.float32)
            return graph.convolve_winograd(x, output, filters, bias, None, relu=False)
        return graph.add("Conv", [x, graph.constant("weight", filters)], output, kernel_shape=[layer.kernel] * 2)

    if first:
        graph.add("Transpose", [convolve("padded", "planes")], "gradient", perm=[0, 2, 3, 1])
        shape = (1, *inner, layer.inputs)
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


def adjoint_filters(model: Model, name: str) -> Float32:
    """Filters of the adjoint of a layer's convolution: flipped in both axes, with inputs and outputs exchanged."""
    convolution = model[name]
    filters = convolution.filters
    if name == model.architecture.first:
        filters, _ = model.preprocessing.fold(filters, convolution.bias, mean=True)
    return filters.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
