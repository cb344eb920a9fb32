"""`pyengine models list`."""

from __future__ import annotations

from typing import Any

import click

from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError


@click.command()
@reports
def command(out: Output) -> None:
    """Show the models that --model can name."""
    entries = _entries()
    out.document(entries)
    for entry in entries:
        if "error" in entry:
            out.say(f"{entry['name']}: unusable: {entry['error']}")
        else:
            layers, megabytes = entry["layers"], entry["bytes"] / 1e6
            out.say(f"{entry['name']}: {entry['architecture']}, {layers[0]} ... {layers[-1]}, {megabytes:.1f} MB")
            out.say(f"  from {entry['origin']}")


def _entries() -> list[dict[str, Any]]:
    # TODO(lead): pyengine.list_models()
    from pyengine.network.weights import installed, read

    entries: list[dict[str, Any]] = []
    for path in installed():
        entry: dict[str, Any] = {"name": path.stem, "path": str(path)}
        try:
            weights = read(path)
        except PyengineError as error:
            entry |= {"error": str(error)}
        else:
            entry |= {
                "architecture": weights.architecture,
                "layers": weights.layers,
                "bytes": path.stat().st_size,
                "origin": weights.origin,
            }
        entries.append(entry)
    return entries
