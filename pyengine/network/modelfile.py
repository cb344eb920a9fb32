"""Model files: how they are written, read and found.

A model file is an ONNX graph that runs as it is, from ``image`` (1, H, W, 3) RGB in [0, 1] to the deepest feature map,
with zero padding and average pools. What the network is made of is what its graph is made of: a chain of Conv, Relu and
AveragePool behind the preprocessing, whose outputs have the names of the convolutions and of the feature maps. The
weights are the published ones: preprocessing is in the graph, not folded in. What the graph does not say is in the
metadata: the preprocessing in numbers, what this kind of network is called, and where the weights came from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyengine.errors import PyengineError
from pyengine.files import one_line, pieces
from pyengine.network.architecture import Architecture, Layer
from pyengine.network.chain import as_float32, read_chain
from pyengine.network.graphs import Graph
from pyengine.network.model import Convolution, Model, Preprocessing

if TYPE_CHECKING:
    import onnx

GRAPH_NAME = "vgg"
"""Name of every model file's graph. It means nothing: it is that of the shipped file, which is to stay as it is."""

PREPROCESSED = "preprocessed"
"""Name of the tensor at which the chain of layers begins."""


def model_file(model: Model, *, half: bool) -> onnx.ModelProto:
    """What a model file holds.

    Parameters
    ----------
    model : Model
    half : bool
        Store the weights as float16: half the size, features within 0.1 %. They are computed with in float32.
    """
    graph = Graph()
    pre = model.preprocessing
    x = graph.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if pre.channels == "BGR":
        x = graph.add("Gather", [x, graph.constant("order", np.array([2, 1, 0]))], "ordered", axis=1)
    x = graph.add("Mul", [x, graph.constant("scale", np.array(pre.scale, np.float32))], "scaled")
    x = graph.add("Sub", [x, graph.constant("mean", np.array(pre.mean, np.float32).reshape(3, 1, 1))], "centred")
    x = graph.add("Div", [x, graph.constant("std", np.array(pre.std, np.float32).reshape(3, 1, 1))], PREPROCESSED)
    for convolution in model.convolutions:
        layer = convolution.layer
        if layer.pooled:
            x = graph.pool(x, f"{x}.pooled", "average")
        parameters = []
        for part, array in (("weight", convolution.filters), ("bias", convolution.bias)):
            key = f"{layer.convolution}.{part}"
            graph.constant(key, array.astype(np.float16 if half else np.float32))
            parameters.append(graph.cast(key, f"{key}.float32", np.float32) if half else key)
        attributes = {"kernel_shape": [layer.kernel] * 2, "pads": [layer.border] * 4}
        x = graph.add("Conv", [x, *parameters], layer.convolution, **attributes)
        x = graph.add("Relu", [x], layer.name)
    channels = model.architecture.layers[-1].channels
    file = graph.model(GRAPH_NAME, {"image": (1, "height", "width", 3)}, {x: (1, channels, "rows", "columns")})
    file.producer_name = "pyengine"
    for key, value in {
        "pyengine": "1",  # version of this format
        "architecture": model.architecture.name,
        "preprocessing": json.dumps(asdict(pre)),
        "convolutions": _convolutions(model.architecture),
        "origin": model.origin,
    }.items():
        file.metadata_props.add(key=key, value=value)
    return file


def _convolutions(architecture: Architecture) -> str:
    return " ".join(layer.convolution for layer in architecture.layers)


# ----------------------------------------------------------------- reading


def read(path: Path) -> Model:
    """Read a model file that `pyengine models import` made.

    Raises
    ------
    PyengineError
        No such file, it is damaged, or not one of pyengine's.
    """
    import onnx

    try:
        content = b"".join(pieces(path))
        file = onnx.load_from_string(content)
    except FileNotFoundError:
        raise PyengineError(f"{path}: no such file; `pyengine models list` shows what is installed") from None
    except OSError as error:
        raise PyengineError(f"{path}: cannot be read ({one_line(error)}): check the path") from None
    except Exception as error:  # the parser raises whatever broken bytes lead it to
        raise PyengineError(f"{path}: cannot be read as ONNX ({reason(error)}); import it again") from None
    if not is_own(file):
        raise PyengineError(f"{path}: not a model of pyengine's; convert it with `pyengine models import`")
    return replace(unpack(path, file), sha256=hashlib.sha256(content).hexdigest())


def is_own(file: onnx.ModelProto) -> bool:
    """Whether an ONNX file is one that pyengine wrote."""
    return any(entry.key == "pyengine" for entry in file.metadata_props)


def unpack(path: Path, file: onnx.ModelProto) -> Model:
    """The model in a file of pyengine's own that was read from `path`; PyengineError if it is damaged."""
    try:
        return _unpack(path.stem, file)
    except Exception as error:
        raise PyengineError(f"{path}: damaged model file ({reason(error)}); import it again") from None


def _unpack(name: str, file: onnx.ModelProto) -> Model:
    meta = {entry.key: entry.value for entry in file.metadata_props}
    for key, value in meta.items():
        if not isinstance(value, str):  # bytes that are no UTF-8
            raise ValueError(f"its {key} is no text")
    convolutions = []
    for link in read_chain(file.graph, PREPROCESSED, own=True):
        filters, bias = as_float32(link.convolution, link.filters, link.bias)
        channels, inputs, kernel, _ = filters.shape
        layer = Layer(link.relu, link.convolution, inputs, channels, kernel, link.pooled)
        convolutions.append(Convolution(layer, filters, bias))
    architecture = Architecture(meta["architecture"], tuple(convolution.layer for convolution in convolutions))
    if _convolutions(architecture) != meta["convolutions"]:
        raise ValueError(f"its convolutions are {_convolutions(architecture)}, and not those named in it")
    preprocessing = _unpack_preprocessing(meta["preprocessing"])
    return Model(name, architecture, preprocessing, tuple(convolutions), meta["origin"])


def _unpack_preprocessing(text: str) -> Preprocessing:
    fields = json.loads(text)
    for key in ("mean", "std"):
        fields[key] = tuple(fields[key])
    preprocessing = Preprocessing(**fields)
    if preprocessing.channels not in ("RGB", "BGR"):
        raise ValueError(f"channels {preprocessing.channels!r} are neither RGB nor BGR")
    scale, mean, std = preprocessing.scale, preprocessing.mean, preprocessing.std
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("mean and std are not three numbers each")
    if not all(type(x) in (int, float) and math.isfinite(x) for x in (scale, *mean, *std)):
        raise ValueError("scale, mean and std are not all finite numbers")
    if min(scale, *std) <= 0:
        raise ValueError("scale and std are not all above 0")
    return preprocessing


def reason(error: Exception) -> str:
    """What went wrong, on one line.

    Examples
    --------
    >>> reason(KeyError("origin")), reason(ValueError("not a number")), reason(MemoryError())
    ("KeyError: 'origin'", 'not a number', 'memory is short')
    """
    message = str(error).strip()
    if not message:
        return one_line(error)
    if isinstance(error, KeyError):
        message = f"KeyError: {message}"
    return one_line(ValueError(message.splitlines()[0]))


WELL_KNOWN = {
    "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49": (
        "VGG-16 by the Visual Geometry Group, University of Oxford, trained on ImageNet, CC BY 4.0"
    )
}
"""What is in files that models were made from, by the hashes of these."""


def described(origin: str) -> str:
    """Where weights came from, in words where the file is known.

    Parameters
    ----------
    origin : str
        A model's.

    Examples
    --------
    >>> described(load("vgg16").origin)
    'VGG-16 by the Visual Geometry Group, ..., trained on ImageNet, CC BY 4.0; read from a file of sha256 3be917fb4375'
    >>> described("mine.npz sha256:0123")
    'mine.npz sha256:0123'
    """
    words = WELL_KNOWN.get(sha256 := origin.rpartition("sha256:")[2])
    return origin if words is None else f"{words}; read from a file of sha256 {sha256[:12]}"


# ----------------------------------------------------------------- finding


def user_folder() -> Path:
    """Where imported models are kept: $PYENGINE_MODELS, or a folder of the user's own."""
    if folder := os.environ.get("PYENGINE_MODELS"):
        return Path(folder)
    from platformdirs import user_data_path

    return user_data_path("pyengine") / "models"


def shipped_folder() -> Path:
    """Where the models are that ship with pyengine."""
    return Path(str(files("pyengine.models")))


def installed() -> Iterator[Path]:
    """Paths of the models that can be named: the user's first, then those that ship with pyengine."""
    seen: set[str] = set()
    for folder in (user_folder(), shipped_folder()):
        found: list[Path] = []
        with suppress(PermissionError):  # the home is another user's, as it may be under sudo and in containers
            found = sorted(folder.glob("*.onnx"))
        for path in found:
            if path.stem not in seen:
                seen.add(path.stem)
                yield path


def load(model: str | os.PathLike[str]) -> Model:
    """An installed model by name, or a model file by path.

    Parameters
    ----------
    model : str or path
        A name that `pyengine models list` shows, or the path of an .onnx that `pyengine models import` wrote.

    Raises
    ------
    PyengineError
        No such model, or the file is not one of pyengine's.

    Examples
    --------
    >>> load("vgg16").architecture.names[:3]
    ('relu1_1', 'relu1_2', 'relu2_1')
    """
    if Path(model).suffix == ".onnx":
        return read(Path(model))
    found = {path.stem: path for path in installed()}
    if str(model) not in found:
        raise PyengineError(
            f"unknown model {str(model)!r}: installed are {', '.join(found) or 'none'}; "
            "add one with `pyengine models import FILE --name NAME`"
        )
    return read(found[str(model)])
