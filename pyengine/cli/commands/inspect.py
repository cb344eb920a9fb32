"""`pyengine inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports


@click.command()
@options.exemplar
@reports
def command(exemplar: Path, out: Output) -> None:
    """Show EXEMPLAR's periods, the sizes at which a texture of it can tile, its light, and settings that suit it.

    A regular pattern tiles only where a whole number of its periods fits into the size; `pyengine synthesize --fit`
    sees to that.
    """
    from dataclasses import asdict

    from pyengine.inspection import inspect

    found = inspect(exemplar)
    out.document({"exemplar": str(exemplar), **asdict(found)})
    out.say(f"{exemplar}: {found.size[0]}x{found.size[1]} pixels")
    if not found.periods:
        out.say("no periods: every size can tile")
    for period, angle in zip(found.periods, found.angles, strict=True):
        out.say(f"period: {period:.1f} pixels at {angle:.0f} degrees")
    if found.periods:
        out.say(f"regularity: {found.regularity:.2f}")
        out.say(f"sizes that tile: {', '.join(f'{width}x{height}' for width, height in found.sizes)}")
        out.say(f"suggested: {' '.join(f'--{name} {value}' for name, value in found.settings.items())}")
    out.say(f"light: varies by {found.light:.0%} of its mean")
