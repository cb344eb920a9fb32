"""The commands: a module each, which holds it as `command`; a package of such modules is a command with subcommands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class Commands(click.Group):
    """The commands that are the modules of a package, each imported when it is asked for.

    A command is called as its module is; an underscore that keeps a name from being a word of Python's is left out.
    """

    def __init__(self, *arguments: Any, package: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in alphabetical order."""
        return sorted(self._modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        module = self._modules().get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(f"{self.package}.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """What is to be run, by what was typed; a name that is none is told the nearest."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def _modules(self) -> dict[str, str]:
        from pkgutil import iter_modules

        return {module.name.rstrip("_"): module.name for module in iter_modules(import_module(self.package).__path__)}
