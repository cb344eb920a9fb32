"""`pyengine bench memory`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options
from pyengine.cli.checks import check_plot
from pyengine.cli.output import Output, reports

FOOTPRINTS = "pyengine.bench.memory:footprints"


@click.command()
@options.exemplar
@options.sizes("256,512,1024")
@options.memory_limit(FOOTPRINTS)
@options.threads(FOOTPRINTS)
@options.plot("memory")
@reports
def command(
    exemplar: Path, sizes: list[int], memory_limit: int | None, plot: Path | None, out: Output, **_: Any
) -> None:
    """Show the memory that a synthesis takes, by size.

    Synthesises from EXEMPLAR at every size, each in a process of its own, with few iterations.
    """
    from dataclasses import asdict

    from pyengine.bench import memory
    from pyengine.images.writing import save
    from pyengine.versions import versions

    if plot is not None:
        check_plot(plot, exemplar)
    runs: list[memory.Footprint] = []
    for run in memory.footprints(exemplar, sizes, **options.typed(FOOTPRINTS)):
        if not runs:
            out.say(f"{'size':>5}  peak, MB   tile  optimiser  seconds")
        peak = "unknown" if run.megabytes is None else f"{run.megabytes:.0f}"
        out.say(
            f"{run.size:5} {peak:>9} {run.tile or 'whole':>6} {'in a file' if run.spilled else 'in memory':>10} "
            f"{run.seconds:8.1f}"
        )
        runs.append(run)
    if plot is not None:
        save(memory.plot(runs, memory_limit), plot)
    out.document({"exemplar": str(exemplar), "runs": [asdict(run) for run in runs], "versions": versions()})
