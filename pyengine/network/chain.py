"""Reads what a network is made of out of an ONNX graph: a plain chain of convolutions, ReLUs and 2x2 pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Link:
    """A convolution of a chain with the ReLU after it.

    Attributes
    ----------
    convolution, relu : str
        What the graph calls their outputs.
    filters, bias : array (O, I, K, K), (O,)
        In whatever type the file holds.
    pooled : bool
        Whether a pool stands in front of the convolution.
    """

    convolution: str
    relu: str
    filters: Array
    bias: Array
    pooled: bool


def read_chain(graph: onnx.GraphProto, start: str, *, own: bool) -> list[Link]:
    """The links of the chain that begins at a tensor.

    Convolutions have stride 1 and keep the size; pools are of 2x2 pixels and halve it.

    Parameters
    ----------
    graph : GraphProto
    start : str
        The tensor that the first convolution takes.
    own : bool
        Whether the graph is one that pyengine wrote. Then the chain has to end where the graph does, and pools are
        those that the engine computes: averages that round an odd side up. In other people's graphs any pool will do,
        and what does not lead to a convolution, such as a classifier behind the last one, is of no interest.

    Raises
    ------
    ValueError
        The graph is no such chain; the message says where.
    """
    constants = constants_of(graph)
    links: list[Link] = []
    pooled = False
    x = start
    seen = {start}
    while (node := _follower(graph, x, own=own)) is not None:
        if node.op_type == "Conv":
            relu = _follower(graph, node.output[0], own=True)
            if relu is None or relu.op_type != "Relu":
                raise ValueError(f"no Relu follows the convolution {node.output[0]!r}")
            filters, bias = parameters(node, constants)
            check_convolution(node, filters)
            links.append(Link(node.output[0], relu.output[0], filters, bias, pooled))
            pooled, node = False, relu
        elif node.op_type in ("AveragePool", "MaxPool"):
            if pooled or not links:
                raise ValueError(f"the pool {node.output[0]!r} does not stand behind a Relu")
            _check_pool(node, own=own)
            pooled = True
        else:
            raise ValueError(f"{node.op_type} {node.output[0]!r} is none of Conv, Relu and a pool")
        x = node.output[0]
        if x in seen:
            raise ValueError(f"{x!r} comes out of two nodes")
        seen.add(x)
    if own and pooled:
        raise ValueError(f"nothing follows the pool {x!r}")
    return links


def constants_of(graph: onnx.GraphProto) -> dict[str, Array]:
    """The constant tensors of a graph by name: its initialisers, and what nodes make of them without computing."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = numpy_helper.to_array(attribute.t)
        elif node.op_type in ("Cast", "Identity") and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def parameters(node: onnx.NodeProto, constants: dict[str, Array]) -> tuple[Array, Array]:
    """Filters and bias of a convolution."""
    if len(node.input) != 3 or not all(name in constants for name in node.input[1:]):
        raise ValueError(f"convolution {name_of(node)!r} has no constant kernel and bias")
    return constants[node.input[1]], constants[node.input[2]]


def check_convolution(node: onnx.NodeProto, filters: Array) -> None:
    """Raise ValueError for a convolution that is not of stride 1, does not keep the size or is otherwise special."""
    name = f"convolution {name_of(node)!r}"
    if filters.ndim != 4 or filters.shape[2] != filters.shape[3] or filters.shape[2] % 2 == 0:
        raise ValueError(f"{name} has filters of shape {filters.shape}, not square with an odd side")
    check_attributes(node, filters.shape[2])


def check_attributes(node: onnx.NodeProto, kernel: int) -> None:
    """Raise ValueError for a convolution that does not keep the size with a kernel of so many pixels on a side."""
    ones, border = [1, 1], [kernel // 2] * 4
    sides = [kernel, kernel]
    found = _attributes(node, strides=ones, dilations=ones, group=1, pads=[0] * 4, kernel_shape=sides)
    if found.get("auto_pad") in (b"SAME_UPPER", b"SAME_LOWER"):  # which, for an odd kernel of stride 1, are all alike
        found["pads"] = border
    expectations = {"strides": ones, "dilations": ones, "group": 1, "pads": border, "kernel_shape": sides}
    for key, expected in expectations.items():
        if found[key] != expected:
            raise ValueError(f"convolution {name_of(node)!r} has {key} {found[key]}, not {expected}")


def name_of(node: onnx.NodeProto) -> str:
    """What to call a node in a message."""
    return node.name or node.output[0]


def as_float32(name: str, filters: Array, bias: Array) -> tuple[Float32, Float32]:
    """Filters (O, I, K, K) and bias (O,) of a convolution, once their numbers have turned out to be usable.

    Raises
    ------
    ValueError
        They are no floating point numbers, not finite, or do not belong together.
    """
    if bias.shape != filters.shape[:1]:
        raise ValueError(f"bias of {name!r} has shape {bias.shape}, not {filters.shape[:1]}")
    for array in (filters, bias):
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":  # which numpy takes for an unknown kind
            raise ValueError(f"{name!r} holds {array.dtype}; save it as float32 and import that")
    with np.errstate(over="ignore"):  # a float64 that becomes infinite is refused below
        filters, bias = np.ascontiguousarray(filters, np.float32), np.ascontiguousarray(bias, np.float32)
    if not (np.isfinite(filters).all() and np.isfinite(bias).all()):
        raise ValueError(f"{name!r} holds NaN or infinite weights")
    return filters, bias


def _follower(graph: onnx.GraphProto, x: str, *, own: bool) -> onnx.NodeProto | None:
    """The only node that takes a tensor, or None where the chain ends: for `own`, see `read_chain`."""
    nodes = [node for node in graph.node if x in node.input and (own or _leads_to_convolution(graph, node))]
    if len(nodes) > 1:
        raise ValueError(f"{x!r} goes to {len(nodes)} nodes, and a chain has no branches")
    if nodes and nodes[0].input[0] != x:
        raise ValueError(f"{x!r} is no first input of {nodes[0].op_type} {name_of(nodes[0])!r}")
    return nodes[0] if nodes else None


def _leads_to_convolution(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution, or what it computes arrives at one."""
    if node.op_type == "Conv":
        return True
    reached = set(node.output)
    for other in graph.node:  # in an order in which no node comes before what it takes
        if reached.intersection(other.input):
            if other.op_type == "Conv":
                return True
            reached.update(other.output)
    return False


def _check_pool(node: onnx.NodeProto, *, own: bool) -> None:
    twos = [2, 2]
    found = _attributes(node, kernel_shape=None, strides=[1, 1], pads=[0] * 4, ceil_mode=0, dilations=[1, 1])
    expected: dict[str, Any] = {"kernel_shape": twos, "strides": twos, "pads": [0] * 4, "dilations": [1, 1]}
    if own:
        expected["ceil_mode"] = 1
        if node.op_type != "AveragePool":
            raise ValueError(f"pool {name_of(node)!r} is a {node.op_type}, not an AveragePool")
    for key, value in expected.items():
        if found[key] != value:
            raise ValueError(f"pool {name_of(node)!r} has {key} {found[key]}, not {value}")


def _attributes(node: onnx.NodeProto, **defaults: Any) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    return defaults | {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
