"""Standard input and output in the place of files, which are called "-"."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine.images.reading import ImageFile

PIPE = "-"


def is_pipe(value: object) -> bool:
    """Whether standard input or output is meant.

    Examples
    --------
    >>> is_pipe("-"), is_pipe(Path("-")), is_pipe(Path("-.png"))
    (True, True, False)
    """
    return isinstance(value, (str, PathLike)) and fspath(value) == PIPE


def with_stdin(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures by their names, with what standard input holds in the place of the one that is called "-".

    Raises
    ------
    PyengineError
        It is meant twice, or there is nothing in it.
    """
    count = sum(map(is_pipe, _all(pictures)))
    if count > 1:
        raise PyengineError("- stands for standard input, which can be read once: name the other files")
    if not count:
        return dict(pictures)
    file = _stdin()

    def replaced(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: replaced(item) for name, item in value.items()}
        return [*map(replaced, value)] if isinstance(value, (list, tuple)) else file if is_pipe(value) else value

    return {name: replaced(value) for name, value in pictures.items()}


def _all(value: Any) -> list[Any]:
    """All pictures in dictionaries and lists of them."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    return [picture for item in value for picture in _all(item)] if isinstance(value, (list, tuple)) else [value]


def _stdin() -> ImageFile:
    from pyengine.files import MOST_BYTES, one_line
    from pyengine.images.reading import ImageFile

    try:
        content = b"" if sys.stdin is None else sys.stdin.buffer.read(MOST_BYTES + 1)
    except OSError as error:
        raise PyengineError(f"standard input: cannot be read ({one_line(error)})") from None
    if not content or len(content) > MOST_BYTES:
        problem = f"more than {MOST_BYTES} bytes" if content else "nothing comes: pipe a picture into it"
        raise PyengineError(f"standard input: {problem}")
    return ImageFile(Path(PIPE), content)


def check_stdout(*, as_json: bool) -> None:
    """Refuse, before the work, to write a picture to where something else is written or somebody reads it."""
    if as_json:
        raise PyengineError("--json and -o -: both are for standard output: write the image to a file")
    if sys.stdout.isatty():
        raise PyengineError("standard output is a terminal: pipe it, as in `-o - | ...`, or write to a file")
