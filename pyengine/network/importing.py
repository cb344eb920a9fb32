"""Reads the convolutions of a VGG-16 or VGG-19 out of other people's files."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyengine.errors import PyengineError
from pyengine.network.weights import (
    BLOCKS,
    PREPROCESSINGS,
    Convolution,
    Weights,
    convolution_shapes,
    is_own,
    reason,
    unpack,
)

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]

# How each framework names its convolutions, by numbers that sort them, and what its VGGs were trained on.
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
    ImageNet; Keras' and Caffe's is BGR in 0..255 minus the mean colour. A model file of pyengine's own says both.

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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.onnx)", name):  # that suffix says that it is a path
        raise PyengineError(
            f"model name {name!r}: use letters, digits, '.', '_' and '-', a letter or digit first, no .onnx"
        )
    readers = {".onnx": _read_onnx, ".npz": _read_npz, ".safetensors": _read_safetensors}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise PyengineError(f"{path}: not a file that weights can be imported from: {', '.join(readers)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PyengineError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise PyengineError(f"{path}: the file is empty")
    try:
        found = readers[suffix](path)
    except PyengineError:
        raise
    except Exception as error:  # these parsers raise whatever broken bytes lead them to
        raise PyengineError(f"{path}: broken or truncated {suffix} file ({reason(error)})") from None
    if isinstance(found, Weights):
        weights = replace(found, name=name)
        if preprocessing is not None:
            weights = replace(weights, preprocessing=PREPROCESSINGS[preprocessing])
    else:
        architecture, convolutions = _as_vgg(path, found)
        if preprocessing is None:
            if found[0].framework is None:
                raise PyengineError(
                    f"{path}: its names ({found[0].name!r}) do not tell the preprocessing; "
                    f"say --preprocessing {' or '.join(PREPROCESSINGS)}"
                )
            preprocessing = _PREPROCESSING[found[0].framework]
        origin = f"{path.name} sha256:{hashlib.sha256(content).hexdigest()}"
        weights = Weights(name, architecture, PREPROCESSINGS[preprocessing], convolutions, origin)
    if deepest is None:
        return weights
    weights.check_layers((deepest,))
    return replace(weights, convolutions=weights.convolutions[: weights.layers.index(deepest) + 1])


def _as_vgg(path: Path, found: list[_Found]) -> tuple[str, tuple[Convolution, ...]]:
    """The architecture whose first convolutions these are, in order, and they under its names."""
    if not found:
        raise PyengineError(f"{path}: no convolution in it is named as torchvision, Keras or Caffe name VGG's")
    mismatches = {architecture: _mismatch(architecture, found) for architecture in BLOCKS}
    architecture, (matching, problem) = max(mismatches.items(), key=lambda item: item[1][0])
    if matching < len(found):
        raise PyengineError(f"{path}: not a VGG-16 or VGG-19: {problem}")
    convolutions = []
    for (name, shape), f in zip(convolution_shapes(architecture).items(), found, strict=False):
        kernel = f.kernel if f.kernel.shape == shape else f.kernel.transpose(3, 2, 0, 1)
        if f.bias.shape != shape[:1]:
            raise PyengineError(f"{path}: bias of {f.name!r} has shape {f.bias.shape}, not {shape[:1]}")
        for array in (kernel, f.bias):
            if array.dtype.kind != "f" and array.dtype.name != "bfloat16":  # which numpy takes for an unknown kind
                raise PyengineError(f"{path}: {f.name!r} holds {array.dtype}; save it as float32 and import that")
        with np.errstate(over="ignore"):  # of float64: what is then infinite is refused
            kernel, bias = np.ascontiguousarray(kernel, np.float32), np.ascontiguousarray(f.bias, np.float32)
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise PyengineError(f"{path}: {f.name!r} holds NaN or infinite weights")
        convolutions.append(Convolution(name, kernel, bias))
    return architecture, tuple(convolutions)


def _mismatch(architecture: str, found: list[_Found]) -> tuple[int, str]:
    """How many convolutions are those of the architecture, from the first, and what is wrong with the next."""
    shapes = convolution_shapes(architecture)
    for i, (f, name) in enumerate(zip(found, shapes, strict=False)):
        block, number = map(int, name.removeprefix("conv").split("_"))
        # torchvision counts ReLUs and pools as well.
        expected = (2 * i + block - 1,) if f.framework == "torchvision" else (block, number)
        if f.framework is not None and f.numbers != expected:
            return i, f"{name} is missing; found {f.name!r} in its place"
        out, into = shapes[name][:2]
        if f.kernel.shape not in ((out, into, 3, 3), (3, 3, into, out)):
            return i, f"{f.name!r} has shape {f.kernel.shape}, {name} {shapes[name]}"
    return min(len(found), len(shapes)), f"{len(found)} convolutions"


def _identify(names: list[str]) -> tuple[str | None, tuple[int, ...]]:
    """Framework and numbers in the first of `names` that any framework would give a convolution of a VGG."""
    for name in names:
        for framework, pattern in _NAMES.items():
            if match := pattern.search(name):
                return framework, tuple(int(number) for number in match.groups())
    return None, ()


def _read_onnx(path: Path) -> list[_Found] | Weights:
    """The convolutions in the order of the graph; an exporter may have given the weights any name."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    if is_own(model):
        return unpack(path, model)
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found: list[_Found] = []
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    arrays[node.output[0]] = numpy_helper.to_array(attribute.t)
        elif node.op_type in ("Cast", "Identity") and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
        elif node.op_type == "BatchNormalization" and found:
            _refuse_normalised(path)
        elif node.op_type == "Conv":
            name = node.name or node.output[0]
            if not all(i in arrays for i in node.input[1:]) or len(node.input) != 3:
                raise PyengineError(f"{path}: convolution {name!r} has no constant kernel and bias")
            _check_attributes(path, name, node)
            kernel, bias = arrays[node.input[1]], arrays[node.input[2]]
            framework, numbers = _identify([node.input[1], *node.output, node.name])
            found.append(_Found(name, framework, numbers, kernel, bias))
        elif node.op_type in ("Flatten", "Gemm", "MatMul"):  # the classifier: what it normalises is its own business
            break
    return found


def _check_attributes(path: Path, name: str, node: onnx.NodeProto) -> None:
    """Refuse a convolution that is not of stride 1 or does not keep the size, as all of a VGG's do."""
    from onnx.helper import get_attribute_value

    ones = [1, 1]
    found = {"strides": ones, "dilations": ones, "group": 1, "pads": [0] * 4}  # ONNX's defaults
    given = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    found |= {key: given[key] for key in found if key in given}
    if given.get("auto_pad") in (b"SAME_UPPER", b"SAME_LOWER"):  # which, for a 3x3 kernel of stride 1, is one all round
        found["pads"] = [1] * 4
    for key, expected in {"strides": ones, "dilations": ones, "group": 1, "pads": [1] * 4}.items():
        if found[key] != expected:
            raise PyengineError(
                f"{path}: not a VGG-16 or VGG-19: convolution {name!r} has {key} {found[key]}, not {expected}"
            )


def _read_npz(path: Path) -> list[_Found]:
    with np.load(path, allow_pickle=False) as file:
        return _pair(path, dict(file.items()))


def _read_safetensors(path: Path) -> list[_Found]:
    from safetensors.numpy import load_file

    with suppress(ImportError):  # onnx brings it since 1.19; it teaches numpy bfloat16
        import ml_dtypes  # noqa: F401
    return _pair(path, load_file(path))


def _pair(path: Path, arrays: dict[str, Array]) -> list[_Found]:
    """The convolutions among named arrays: those of four dimensions are kernels, of one their biases."""
    named = {name: identity for name in arrays if (identity := _identify([name]))[0] is not None}
    if any("running_mean" in name for name in named):
        _refuse_normalised(path)
    parts: dict[tuple[int, tuple[int, ...]], str] = {}  # names by dimensions and numbers
    for name, (_, numbers) in named.items():
        other = parts.setdefault((arrays[name].ndim, numbers), name)
        if arrays[name].ndim in (1, 4) and other != name:
            raise PyengineError(f"{path}: {other!r} and {name!r} are named as the same convolution; keep one of them")
    found = []
    for (dimensions, numbers), name in sorted(parts.items()):
        if dimensions == 4:
            if (1, numbers) not in parts:
                raise PyengineError(f"{path}: no bias beside {name!r}")
            found.append(_Found(name, named[name][0], numbers, arrays[name], arrays[parts[1, numbers]]))
    return found


def _refuse_normalised(path: Path) -> None:
    raise PyengineError(f"{path}: a VGG with batch normalisation; import the plain VGG-16 or VGG-19")
