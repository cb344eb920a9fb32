"""`pyengine bench optimizers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports

OPTIMIZERS = "pyengine.bench.optimizers:optimizers"


@click.command()
@options.exemplars
@options.size(OPTIMIZERS)
@options.of(OPTIMIZERS)("--evaluations", metavar="N", help="Evaluate the objective so often for each.")
@options.seed(OPTIMIZERS)
@options.threads(OPTIMIZERS)
@reports
def command(exemplars: tuple[Path, ...], out: Output, **_: Any) -> None:
    """Minimise the same objective with our L-BFGS and with SciPy's L-BFGS-B, from the same noise."""
    from dataclasses import asdict

    from pyengine.bench.optimizers import optimizers
    from pyengine.versions import versions

    runs = []
    for run in optimizers(exemplars, **options.typed(OPTIMIZERS)):
        runs.append(asdict(run))
        needed = "more than twice as many" if run.needed is None else f"{run.needed}"
        out.say(
            f"{exemplars[run.exemplar]}: {run.start:.3g} to {run.value:.3g} in {run.evaluations} evaluations, "
            f"SciPy to {run.scipy_value:.3g}, for which we need {needed}"
        )
    out.document({"exemplars": [*map(str, exemplars)], "runs": runs, "versions": versions()})
