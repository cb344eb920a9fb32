"""The models that can be named: listed, installed and removed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pyengine.checks import check_flag, check_text, names_checked
from pyengine.errors import PyengineError
from pyengine.files import check_path, write_atomically
from pyengine.network.importing import read_foreign
from pyengine.network.modelfile import installed, model_file, read, shipped_folder, user_folder


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without running it.

    Attributes
    ----------
    name : str
        What to call it by, as the argument `model` of `pyengine.Engine`.
    path : Path
        The file that it is in.
    shipped : bool
        Whether it came with pyengine, and so can't be removed.
    bytes : int
        Size of the file.
    architecture : str
        What this kind of network is called, such as "vgg16"; empty if the file can't be used.
    layers : tuple of str
        Names of its feature maps, first to last; empty if the file can't be used.
    origin : str
        Where the weights came from; empty if the file can't be used.
    error : str, optional
        Why the file can't be used; None if it can.
    """

    name: str
    path: Path
    shipped: bool
    bytes: int
    architecture: str = ""
    layers: tuple[str, ...] = ()
    origin: str = ""
    error: str | None = None


def list_models() -> list[ModelInfo]:
    """The models that can be named: the user's first, then those that ship with pyengine.

    A model of the user's hides a shipped one of the same name.

    Examples
    --------
    >>> import pyengine
    >>> [model.architecture for model in pyengine.list_models() if model.shipped]
    ['vgg16']
    """
    return [_info(path) for path in installed()]


@names_checked
def import_model(
    file: str | os.PathLike[str],
    name: str | None = None,
    *,
    deepest: str | None = None,
    preprocessing: str | None = None,
    half: bool = False,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> ModelInfo:
    """Make a model of somebody else's file, and install it or write it to a file.

    Parameters
    ----------
    file : path
        A VGG-16 or VGG-19 as .onnx, .npz or .safetensors, with the names that torchvision, Keras or Caffe give its
        arrays; or as .onnx any other plain chain of convolutions of stride 1, ReLUs and 2x2 pools.
    name : str, optional
        What to call the model; needed unless `output` is given, whose name it then has by default.
    deepest : str, optional
        Leave out what lies behind this layer, such as "relu4_2"; by default nothing is left out.
    preprocessing : {"caffe", "torchvision"}, optional
        What the network was trained on; by default what a VGG's names say. Needed where they don't, and for other
        networks.
    half : bool
        Store the weights as float16: half the size, features within 0.1 %. By default they are stored as float32.
    output : path, optional
        Write this .onnx file; by default the model is installed.
    force : bool
        Replace what is there, or hide a model that ships with pyengine; by default that is refused.

    Returns
    -------
    ModelInfo
        What there is to know of the new model.

    Raises
    ------
    PyengineError
        The file can't be used, the name is taken, or the model can't be written; the message says how to go on.

    Examples
    --------
    >>> import tempfile, pyengine
    >>> (shipped,) = (model for model in pyengine.list_models() if model.shipped)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = pyengine.import_model(shipped.path, output=f"{folder}/short.onnx", deepest="relu1_2")
    >>> model.name, model.layers
    ('short', ('relu1_1', 'relu1_2'))
    """
    check_path("file", file)
    if output is not None:
        check_path("output", output)
    for argument, text in {"name": name, "deepest": deepest, "preprocessing": preprocessing}.items():
        if text is not None:
            check_text(argument, text)
    check_flag("half", half)
    check_flag("force", force)
    if output is None:
        if name is None:
            raise PyengineError("a model needs a name, or a file to write: give name, or output")
        taken = next((path for path in installed() if path.stem == name), None)
        target = user_folder() / f"{name}.onnx"
    else:
        target = Path(output)
        if target.suffix != ".onnx":
            raise PyengineError(f"{target}: end the name in .onnx")
        name = name or target.stem
        taken = target if os.path.exists(target) else None  # noqa: PTH110 (a name that is too long is refused below)
    if taken and not force:
        raise PyengineError(f"{taken} exists: choose another name, or give force")
    model = read_foreign(Path(file), name, preprocessing=preprocessing, deepest=deepest)
    if half:
        model.check_half()
    content = model_file(model, half=half).SerializeToString()
    if output is None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PyengineError(f"{target.parent}: cannot be made ({error.strerror})") from error
    write_atomically(target, content)
    return ModelInfo(name, target, False, len(content), model.architecture.name, model.architecture.names, model.origin)


@names_checked
def remove_model(name: str) -> Path:
    """Remove an installed model; returns the path of the file that is gone.

    A model that ships with pyengine stays. Where a user's model of the same name hides it, that one is removed.

    Parameters
    ----------
    name : str
        What the model is called.

    Raises
    ------
    PyengineError
        There is no such model, it ships with pyengine, or the system does not let it be removed.

    Examples
    --------
    >>> remove_model("vgg16")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: model 'vgg16' ships with pyengine: only imported models can be removed
    """
    check_text("name", name)
    found = {path.stem: path for path in installed()}
    if name not in found:
        raise PyengineError(f"unknown model {name!r}: installed are {', '.join(found) or 'none'}")
    path = found[name]
    if _is_shipped(path):
        raise PyengineError(f"model {name!r} ships with pyengine: only imported models can be removed")
    try:
        path.unlink()
    except OSError as error:
        raise PyengineError(f"{path}: cannot be removed ({error.strerror})") from error
    return path


def _info(path: Path) -> ModelInfo:
    shipped, size = _is_shipped(path), path.stat().st_size
    try:
        model = read(path)
    except PyengineError as error:
        return ModelInfo(path.stem, path, shipped, size, error=str(error))
    architecture = model.architecture
    return ModelInfo(path.stem, path, shipped, size, architecture.name, architecture.names, model.origin)


def _is_shipped(path: Path) -> bool:
    return path.parent == shipped_folder()
