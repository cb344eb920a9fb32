"""`pyengine models`."""

from __future__ import annotations

import click

from pyengine.cli.commands import Commands


@click.group(cls=Commands, package=__name__)
def command() -> None:
    """List, import and remove models: the networks whose features are matched."""
