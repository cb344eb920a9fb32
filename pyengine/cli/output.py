"""What a command prints, and where: the options that all have."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import click

from pyengine.errors import PyengineError


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
        """Print text for the eye, unless it is not wanted."""
        if not (self.as_json or self.quiet):
            click.echo(text)

    def document(self, document: Any) -> None:
        """Print a document as JSON, if that is wanted."""
        if self.as_json:
            click.echo(json.dumps(document))


def reports(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --json, --quiet and --verbose, and its function an `Output` as the argument `out`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
    @click.option("-q", "--quiet", is_flag=True, help="Print no text and show no progress; errors and warnings stay.")
    @click.option("-v", "--verbose", is_flag=True, help="Tell what happens on standard error.")
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
            click.echo(record.getMessage(), err=True)

    logger, handler = logging.getLogger("pyengine"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
