"""Makes models of other people's files: of VGG-16 and VGG-19 in any layout, and of other chains of layers in ONNX."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyengine.errors import PyengineError
from pyengine.files import one_line, pieces
from pyengine.network.architecture import RESERVED, USABLE_NAME, Architecture, Layer
from pyengine.network.chain import (
    Link,
    as_float32,
    check_attributes,
    constants_of,
    name_of,
    parameters,
    read_chain,
)
from pyengine.network.model import PREPROCESSINGS, Convolution, Model
from pyengine.network.modelfile import is_own, reason, unpack
from pyengine.network.vgg import VGGS

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]

# How each framework names a VGG's convolutions, by numbers that sort them, and what it trained its VGGs on.
_NAMES = {
    "torchvision": re.compile(r"(?:^|[./:])features\.(\d+)(?!\d)"),
    "keras": re.compile(r"block([1-5])_conv([1-4])(?!\d)"),
    "caffe": re.compile(r"(?<![a-z])conv([1-5])_([1-4])(?!\d)"),
}
_PREPROCESSING = {"torchvision": "torchvision", "keras": "caffe", "caffe": "caffe"}


class _NotVgg(PyengineError):
    """The convolutions in a file are not those of a VGG."""


@dataclass(frozen=True)
class _Stored:
    """An array in a file, which is read once its shape is known to be right: a small file may hold a huge one."""

    shape: tuple[int, ...]
    read: Callable[[], Array]


@dataclass(frozen=True)
class _Found:
    """A convolution in a file: who names it so, the numbers in its name, its arrays."""

    name: str
    framework: str | None
    numbers: tuple[int, ...]
    filters: _Stored
    bias: _Stored


def read_foreign(path: Path, name: str, *, preprocessing: str | None = None, deepest: str | None = None) -> Model:
    """The model in an .onnx, .npz or .safetensors file.

    The layout of a VGG-16 or VGG-19 is known from the arrays' names and shapes: torchvision's (``features.0.weight``,
    kernels (O, I, 3, 3)), Keras' (``block1_conv1``, kernels (3, 3, I, O), or (O, I, 3, 3) once converted to ONNX) or
    Caffe's (``conv1_1``, kernels (O, I, 3, 3)). It tells the preprocessing as well: torchvision's is RGB with the mean
    and deviation of ImageNet; Keras' and Caffe's is BGR in 0..255 minus the mean colour.

    Any other network has to be an ONNX graph that is a plain chain of convolutions of stride 1, ReLUs and 2x2 pools.
    Its layers are called as the graph calls the outputs of its ReLUs, or if these names can't be used, relu1_1,
    relu1_2, relu2_1, ..., where the first number counts the pools. A model file of pyengine's own is read as it is.

    Parameters
    ----------
    path : Path
    name : str
        What to call the model.
    preprocessing : {"caffe", "torchvision"}, optional
        What the network was trained on. By default what a VGG's names say; needed where they say nothing, and for any
        other network.
    deepest : str, optional
        Leave out everything behind this feature map, such as "relu4_2". By default nothing is left out.

    Raises
    ------
    PyengineError
        The file is missing or broken, or does not hold such a network.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.onnx)", name):  # that suffix says that it is a path
        raise PyengineError(
            f"model name {name!r}: use letters, digits, '.', '_' and '-', a letter or digit first, no .onnx"
        )
    if preprocessing is not None and preprocessing not in PREPROCESSINGS:
        raise PyengineError(f"preprocessing {preprocessing!r}: give {' or '.join(PREPROCESSINGS)}")
    readers = {".onnx": _read_onnx, ".npz": _read_npz, ".safetensors": _read_safetensors}
    suffix = path.suffix.lower()
    if suffix in (".pth", ".pt"):
        command = (
            "import torch, safetensors.torch as s; "
            f's.save_file(torch.load("{path}", weights_only=True), "{path.stem}.safetensors")'
        )
        raise PyengineError(
            f"{path}: a pickle, which may run code, is not opened: convert it where PyTorch is: python -c '{command}'"
        )
    if suffix not in readers:
        raise PyengineError(f"{path}: not a file that weights can be imported from: {', '.join(readers)}")
    try:
        size, sha256 = _measured(path)
    except (OSError, ValueError) as error:
        raise PyengineError(f"{path}: cannot be read ({one_line(error)})") from None
    if not size:
        raise PyengineError(f"{path}: the file is empty")
    try:
        model = readers[suffix](path, preprocessing)
    except PyengineError:
        raise
    except Exception as error:  # these parsers raise whatever broken bytes lead them to
        raise PyengineError(f"{path}: broken or truncated {suffix} file ({reason(error)})") from None
    if not model.origin:
        model = replace(model, origin=f"{path.name} sha256:{sha256}")
    model = replace(model, name=name)
    return model if deepest is None else model.up_to(deepest)


def _measured(path: Path) -> tuple[int, str]:
    """Size and hash of a file, which never lies in memory as a whole."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces(path):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _read_onnx(path: Path, preprocessing: str | None) -> Model:
    import onnx

    file = onnx.load(path)
    if is_own(file):
        model = unpack(path, file)
        return model if preprocessing is None else replace(model, preprocessing=PREPROCESSINGS[preprocessing])
    try:
        return _as_vgg(path, _convolutions_of(path, file.graph), preprocessing)
    except _NotVgg as problem:
        if preprocessing is None:
            raise PyengineError(
                f"{problem}; if it is another chain of convolutions, ReLUs and 2x2 pools, say --preprocessing "
                f"{' or '.join(PREPROCESSINGS)}"
            ) from None
        try:
            return _as_chain(path, file.graph, preprocessing)
        except ValueError as error:
            raise PyengineError(f"{problem}; nor a plain chain of convolutions, ReLUs and pools: {error}") from None


# ------------------------------------------------------------- other networks


def _as_chain(path: Path, graph: onnx.GraphProto, preprocessing: str) -> Model:
    """The model of a graph that is a plain chain; ValueError if it is none."""
    constants = {tensor.name for tensor in graph.initializer}  # which old files list among the inputs
    inputs = [value.name for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs")
    (start,) = inputs
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] == start:  # from (1, H, W, 3), or it would not be an image
            start = node.output[0]
    links = read_chain(graph, start, own=False)
    convolutions = []
    for link, (relu, name) in zip(links, _names(links), strict=True):
        filters, bias = as_float32(link.convolution, link.filters, link.bias)
        channels, inputs_, kernel, _ = filters.shape
        convolutions.append(Convolution(Layer(relu, name, inputs_, channels, kernel, link.pooled), filters, bias))
    architecture = Architecture(path.stem, tuple(convolution.layer for convolution in convolutions))
    return Model("", architecture, PREPROCESSINGS[preprocessing], tuple(convolutions), origin="")


def _names(links: list[Link]) -> list[tuple[str, str]]:
    """What to call each link's feature map and convolution."""
    own = [link.relu for link in links]
    if all(USABLE_NAME.fullmatch(name) and name not in RESERVED for name in own):
        return [(name, f"{name}.convolution") for name in own]
    names = []
    block, k = 1, 0
    for link in links:
        block, k = (block + 1, 1) if link.pooled else (block, k + 1)
        names.append((f"relu{block}_{k}", f"conv{block}_{k}"))
    return names


# ----------------------------------------------------------------------- VGGs


def _as_vgg(path: Path, found: list[_Found], preprocessing: str | None) -> Model:
    """The model whose first convolutions these are, in order, under the names of its architecture."""
    if not found:
        raise PyengineError(f"{path}: no convolution in it is named as torchvision, Keras or Caffe name VGG's")
    mismatches = {name: _mismatch(architecture, found) for name, architecture in VGGS.items()}
    name, (matching, problem) = max(mismatches.items(), key=lambda item: item[1][0])
    if matching < len(found):
        raise _NotVgg(f"{path}: not a VGG-16 or VGG-19: {problem}")
    architecture = VGGS[name].up_to(VGGS[name].names[len(found) - 1])
    convolutions = []
    for layer, f in zip(architecture.layers, found, strict=True):
        try:
            if f.bias.shape != (layer.channels,):
                raise ValueError(f"bias of {f.name!r} has shape {f.bias.shape}, not {(layer.channels,)}")
            filters = f.filters.read()
            if filters.shape != _shape(layer):
                filters = filters.transpose(3, 2, 0, 1)
            convolutions.append(Convolution(layer, *as_float32(f.name, filters, f.bias.read())))
        except ValueError as error:
            raise PyengineError(f"{path}: {error}") from None
    if preprocessing is None:
        if found[0].framework is None:
            raise PyengineError(
                f"{path}: its names ({found[0].name!r}) do not tell the preprocessing; "
                f"say --preprocessing {' or '.join(PREPROCESSINGS)}"
            )
        preprocessing = _PREPROCESSING[found[0].framework]
    return Model("", architecture, PREPROCESSINGS[preprocessing], tuple(convolutions), origin="")


def _mismatch(architecture: Architecture, found: list[_Found]) -> tuple[int, str]:
    """How many convolutions are those of the architecture, from the first, and what is wrong with the next."""
    for i, (f, layer) in enumerate(zip(found, architecture.layers, strict=False)):
        block = architecture.pools(layer.name) + 1
        number = i + 1 - architecture.names.index(architecture.blocks[block - 1])
        # torchvision counts ReLUs and pools as well.
        expected = (2 * i + block - 1,) if f.framework == "torchvision" else (block, number)
        if f.framework is not None and f.numbers != expected:
            return i, f"{layer.convolution} is missing; found {f.name!r} in its place"
        out, into, *_ = shape = _shape(layer)
        if f.filters.shape not in (shape, (3, 3, into, out)):
            return i, f"{f.name!r} has shape {f.filters.shape}, {layer.convolution} {shape}"
    return min(len(found), len(architecture.layers)), f"{len(found)} convolutions"


def _shape(layer: Layer) -> tuple[int, int, int, int]:
    return layer.channels, layer.inputs, layer.kernel, layer.kernel


def _identify(names: list[str]) -> tuple[str | None, tuple[int, ...]]:
    """Framework and numbers in the first of `names` that any framework would give a convolution of a VGG."""
    for name in names:
        for framework, pattern in _NAMES.items():
            if match := pattern.search(name):
                return framework, tuple(int(number) for number in match.groups())
    return None, ()


def _convolutions_of(path: Path, graph: onnx.GraphProto) -> list[_Found]:
    """The convolutions in the order of the graph; an exporter may have given the weights any name."""
    constants = constants_of(graph)
    found: list[_Found] = []
    for node in graph.node:
        if node.op_type == "BatchNormalization" and found:
            _refuse_normalised(path)
        elif node.op_type == "Conv":
            try:
                filters, bias = parameters(node, constants)
            except ValueError as error:
                raise PyengineError(f"{path}: {error}") from None
            try:
                check_attributes(node, kernel=3)
            except ValueError as error:
                raise _NotVgg(f"{path}: not a VGG-16 or VGG-19: {error}") from None
            framework, numbers = _identify([node.input[1], *node.output, node.name])
            found.append(_Found(name_of(node), framework, numbers, _held(filters), _held(bias)))
        elif node.op_type in ("Flatten", "Gemm", "MatMul"):  # the classifier: what it normalises is its own business
            break
    return found


def _held(array: Array) -> _Stored:
    """An array that is in memory already."""
    return _Stored(array.shape, lambda: array)


def _read_npz(path: Path, preprocessing: str | None) -> Model:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}

        def read(member: str) -> Array:
            with archive.open(member) as file:
                array: Array = np.lib.format.read_array(file, allow_pickle=False)
                return array

        def stored(name: str, member: str) -> _Stored:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = header[version](file)
            if dtype.hasobject or dtype.itemsize > np.dtype(np.longdouble).itemsize:  # others are refused once read
                raise PyengineError(f"{path}: {name!r} holds {dtype}; save it as float32 and import that")
            return _Stored(shape, partial(read, member))

        return _as_vgg(path, _pair(path, members, lambda name: stored(name, members[name])), preprocessing)


def _read_safetensors(path: Path, preprocessing: str | None) -> Model:
    from safetensors import safe_open

    with suppress(ImportError):  # onnx brings it since 1.19; it teaches numpy bfloat16
        import ml_dtypes  # noqa: F401
    with safe_open(path, framework="numpy") as file:

        def stored(name: str) -> _Stored:
            return _Stored(tuple(file.get_slice(name).get_shape()), partial(file.get_tensor, name))

        return _as_vgg(path, _pair(path, file.keys(), stored), preprocessing)


def _pair(path: Path, names: Iterable[str], stored: Callable[[str], _Stored]) -> list[_Found]:
    """The convolutions among named arrays: those of four dimensions are kernels, of one their biases."""
    named = {name: identity for name in names if (identity := _identify([name]))[0] is not None}
    if any("running_mean" in name for name in named):
        _refuse_normalised(path)
    arrays = {name: stored(name) for name in named}
    parts: dict[tuple[int, tuple[int, ...]], str] = {}  # names by dimensions and numbers
    for name, (_, numbers) in named.items():
        dimensions = len(arrays[name].shape)
        other = parts.setdefault((dimensions, numbers), name)
        if dimensions in (1, 4) and other != name:
            raise PyengineError(f"{path}: {other!r} and {name!r} are named as the same convolution; keep one of them")
    found = []
    for (dimensions, numbers), name in sorted(parts.items()):
        if dimensions == 4:
            if (1, numbers) not in parts:
                raise PyengineError(f"{path}: no bias beside {name!r}")
            found.append(_Found(name, named[name][0], numbers, arrays[name], arrays[parts[1, numbers]]))
    return found


def _refuse_normalised(path: Path) -> None:
    raise PyengineError(f"{path}: a network with batch normalisation; import the plain VGG-16 or VGG-19")
