"""`pyengine bench drift`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options
from pyengine.cli.checks import check_plot
from pyengine.cli.output import Output, reports

DRIFT = "pyengine.bench.stability:drift"


@click.command()
@options.exemplar
@options.sizes("128,256,512")
@options.of(DRIFT)(
    "--crop", metavar="N", unset="all of it", help="Use only the NxN pixels at the exemplar's top left."
)  # fmt: skip
@options.of(DRIFT)("--iterations", metavar="N", unset="the method's", help="Iterate so often at every level.")
@options.seed(DRIFT)
@options.threads(DRIFT)
@options.plot("drift")
@reports
def command(exemplar: Path, sizes: list[int], plot: Path | None, out: Output, **_: Any) -> None:
    """Show how brightness and contrast drift without histograms.

    Synthesises from EXEMPLAR at every size by Gram matrices alone, as Gatys et al. 2015 do, and by the default method:
    the larger the output, the more the two differ. The figures are those of `pyengine compare`.
    """
    from dataclasses import asdict

    from pyengine.bench import stability
    from pyengine.images.writing import save
    from pyengine.versions import versions

    if plot is not None:
        check_plot(plot, exemplar)
    runs: list[stability.DriftRun] = []
    for run in stability.drift(exemplar, sizes, **options.typed(DRIFT)):
        if not runs:
            out.say(f"{'method':>9} {'size':>5}  patch distance  brightness drift  contrast drift  seconds")
        out.say(
            f"{run.method:>9} {run.size:5} {run.patch_distance:15.3f} {run.brightness_drift:17.1f} "
            f"{run.contrast_drift:15.1f} {run.seconds:8.1f}"
        )
        runs.append(run)
    if plot is not None:
        save(stability.plot(runs), plot)
    out.document({"exemplar": str(exemplar), "runs": [asdict(run) for run in runs], "versions": versions()})
