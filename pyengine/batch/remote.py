"""Pictures by URL, such as s3://bucket/grass.png, by way of fsspec: read within bounds, written whole or not at all.

Only what batches are told to read is looked for on the network; a recipe that comes in a file names files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pyengine.document import is_maps
from pyengine.errors import PyengineError
from pyengine.files import MOST_BYTES, PIECE, is_url, one_line, write_atomically
from pyengine.images.formats import suffixes
from pyengine.images.reading import ImageFile

LOGGER = logging.getLogger(__name__)

WILDCARDS = frozenset("*?[")
"""What makes a pattern of a name."""


def read(url: str, name: str, most: int = MOST_BYTES) -> ImageFile:
    """Read what is at a URL, once, and no more than a file may have.

    Parameters
    ----------
    url : str
    name : str
        What the image is to the caller; error messages begin with it.
    most : int
        How many bytes it may have. Default: as many as any file.

    Raises
    ------
    PyengineError
        It can't be read, is too large or empty.

    Examples
    --------
    >>> read("file:///none.png", "content")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: content file:///none.png: nothing is there: check the URL
    """
    files, path = _opened(url, name)
    content = bytearray()
    try:
        with files.open(path, "rb") as file:
            for piece in iter(partial(file.read, PIECE), b""):
                content += piece
                if len(content) > most:
                    raise PyengineError(f"{name} {url}: more than {most} bytes: give a smaller picture")
    except PyengineError:
        raise
    except FileNotFoundError:
        raise PyengineError(f"{name} {url}: nothing is there: check the URL") from None
    except Exception as error:  # each protocol has errors of its own
        raise _refused(url, name, "read", error) from error
    if not content:
        raise PyengineError(f"{name} {url}: the file is empty: export or upload it again")
    LOGGER.info("read %s", url)
    return ImageFile(Path(PurePosixPath(path).name), bytes(content))


def write(url: str, content: bytes) -> None:
    """Put a file in its place, whole or not at all, as stores of objects do by themselves.

    Raises
    ------
    PyengineError
        It can't be written.
    """
    files, path = _opened(url, "output")
    try:
        if "file" in files.protocol:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        else:
            files.pipe_file(path, content)
    except PyengineError:
        raise
    except Exception as error:
        raise _refused(url, "output", "written", error) from error
    LOGGER.info("wrote %s", url)


def names_in(url: str) -> set[str]:
    """The names of all files under a URL, from there on, by one listing: to ask for each takes a request each.

    Raises
    ------
    PyengineError
        There is no telling: a wrong address, or no permission.
    """
    files, path = _opened(url, "output")
    root = path.rstrip("/") + "/"
    try:
        return {found.removeprefix(root) for found in files.find(path)}
    except Exception as error:
        raise _refused(url, "output", "listed", error) from error


def pictures_of(url: str) -> list[str]:
    """The pictures that a URL stands for: itself, what matches it as a pattern, or what is in the folder.

    Raises
    ------
    PyengineError
        There are none, or there is no telling.
    """
    files, path = _opened(url, "jobs")
    if urlsplit(url).path.lower().endswith(suffixes()) and not WILDCARDS & {*url}:
        return [url]
    try:
        found = files.glob(path) if WILDCARDS & {*url} else files.ls(path, detail=False)
    except FileNotFoundError:
        found = []
    except Exception as error:
        raise _refused(url, "jobs", "listed", error) from error
    pictures = sorted(files.unstrip_protocol(name) for name in found if name.lower().endswith(suffixes()))
    if not pictures:
        raise PyengineError(f"{url}: no pictures are there: check the URL")
    return pictures


def fetched(recipe: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments among these names in which there are URLs, with what is there.

    Raises
    ------
    PyengineError
        It can't be read, or is another picture than the recipe's.
    """

    def has_url(value: Any) -> bool:
        if isinstance(value, list):
            return any(map(has_url, value))
        if is_maps(value):
            return any(map(has_url, value.values()))
        return isinstance(value, dict) and is_url(value.get("file"))

    def found(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [found(f"{name}[{k}]", item) for k, item in enumerate(value)]
        if is_maps(value):
            return {key: found(f"{name}[{key!r}]", item) for key, item in value.items()}
        place = value["file"]
        file = read(place, name) if is_url(place) else ImageFile.read(place, name)
        if file.sha256 != value["sha256"]:
            raise PyengineError(
                f"{name} {place}: another picture than when the batch began, whose sha256 was {value['sha256']}: "
                f"start the batch again"
            )
        return file

    return {name: found(name, value) for name, value in recipe.items() if name in names and has_url(value)}


def _opened(url: str, name: str) -> tuple[Any, str]:
    """The file system that a URL is on, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise PyengineError(f'{name} {url}: URLs need fsspec: pip install "pyengine[remote]"') from None
    try:
        # What an earlier listing said may not be so any more, as workers and others write there.
        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:  # it names the package that has the protocol
        raise PyengineError(f"{name} {url}: {one_line(error)}") from None
    except Exception as error:
        raise _refused(url, name, "opened", error) from error
    return files, str(path)


def _refused(url: str, name: str, what: str, error: Exception) -> PyengineError:
    return PyengineError(f"{name} {url}: cannot be {what} ({one_line(error)}): check the URL and your permissions")
