"""Options that stand for parameters of functions, and those of them that several commands share.

Such an option says what it does in words of its own. Its default is the function's, and so are its type and its
choices, unless it is parsed in a way of its own. They are looked up when they are needed: the functions take long to
import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache, reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import click

from pyengine.cli import parsing
from pyengine.files import is_url

Decorator: TypeAlias = Callable[[Any], Any]

ENGINE = "pyengine.engine:Engine"


@cache
def _function(path: str) -> Any:
    module, _, name = path.partition(":")
    return reduce(getattr, name.split("."), import_module(module))


@cache
def parameters(path: str) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name.

    Parameters
    ----------
    path : str
        The function's or class's, as "module:name".

    Examples
    --------
    >>> list(parameters("pyengine.images.resampling:resize"))
    ['image', 'size']
    """
    return dict(inspect.signature(_function(path)).parameters)


class ParameterOption(click.Option):
    """An option that stands for a parameter of a function.

    Parameters
    ----------
    declarations : sequence of str
        As click's.
    of : str
        The function's path, see `parameters`.
    unset : str, default empty
        What it means where the function's default is None.
    """

    def __init__(self, declarations: Any, *, of: str, unset: str = "", **attributes: Any) -> None:
        if not any("/" in declared for declared in declarations):  # else a flag
            attributes.setdefault("type", lambda text: self._annotated().convert(text, self, None))
        super().__init__(declarations, default=None, **attributes)
        self.of, self.unset = of, unset

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What click shows, with the function's choices and default."""
        if not (self.is_flag or self.metavar):
            kind = self._annotated()
            self.metavar = f"[{'|'.join(kind.choices)}]" if isinstance(kind, click.Choice) else kind.name.upper()
        record, default = super().get_help_record(ctx), self._default()
        return (record[0], f"{record[1]}  [default: {default}]") if record and default else record

    def _annotated(self) -> Any:
        """Click's type for what the parameter is annotated with: choices, a number, or a text."""
        function = _function(self.of)
        hint = get_type_hints(function.__init__ if inspect.isclass(function) else function)[self.name or ""]
        options = [hint] if get_origin(hint) is Literal else get_args(hint) or [hint]
        if get_origin(options[0]) is Literal:
            return click.Choice(get_args(options[0]))
        types: dict[Any, Any] = {int: click.INT, float: click.FLOAT}
        return types.get(options[0], click.STRING)

    def _default(self) -> str:
        """The function's default as it would be typed."""
        default = parameters(self.of)[self.name or ""].default
        if default is None:
            return self.unset
        if isinstance(default, bool):
            return (self.opts if default else self.secondary_opts)[0].lstrip("-")
        if isinstance(default, (tuple, list)):
            return ",".join(default)
        return f"{default:g}" if isinstance(default, (int, float)) else str(default)


def of(path: str) -> Callable[..., Decorator]:
    """A decorator like `click.option`, for options that stand for parameters of a function."""

    def option(*declarations: str, **attributes: Any) -> Decorator:
        return click.option(*declarations, cls=ParameterOption, of=path, **attributes)

    return option


def together(decorators: Iterable[Decorator]) -> Decorator:
    """One decorator of many, which help shows in this order."""

    def decorate(function: Any) -> Any:
        for decorator in reversed([*decorators]):
            function = decorator(function)
        return function

    return decorate


def typed(path: str) -> dict[str, Any]:
    """What was typed of the running command's options that stand for parameters of a function, by name."""
    context = click.get_current_context()
    options = [p for p in context.command.params if isinstance(p, ParameterOption) and p.of == path]
    values = {option.name or "": context.params[option.name or ""] for option in options}
    return {name: value for name, value in values.items() if value is not None and value != ()}


file = click.Path(path_type=Path)
"""The type of what is the path of a file."""


class _FileOrUrl(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


file_or_url = _FileOrUrl(path_type=Path)
"""The type of what is the path of a file, or its URL, which stays a text."""


def output(metavar: str, text: str, *, required: bool = False) -> Decorator:
    """The option of the file to write, of which there is one: of two, none would be missed before the work is done."""
    return click.option(
        "-o", "--output", type=file, metavar=metavar, required=required, multiple=True, callback=_only, help=text
    )


def _only(context: click.Context, option: click.Parameter, values: tuple[Path, ...]) -> Path | None:
    if len(values) > 1:
        raise click.BadParameter(f"given {len(values)} times: give one file", context, option)
    return values[0] if values else None


exemplar = click.argument("exemplar", type=file)
exemplars = click.argument("exemplars", metavar="EXEMPLAR...", nargs=-1, required=True, type=file)


def plot(what: str) -> Decorator:
    """The option to draw something against the size."""
    return click.option(
        "--plot", type=file, metavar="FILE", help=f"Draw {what} against size, to this image; needs matplotlib."
    )


def sizes(default: str) -> Decorator:
    """The option of several sizes."""
    return click.option(
        "--sizes", type=parsing.sides, default=default, show_default=True, metavar="N[,N...]",
        help="Measure at these sizes: pixels on a side.",
    )  # fmt: skip


def size(path: str) -> Decorator:
    """The option of one size, of squares."""
    return of(path)(
        "--size", metavar="N", unset="the exemplar's own size",
        help="Make outputs of so many pixels on a side.",
    )  # fmt: skip


def repeats(default: int) -> Decorator:
    """The option of how often to measure."""
    return click.option(
        "--repeats", type=click.IntRange(min=1), default=default, show_default=True, metavar="N",
        help="Take the median of so many evaluations.",
    )  # fmt: skip


def seed(path: str) -> Decorator:
    """The option of the noise to start from."""
    return of(path)(
        "--seed", metavar="N", help="Start from the noise of this seed: the same one gives the same image."
    )  # fmt: skip


def threads(path: str = ENGINE) -> Decorator:
    """The option of how many threads compute."""
    return of(path)("--threads", metavar="N", unset="every core", help="Compute with so many threads on a CPU.")


def memory_limit(path: str = ENGINE) -> Decorator:
    """The option of how much memory to take."""
    return of(path)(
        "--memory-limit", type=parsing.byte_count, metavar="BYTES", unset="most of what there is",
        help="Take at most so much memory, such as 3GB; an image that needs more is made in tiles.",
    )  # fmt: skip


engine = together(
    [
        of(ENGINE)(
            "--model", metavar="NAME",
            help="Match the features of this model: one that `pyengine models list` shows, or a file.",
        ),
        threads(),
        of(ENGINE)(
            "--device", metavar="NAME",
            help="Compute on cpu, cuda, cuda:1, tensorrt or tensorrt:1; auto is the first GPU that works, or the CPU.",
        ),
        of(ENGINE)(
            "--precision", unset="float32 on a CPU, tf32 on a GPU",
            help="Compute the network's convolutions in this precision.",
        ),
        memory_limit(),
    ]
)  # fmt: skip
"""All options of an engine."""
