"""The command line. Builds what the API builds, and says what happened.

A command is a file in `commands`, found by its name. Whatever is slow to import is imported where it is used, so that
``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import warnings
from typing import Any

import click

from pyengine import __version__
from pyengine.cli.commands import Commands
from pyengine.errors import PyengineError


class _Failure(click.ClickException):
    """Ends the program with one line."""

    exit_code = 2  # as click's own errors do


class _Interrupted(_Failure):
    exit_code = 130  # as the shell says of a program that Ctrl-C ended


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


class _Main(Commands):
    """Commands whose errors are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except PyengineError as error:
            raise _Failure(str(error)) from error
        except ImportError as error:  # such as of the compiled module, for an instruction set that there is not
            raise _Failure(str(error)) from error
        except click.BadParameter as error:
            raise _Failure(error.format_message()) from error
        except KeyboardInterrupt:
            raise _Interrupted("interrupted; nothing was written") from None


@click.group(
    "pyengine", cls=_Main, package="pyengine.cli.commands", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
def main() -> None:
    """Neural texture synthesis and style transfer: new images, of any size, that look like the ones you give."""
