"""`pyengine bench batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports

THROUGHPUT = "pyengine.bench.throughput:throughput"


@click.command()
@options.exemplars
@options.sizes("64,128")
@options.of(THROUGHPUT)("--jobs", metavar="N", help="Make so many textures of each size.")
@reports
def command(exemplars: tuple[Path, ...], sizes: list[int], jobs: int, out: Output, **_: Any) -> None:
    """Make textures in a loop, and in batches of many workers and of many threads, on a CPU."""
    from dataclasses import asdict

    from pyengine.bench.throughput import throughput
    from pyengine.versions import versions

    runs = []
    for run in throughput(exemplars, sizes=sizes, jobs=jobs):
        runs.append(asdict(run))
        out.say(
            f"{run.jobs} of {run.size}x{run.size}: loop {run.loop:.1f} s, a worker a core {run.workers:.1f} s "
            f"({run.loop / run.workers:.2f}x), one worker {run.threads:.1f} s ({run.loop / run.threads:.2f}x)"
        )
    out.document({"exemplars": [*map(str, exemplars)], "runs": runs, "versions": versions()})
