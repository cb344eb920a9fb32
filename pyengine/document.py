"""A recipe as JSON: its arguments by their own names, pictures as files by name and hash of their contents."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyengine import __version__
from pyengine.checks import nearest
from pyengine.errors import PyengineError, in_short
from pyengine.images.lists import from_list, is_nested
from pyengine.images.reading import ImageFile
from pyengine.maps import by_name

PICTURES: dict[str, tuple[str, ...]] = {
    "exemplar": (),
    "exemplars": (),
    "content": (),
    "init": ("noise", "content"),
    "exemplar_regions": (),
    "output_regions": (),
    "keep": (),
    "fill": ("alpha",),
    "sample_mask": (),
}
"""The arguments that are pictures, or lists of them, or maps by name, and the words that may stand in their place."""

SEVERAL = ("exemplar_regions", "output_regions", "sample_mask")
"""Those of which a list may hold lists of pictures."""


@dataclass(frozen=True)
class FileReference:
    """A picture that was read from a file: its absolute path, and the hash of the file's contents."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class InMemory:
    """A picture that was no file, in words."""

    description: str


def is_maps(value: Any) -> bool:
    """Whether an argument is the maps of a material by name, and not a picture, which a dictionary may stand for too.

    Examples
    --------
    >>> is_maps({"albedo": "rock.png"}), is_maps({"file": "rock.png"}), is_maps("rock.png")
    (True, False, False)
    """
    return isinstance(value, Mapping) and bool(value) and not {"file", "in_memory"} & value.keys()


def open_files(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read the files that arguments name, each once; what is no path stays as it is."""

    def opened(name: str, value: Any, keywords: tuple[str, ...]) -> Any:
        if isinstance(value, (list, tuple)):
            if is_nested(value) or not (name == "exemplars" or name.partition("[")[0] in SEVERAL):
                return from_list(value, name)
            return [opened(f"{name}[{k}]", item, ()) for k, item in enumerate(value)]
        if isinstance(value, Mapping):  # the maps of a material
            return {key: opened(f"{name}[{key!r}]", item, ()) for key, item in value.items()}
        if isinstance(value, (str, os.PathLike)) and value not in keywords:
            return ImageFile.read(value, name)
        return value

    result = dict(arguments)
    for name, keywords in PICTURES.items():
        if name != "exemplars" or isinstance(arguments[name], (list, tuple)):  # what is no list is refused later
            result[name] = opened(name, arguments[name], keywords)
    return result


def without_pictures(opened: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given, with references in the place of pictures."""

    def reference(value: Any) -> Any:
        if isinstance(value, list):
            return [reference(item) for item in value]
        if isinstance(value, Mapping):
            return {key: reference(item) for key, item in value.items()}
        if isinstance(value, ImageFile):
            return FileReference(value.path.absolute(), value.sha256)
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return InMemory(f"{len(value)} bytes")
        if isinstance(value, np.ndarray):
            return InMemory(f"an array of {value.dtype}, {value.shape}")
        return InMemory(f"a {type(value).__name__}")

    return {
        name: reference(value) if name in PICTURES else _plain(value)
        for name, value in opened.items()
        if value is not None
    }


def files_of(arguments: Mapping[str, Any]) -> tuple[Path, ...]:
    """The paths of all files among a recipe's arguments, from `without_pictures`."""

    def paths(value: Any) -> list[Path]:
        if isinstance(value, list):
            return [path for item in value for path in paths(item)]
        if isinstance(value, Mapping):
            return paths([*value.values()])
        return [value.path] if isinstance(value, FileReference) else []

    return tuple(path for name in PICTURES for path in paths(arguments.get(name)))


def _plain(value: Any) -> Any:
    """The same in the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def to_document(arguments: Mapping[str, Any], *, for_result: bool) -> dict[str, Any]:
    """What JSON holds of a recipe's arguments, and the version.

    Parameters
    ----------
    arguments : dict
        What `without_pictures` gives.
    for_result : bool
        Whether it goes into a result, which tells of the files' names, but not of the folders they are in, and where
        words stand for what was no file. Otherwise paths are absolute.

    Raises
    ------
    PyengineError
        A picture that was no file, unless it is for a result.
    """

    def entry(name: str, value: Any) -> Any:
        if isinstance(value, list) and name.partition("[")[0] in PICTURES:
            return [entry(f"{name}[{k}]", item) for k, item in enumerate(value)]
        if isinstance(value, Mapping) and name.partition("[")[0] in PICTURES:
            return {key: entry(f"{name}[{key!r}]", item) for key, item in value.items()}
        if isinstance(value, FileReference):
            return {"file": value.path.name if for_result else str(value.path), "sha256": value.sha256}
        if isinstance(value, InMemory):
            if not for_result:
                raise PyengineError(
                    f"{name} is {value.description}, in memory, which JSON can't hold: save it, and give its path"
                )
            return {"in_memory": value.description}
        return value

    return {"pyengine": __version__, "recipe": {name: entry(name, value) for name, value in arguments.items()}}


def from_document(text: str, folder: Path, overridden: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The arguments that a JSON text holds, files read.

    Parameters
    ----------
    text : str
        What `to_document` gives, or only its "recipe".
    folder : Path
        The folder of files that are named without one.
    overridden : mapping
        Arguments that count instead of those in the text, whose files are not looked for.
    known : frozenset of str
        The names that arguments may have.

    Raises
    ------
    PyengineError
        The text is no recipe, or a file is missing or is another than it was.
    """
    try:
        document = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise PyengineError(f"recipe: this is not JSON ({error})") from None
    recipe = document.get("recipe", document) if isinstance(document, dict) else None
    if not isinstance(recipe, dict):
        raise PyengineError("recipe: this JSON is no recipe: give what --json, to_json or a PNG of pyengine's holds")
    unknown = sorted(recipe.keys() - known - {"pyengine"})
    if unknown:
        raise PyengineError(
            f"recipe: there is no argument {in_short(unknown[0])}: {nearest(unknown[0], sorted(known))}"
        )
    version = " ".join(str(document.get("pyengine", __version__)).split())
    if version != __version__:
        warnings.warn(
            f"the recipe is of pyengine {version}, this is {__version__}: the picture may differ", stacklevel=3
        )
    if document.get("stopped"):
        warnings.warn("the run of this recipe was stopped before its end: the picture will differ", stacklevel=3)
    return {
        name: _found(name, value, folder) if name in PICTURES else value
        for name, value in recipe.items()
        if name not in overridden and name != "pyengine"
    }


def _found(name: str, value: Any, folder: Path) -> Any:
    """The picture, or pictures, that an argument names."""
    if isinstance(value, list):
        return [_found(f"{name}[{k}]", item, folder) for k, item in enumerate(value)]
    if isinstance(value, str):
        return value if value in PICTURES.get(name, ()) else ImageFile.read(folder / value, name)
    argument = name.partition("[")[0]
    if is_maps(value):
        maps = by_name(value.items(), f"recipe: {name}")
        return {key: _found(f"{name}[{key!r}]", item, folder) for key, item in maps.items()}
    if not isinstance(value, dict) or not ({"file", "in_memory"} & value.keys()):
        raise PyengineError(f"recipe: {name}={in_short(value)}: give a file's path")
    if "in_memory" in value:
        raise PyengineError(
            f"recipe: {name} was {value['in_memory']}, in memory, which no recipe holds: give {argument} as well"
        )
    file = ImageFile.read(folder / str(value["file"]), name)
    if value.get("sha256", file.sha256) != file.sha256:
        raise PyengineError(
            f"{name} {file.path}: another picture than the recipe's, whose sha256 is {value['sha256']}: "
            f"put that in its place, or give {argument} as well"
        )
    return file
