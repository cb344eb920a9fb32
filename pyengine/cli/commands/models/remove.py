"""`pyengine models remove`."""

from __future__ import annotations

import click

from pyengine.cli.output import Output, reports


@click.command()
@click.argument("name")
@reports
def command(name: str, out: Output) -> None:
    """Delete the model NAME that was imported; those that ship with pyengine stay."""
    import pyengine

    path = pyengine.remove_model(name)
    out.document({"removed": str(path)})
    out.remark(f"{path}: removed")
