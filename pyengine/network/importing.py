"""Reads the convolutions of a VGG-16 or VGG-19 out of other people's files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.errors import PyengineError
from pyengine.network.weights import (
    BLOCKS,
    CHANNELS,
    PREPROCESSINGS,
    Convolution,
    Weights,
    convolution_names,
)

Array = npt.NDArray[Any]

# How each framework names its convolutions. The numbers sort them; "preprocessing" is what its VGGs were trained on.
_NAMES = {
    "torchvision": re.compile(r"(?:^|[./:])features\.(\d+)(?!\d)"),
    "keras": re.compile(r"block([1-5])_conv([1-4])(?!\d)"),
    "caffe": re.compile(r"(?<![a-z])conv([1-5])_([1-4])(?!\d)"),
}
_PREPROCESSING = {"torchvision": "torchvision", "keras": "caffe", "caffe": "caffe"}


@dataclass(frozen=True)
class _Found:
    """A convolution in a file: who names it so, the numbers in its name, its arrays."""

    name: str
    framework: str | None
    numbers: tuple[int, ...]
    kernel: Array
    bias: Array


def read_weights(path: Path, name: str, *, preprocessing: str | None = None, deepest: str | None = None) -> Weights:
    """Weights of a VGG-16 or VGG-19 from an .onnx, .npz or .safetensors file.

    The layout is known from the arrays' names and shapes: torchvision's (``features.0.weight``, kernels (O, I, 3, 3)),
    Keras' (``block1_conv1``, kernels (3, 3, I, O), or (O, I, 3, 3) once converted to ONNX) or Caffe's (``conv1_1``,
    kernels (O, I, 3, 3)). It tells the preprocessing as well: torchvision's is RGB with the mean and deviation of
    ImageNet; Keras' and Caffe's is BGR in 0..255 minus the mean colour.

    Parameters
    ----------
    path : Path
    name : str
        What to call the model.
    preprocessing : {"caffe", "torchvision"}, optional
        Overrides what the names say; needed where they say nothing.
    deepest : str, optional
        Leave out everything behind this feature map, such as "relu4_2".

    Raises
    ------
    PyengineError
        The file is missing or broken, or does not hold the convolutions of a VGG-16 or VGG-19.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise PyengineError(f"model name {name!r}: use letters, digits, '.', '_' and '-', a letter or digit first")
    readers = {".onnx": _read_onnx, ".npz": _read_npz, ".safetensors": _read_safetensors}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise PyengineError(f"{path}: not a file that weights can be imported from: {', '.join(readers)}")
    if not path.is_file():
        raise PyengineError(f"{path}: no such file")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found = readers[suffix](path)
    except PyengineError:
        raise
    except Exception as error:  # these parsers raise whatever broken bytes lead them to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PyengineError(f"{path}: broken or truncated {suffix} file ({reason})") from None
    architecture, convolutions = _as_vgg(path, found)
    if preprocessing is None:
        if found[0].framework is None:
            raise PyengineError(
                f"{path}: its names ({found[0].name!r}) do not tell the preprocessing; "
                f"say --preprocessing {' or '.join(PREPROCESSINGS)}"
            )
        preprocessing = _PREPROCESSING[found[0].framework]
    weights = Weights(name, architecture, PREPROCESSINGS[preprocessing], convolutions, f"{path.name} sha256:{digest}")
    if deepest is None:
        return weights
    weights.check_layers((deepest,))
    kept = convolutions[: weights.layers.index(deepest) + 1]
    return Weights(name, architecture, weights.preprocessing, kept, weights.origin)


def _as_vgg(path: Path, found: list[_Found]) -> tuple[str, tuple[Convolution, ...]]:
    """The architecture whose first convolutions these are, in order, and they under its names."""
    if not found:
        raise PyengineError(f"{path}: no convolution in it is named as torchvision, Keras or Caffe name VGG's")
    for architecture, blocks in BLOCKS.items():
        outputs = [CHANNELS[block] for block, n in enumerate(blocks) for _ in range(n)]
        shapes = list(zip(outputs, [3, *outputs], strict=False))[: len(found)]
        if len(shapes) == len(found) and all(s in _channels(f) for s, f in zip(shapes, found, strict=True)):
            break
    else:
        listed = ", ".join("x".join(map(str, f.kernel.shape)) for f in found[:4])
        raise PyengineError(
            f"{path}: {len(found)} convolutions of shapes {listed}, ...: not those of a VGG-16 or VGG-19"
        )
    convolutions = []
    for name, (out, into), f in zip(convolution_names(architecture), shapes, found, strict=False):
        if f.framework in ("keras", "caffe") and name != "conv{}_{}".format(*f.numbers):
            raise PyengineError(f"{path}: {name} is missing; found {f.name!r} in its place")
        if f.bias.shape != (out,):
            raise PyengineError(f"{path}: bias of {f.name!r} has shape {f.bias.shape}, not ({out},)")
        kernel = f.kernel if f.kernel.shape == (out, into, 3, 3) else f.kernel.transpose(3, 2, 0, 1)
        if not (np.isfinite(kernel).all() and np.isfinite(f.bias).all()):
            raise PyengineError(f"{path}: {f.name!r} holds NaN or infinite weights")
        convolutions.append(
            Convolution(name, np.ascontiguousarray(kernel, np.float32), np.ascontiguousarray(f.bias, np.float32))
        )
    return architecture, tuple(convolutions)


def _channels(found: _Found) -> list[tuple[int, int]]:
    """(out, in) channels by every layout that the kernel's shape allows."""
    a, b, c, d = found.kernel.shape
    return [(a, b)] * ((c, d) == (3, 3)) + [(d, c)] * ((a, b) == (3, 3))


def _identify(names: list[str]) -> tuple[str | None, tuple[int, ...]]:
    """Framework and numbers in the first of `names` that any framework would give a convolution of a VGG."""
    for name in names:
        for framework, pattern in _NAMES.items():
            if match := pattern.search(name):
                return framework, tuple(int(number) for number in match.groups())
    return None, ()


def _read_onnx(path: Path) -> list[_Found]:
    """The 3x3 convolutions in the order of the graph; an exporter may have given the weights any name."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Constant":
            arrays |= {node.output[0]: numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"}
        elif node.op_type in ("Cast", "Identity") and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
        elif node.op_type == "BatchNormalization" and found:
            _refuse_normalised(path)
        elif node.op_type == "Conv":
            name = node.name or node.output[0]
            if not all(i in arrays for i in node.input[1:]) or len(node.input) != 3:
                raise PyengineError(f"{path}: convolution {name!r} has no constant kernel and bias")
            kernel, bias = arrays[node.input[1]], arrays[node.input[2]]
            framework, numbers = _identify([node.input[1], *node.output, node.name])
            found.append(_Found(name, framework, numbers, kernel, bias))
        elif node.op_type in ("Flatten", "Gemm", "MatMul"):  # the classifier: what it normalises is its own business
            break
    return found


def _read_npz(path: Path) -> list[_Found]:
    with np.load(path, allow_pickle=False) as file:
        return _pair(path, dict(file.items()))


def _read_safetensors(path: Path) -> list[_Found]:
    from safetensors.numpy import load_file

    return _pair(path, load_file(path))


def _pair(path: Path, arrays: dict[str, Array]) -> list[_Found]:
    """The convolutions among named arrays: those of four dimensions are kernels, of one their biases."""
    kernels: dict[tuple[int, ...], tuple[str, str, Array]] = {}
    biases: dict[tuple[int, ...], Array] = {}
    for name, array in arrays.items():
        framework, numbers = _identify([name])
        if framework is None or array.dtype.kind != "f":
            continue
        if "running_mean" in name:
            _refuse_normalised(path)
        if array.ndim == 4:
            kernels[numbers] = (name, framework, array)
        elif array.ndim == 1:
            biases[numbers] = array
    found = []
    for numbers, (name, framework, kernel) in sorted(kernels.items()):
        if numbers not in biases:
            raise PyengineError(f"{path}: no bias beside {name!r}")
        found.append(_Found(name, framework, numbers, kernel, biases[numbers]))
    return found


def _refuse_normalised(path: Path) -> None:
    raise PyengineError(f"{path}: a VGG with batch normalisation; import the plain VGG-16 or VGG-19")
