"""Convolution weights: what a model file holds, and where model files are found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError

if TYPE_CHECKING:
    import onnx

BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each block; a pool stands between blocks (Simonyan and Zisserman 2014, table 1, D and E)."""

CHANNELS = (64, 128, 256, 512, 512)
"""Output channels of each block's convolutions."""


@dataclass(frozen=True)
class Preprocessing:
    """What a network was trained on: ``x = (channels of the RGB image in [0, 1] * scale - mean) / std``.

    Attributes
    ----------
    channels : {"RGB", "BGR"}
        The order of the network's input channels; `mean` and `std` are in that order.
    scale : float
    mean, std : tuple of three floats

    Examples
    --------
    >>> PREPROCESSINGS["caffe"].channels
    'BGR'
    """

    channels: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def fold(self, weight: Float32, bias: Float32, *, mean: bool) -> tuple[Float32, Float32]:
        """Weights of the first convolution that take the RGB image in [0, 1] itself.

        Parameters
        ----------
        weight, bias : float32 (O, 3, 3, 3), (O,)
        mean : bool
            Fold the mean into the bias as well. Exact where the padding repeats pixels of the image (wrap, reflect);
            where it puts in zeros, these stand for the mean colour, which then has to be subtracted before.
        """
        factor = np.asarray(self.scale, np.float64) / np.asarray(self.std, np.float64)
        folded = weight.astype(np.float64) * factor[:, None, None]
        if mean:
            shift = np.asarray(self.mean) / np.asarray(self.std)
            bias = (bias - np.einsum("oikl,i->o", weight.astype(np.float64), shift)).astype(np.float32)
        if self.channels == "BGR":
            folded = folded[:, ::-1]
        return np.ascontiguousarray(folded, np.float32), bias

    @property
    def mean_colour(self) -> Float32:
        """The RGB colour in [0, 1] that becomes 0: float32 (3,)."""
        mean = np.asarray(self.mean, np.float64) / self.scale
        return np.asarray(mean[::-1] if self.channels == "BGR" else mean, np.float32)


PREPROCESSINGS = {
    "caffe": Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torchvision": Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""By the framework the weights were published for; Keras' VGG weights are Caffe's."""


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution of stride 1: `weight` float32 (O, I, 3, 3), `bias` float32 (O,)."""

    name: str
    weight: Float32
    bias: Float32


@dataclass(frozen=True)
class Weights:
    """The convolutions of a VGG, first to last, under the names of the paper: conv1_1, conv1_2, conv2_1, ...

    Attributes
    ----------
    name : str
        What the model is called here.
    architecture : {"vgg16", "vgg19"}
    preprocessing : Preprocessing
    convolutions : tuple of Convolution
    origin : str
        Where the weights came from.
    """

    name: str
    architecture: str
    preprocessing: Preprocessing
    convolutions: tuple[Convolution, ...]
    origin: str

    @property
    def layers(self) -> list[str]:
        """The feature maps there are: relu1_1, relu1_2, ...

        Examples
        --------
        >>> load("vgg16").layers[:3]
        ['relu1_1', 'relu1_2', 'relu2_1']
        """
        return [relu_of(convolution.name) for convolution in self.convolutions]

    def check_layers(self, layers: tuple[str, ...]) -> None:
        """Raise PyengineError for a layer that this model lacks."""
        for layer in layers:
            if layer not in self.layers:
                raise PyengineError(f"layer {layer!r}: model {self.name!r} has {', '.join(self.layers)}")

    def check_half(self) -> None:
        """Raise PyengineError for a convolution that float16 cannot hold."""
        most = float(np.finfo(np.float16).max)
        for convolution in self.convolutions:
            largest = max(float(np.abs(array).max()) for array in (convolution.weight, convolution.bias))
            if largest > most:
                raise PyengineError(
                    f"{convolution.name} holds a weight of size {largest:g}, float16 no more than {most:g}; "
                    "leave out --half, or precision='float16'"
                )


def relu_of(convolution: str) -> str:
    """Name of the feature map behind a convolution.

    Examples
    --------
    >>> relu_of("conv4_1")
    'relu4_1'
    """
    return convolution.replace("conv", "relu")


def starts_block(convolution: str) -> bool:
    """Whether a pool stands in front of this convolution.

    Examples
    --------
    >>> [starts_block(name) for name in ("conv1_1", "conv1_2", "conv2_1")]
    [False, False, True]
    """
    return convolution.endswith("_1") and convolution != "conv1_1"


def pools_before(layer: str) -> int:
    """How often a feature map has been halved.

    Examples
    --------
    >>> [pools_before(layer) for layer in ("relu1_1", "relu1_2", "relu4_1")]
    [0, 0, 3]
    """
    return int(layer[4]) - 1


def convolution_shapes(architecture: str) -> dict[str, tuple[int, int, int, int]]:
    """Kernel shape (O, I, 3, 3) of each convolution of an architecture by name, first to last.

    Examples
    --------
    >>> shapes = convolution_shapes("vgg16")
    >>> len(shapes), shapes["conv1_1"], shapes["conv5_3"]
    (13, (64, 3, 3, 3), (512, 512, 3, 3))
    """
    shapes = {}
    inputs = 3
    for block, (count, outputs) in enumerate(zip(BLOCKS[architecture], CHANNELS, strict=True), 1):
        for i in range(1, count + 1):
            shapes[f"conv{block}_{i}"] = (outputs, inputs, 3, 3)
            inputs = outputs
    return shapes


def user_folder() -> Path:
    """Where imported models are kept: $PYENGINE_MODELS, or a folder of the user's own."""
    if folder := os.environ.get("PYENGINE_MODELS"):
        return Path(folder)
    from platformdirs import user_data_path

    return user_data_path("pyengine") / "models"


def installed() -> Iterator[Path]:
    """Paths of the models that can be named: the user's first, then those that ship with pyengine."""
    seen: set[str] = set()
    for folder in (user_folder(), Path(str(files("pyengine.models")))):
        for path in sorted(folder.glob("*.onnx")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path


def load(model: str | os.PathLike[str]) -> Weights:
    """Weights of an installed model by name, or of a model file by path.

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
    >>> load("vgg16").architecture
    'vgg16'
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


def read(path: Path) -> Weights:
    """Read a model file that `pyengine models import` made (see `network.graphs.model_file` for the format)."""
    import onnx

    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise PyengineError(f"{path}: no such file; `pyengine models list` shows what is installed") from None
    except Exception as error:  # the parser raises whatever broken bytes lead it to
        raise PyengineError(f"{path}: cannot be read as ONNX ({reason(error)}); import it again") from None
    if not is_own(model):
        raise PyengineError(f"{path}: not a model of pyengine's; convert it with `pyengine models import`")
    return unpack(path, model)


def unpack(path: Path, model: onnx.ModelProto) -> Weights:
    """Weights of a model of pyengine's own that was read from `path`; PyengineError if it is damaged."""
    try:
        return _unpack(path.stem, model)
    except Exception as error:
        raise PyengineError(f"{path}: damaged model file ({reason(error)}); import it again") from None


def is_own(model: onnx.ModelProto) -> bool:
    """Whether a model is one that pyengine wrote."""
    return any(entry.key == "pyengine" for entry in model.metadata_props)


def _unpack(name: str, model: onnx.ModelProto) -> Weights:
    from onnx import numpy_helper

    meta = {entry.key: entry.value for entry in model.metadata_props}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    preprocessing = _unpack_preprocessing(meta["preprocessing"])
    architecture, names = meta["architecture"], meta["convolutions"].split()
    if architecture not in BLOCKS:
        raise ValueError(f"architecture {architecture!r} is none of {', '.join(BLOCKS)}")
    if not names:
        raise ValueError("no convolutions")
    if names != list(convolution_shapes(architecture))[: len(names)]:
        raise ValueError(f"its convolutions are not the first of a {architecture}, in order: {' '.join(names)}")
    convolutions = []
    inputs = 3
    for convolution in names:
        weight, bias = arrays[f"{convolution}.weight"], arrays[f"{convolution}.bias"]
        outputs = len(bias)
        if weight.shape != (outputs, inputs, 3, 3) or bias.ndim != 1:
            raise ValueError(f"{convolution} has shapes {weight.shape} and {bias.shape}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"{convolution} holds NaN or infinite weights")
        convolutions.append(Convolution(convolution, weight.astype(np.float32), bias.astype(np.float32)))
        inputs = outputs
    return Weights(name, architecture, preprocessing, tuple(convolutions), meta["origin"])


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
    >>> reason(KeyError("origin")), reason(ValueError("not a number"))
    ("KeyError: 'origin'", 'not a number')
    """
    message = str(error).strip()
    if isinstance(error, KeyError) or not message:
        message = f"{type(error).__name__}: {message}".removesuffix(": ")
    return message.splitlines()[0]
