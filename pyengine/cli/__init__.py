"""The command line. Builds what the API builds, and says what happened.

A command is a file in `commands`, found by its name. Whatever is slow to import is imported where it is used, so that
``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from pyengine import __version__
from pyengine.cli.commands import Commands
from pyengine.cli.output import ReaderGone, debug, settle, tell
from pyengine.errors import PyengineError, printable

FAILED, INTERRUPTED = 2, 130
"""Exit codes: that of click's own errors, and what the shell says of a program that Ctrl-C ended."""

SHORTAGES = ("alloc", "failed to map segment", "failed to serialize", "without setting an exception")
"""How libraries say in their errors that memory is short."""


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    tell(f"Warning: {message}")


class _Main(Commands):
    """The guard around all commands: what went wrong is one line, whatever it is."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and in the standalone mode end the program with its exit code."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        code = 0
        try:
            code = run() or 0
        except click.UsageError as error:
            text = io.StringIO()
            error.show(text)  # with the command's usage, and what it was close to
            usage, *_ = text.getvalue().partition("Error: ")
            tell(f"{usage}Error: {printable(error.format_message())}")  # with what was typed, which makes no lines
            code = FAILED
        except click.Abort:
            tell("Error: interrupted")
            code = INTERRUPTED
        except ReaderGone:
            pass
        except Exception as error:
            if "--debug" in (sys.argv if args is None else args):
                import traceback

                tell(traceback.format_exc())
            tell(f"Error: {printable(_line(error))}")
            code = FAILED
        finally:
            settle()
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")  # what matters of it is an error of ours
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except click.BadParameter as error:  # one line, without the usage
                raise PyengineError(error.format_message()) from error


def _line(error: Exception) -> str:
    """What went wrong and what to do about it."""
    if isinstance(error, PyengineError):
        return str(error)
    kind, words = type(error).__name__, str(error)
    if isinstance(error, MemoryError) or any(shortage in words.lower() for shortage in SHORTAGES):
        return f"memory is short ({kind}): make a smaller --size, give a lower --memory-limit, or free some"
    if isinstance(error, ImportError):  # such as of the compiled module, for an instruction set that there is not
        return next((line for line in reversed(words.splitlines()) if line.strip()), kind)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror if error.filename is None else f'{error.filename}: {error.strerror}'} ({kind})"
    return f"{kind}: {words}; this should not happen: please report it, with what --debug and `pyengine info` show"


@click.group(
    "pyengine", cls=_Main, package="pyengine.cli.commands", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
@debug
def main() -> None:
    """Neural texture synthesis and style transfer: new images, of any size, that look like the ones you give."""
