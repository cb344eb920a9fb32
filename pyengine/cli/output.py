"""What a command prints, and where: the options that all have."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import click

from pyengine.errors import PyengineError, printable


class ReaderGone(Exception):
    """Nobody reads standard output any more, as behind ``| head -1``: there is nothing left to do."""


def tell(text: str) -> None:
    """Say something on standard error, if anybody listens: no work is lost for want of a place to talk of it.

    Examples
    --------
    >>> tell("level 1/2 done")
    """
    with suppress(OSError):
        _print(text, err=True)


def _print(text: str, *, err: bool) -> None:
    """Print lines that no terminal takes for anything but text."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=err)


def settle() -> None:
    """Drop what the standard streams could not write: Python would try again at the end, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


@dataclass(frozen=True)
class Output:
    """Where the words of a command go.

    Attributes
    ----------
    as_json : bool
        Standard output is one JSON document.
    quiet : bool
        Text is not printed, and no progress is shown.
    verbose : bool
        What happens is told on standard error.
    """

    as_json: bool
    quiet: bool
    verbose: bool

    def say(self, text: str) -> None:
        """Print what was found, for the eye, unless it is not wanted.

        Raises
        ------
        PyengineError
            Standard output can't be written to.
        ReaderGone
            Whoever read it has seen enough.
        """
        if not (self.as_json or self.quiet):
            _give(text)

    def remark(self, text: str) -> None:
        """Print what was done, unless it is not wanted or can't be written: the work itself is elsewhere."""
        if not (self.as_json or self.quiet):
            with suppress(OSError):
                _print(text, err=False)

    def content(self, content: bytes) -> None:
        """Write a file's content to standard output; the errors are those of `say`."""
        with _needed():
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def document(self, document: Any) -> None:
        """Print a document as JSON, if that is wanted; the errors are those of `say`."""
        if self.as_json:
            _give(json.dumps(document).replace("\x7f", "\\u007f"))  # the only character that JSON leaves a terminal


def _give(text: str) -> None:
    with _needed():
        _print(text, err=False)


@contextmanager
def _needed() -> Iterator[None]:
    """What is written here is what the command was called for."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise ReaderGone from None
        raise PyengineError(f"standard output: cannot be written ({error.strerror}): choose another place") from error


debug = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show on standard error where in the code an error comes from."
)
"""The option that the guard around all commands looks for."""


def reports(
    function: Callable[..., Any], as_json: str = "Print one JSON document instead of text."
) -> Callable[..., Any]:
    """Give a command --json, --quiet, --verbose and --debug, and its function an `Output` as the argument `out`.

    Parameters
    ----------
    function : callable
        The command's.
    as_json : str
        What --json does. Default: it prints one document.
    """

    @click.option("--json", "as_json", is_flag=True, help=as_json)
    @click.option("-q", "--quiet", is_flag=True, help="Print no text and show no progress; errors and warnings stay.")
    @click.option("-v", "--verbose", is_flag=True, help="Tell what happens on standard error.")
    @debug
    @functools.wraps(function)
    def command(*arguments: Any, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> Any:
        if quiet and verbose:
            raise PyengineError("--quiet and --verbose: give one of them")
        with _logged() if verbose else nullcontext():
            return function(*arguments, out=Output(as_json, quiet, verbose), **options)

    return command


@contextmanager
def _logged() -> Iterator[None]:
    """Show on standard error what pyengine logs."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.getMessage())

    logger, handler = logging.getLogger("pyengine"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
