"""`pyengine models remove`."""

from __future__ import annotations

import click

from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError


@click.command()
@click.argument("name")
@reports
def command(name: str, out: Output) -> None:
    """Delete the model NAME that was imported; those that ship with pyengine stay."""
    # TODO(lead): pyengine.remove_model(name)
    from pyengine.network.weights import installed, user_folder

    names = {path.stem: path for path in installed() if path.parent == user_folder()}
    if name not in names:
        raise PyengineError(f"model {name!r}: imported are {', '.join(names) or 'none'}")
    names[name].unlink()
    out.document({"removed": str(names[name])})
    out.say(f"{names[name]}: removed")
