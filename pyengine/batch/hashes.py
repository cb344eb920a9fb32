"""What a picture depends on, as hashes: two jobs of one hash make the same picture."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyengine import __version__
from pyengine.batch import remote
from pyengine.document import PICTURES, is_maps
from pyengine.errors import PyengineError
from pyengine.files import is_url
from pyengine.images.reading import ImageFile

FILES = 4096
"""How many files' hashes are kept, for the jobs that share them."""


def with_hashes(arguments: Mapping[str, Any], outputs: Sequence[Path | str]) -> dict[str, Any]:
    """A job's arguments, with the hashes of pictures' files beside their paths.

    Parameters
    ----------
    arguments : dict
        Those of `Recipe.create`, pictures by their absolute paths or URLs.
    outputs : sequence of Path or str
        The paths or URLs of what is made.

    Raises
    ------
    PyengineError
        A picture can't be read, or it is what would be written.
    """
    return {
        name: _with_hash(name, value, outputs, PICTURES[name]) if name in PICTURES else value
        for name, value in arguments.items()
    }


def kind_of(recipe: Mapping[str, Any], introduction: Mapping[str, Any]) -> str:
    """The hash of all that a picture depends on but for the seed.

    Parameters
    ----------
    recipe : dict
        See `with_hashes`.
    introduction : dict
        What a worker says of its engine.
    """
    return _hash(
        {
            "pyengine": __version__,
            "model": introduction["model"],
            "precision": introduction["precision"],
            "recipe": {name: _contents(value) for name, value in recipe.items() if name != "seed"},
        }
    )


def hash_of(kind: str, seed: int) -> str:
    """The hash of all that a picture depends on."""
    return _hash([kind, int(seed)])


def forget_urls() -> None:
    """Read again what is at URLs: nothing tells whether it has changed since."""
    _sha256_at_url.cache_clear()


def _with_hash(name: str, value: Any, outputs: Sequence[Path | str], keywords: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_with_hash(name, item, outputs, keywords) for item in value]
    if is_maps(value):
        return {key: _with_hash(f"{name}[{key!r}]", item, outputs, ()) for key, item in value.items()}
    said = value if isinstance(value, dict) else {"file": value}
    path = said.get("file")
    if not isinstance(path, str) or path in keywords:
        return value  # a word such as "noise"; or nothing, as the check will say
    if is_url(path):
        if path in outputs:
            raise _overwritten(path)
        # One that says its hash is not read before it is needed: workers hold it against what they find.
        return {"file": path, "sha256": said.get("sha256") or _sha256_at_url(path, name)}
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # reading says what is wrong
        found = ImageFile.read(path, name).sha256
    else:
        if stat.S_ISFIFO(status.st_mode):
            raise PyengineError(f"{name} {path}: is a pipe, which can be read only once: give a file")
        for output in outputs:
            if isinstance(output, Path) and output.exists() and os.path.samestat(output.stat(), status):
                raise _overwritten(output)
        found = _sha256(path, name, status.st_mtime_ns, status.st_size)
    return {"file": path, "sha256": said.get("sha256", found)}


def _overwritten(output: Path | str) -> PyengineError:
    return PyengineError(f"output {output} is one of the images to read: write to another folder")


@lru_cache(FILES)
def _sha256_at_url(url: str, name: str) -> str:
    """The hash of what is at a URL."""
    return remote.read(url, name).sha256


@lru_cache(FILES)
def _sha256(path: str, name: str, changed: int, size: int) -> str:
    """The hash of a file's contents, which is computed again where the file has changed since."""
    return ImageFile.read(path, name).sha256


def _contents(value: Any) -> Any:
    """The same without the names of files, on which no picture depends."""
    if isinstance(value, list):
        return [_contents(item) for item in value]
    if is_maps(value):
        return {name: _contents(item) for name, item in value.items()}
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def _hash(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
