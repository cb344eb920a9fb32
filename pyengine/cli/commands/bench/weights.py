"""`pyengine bench weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports

SCHEMES = "pyengine.bench.weights:schemes"


@click.command()
@options.exemplars
@options.of(SCHEMES)(
    "--content", type=options.file, metavar="FILE", unset="none", help="Transfer the exemplars' styles to this picture."
)  # fmt: skip
@options.size(SCHEMES)
@options.seed(SCHEMES)
@options.threads(SCHEMES)
@reports
def command(exemplars: tuple[Path, ...], out: Output, **_: Any) -> None:
    """Compare the automatic weights with the paper's thresholds, and with numbers that stay the same.

    The figures are those of `pyengine compare`, and with --content how much of its layout is left: 1 for all.
    """
    from dataclasses import asdict

    from pyengine.bench import weights
    from pyengine.versions import versions

    runs = []
    for run in weights.schemes(exemplars, **options.typed(SCHEMES)):
        layout = "" if run.layout_similarity is None else f", layout {run.layout_similarity:.2f}"
        out.say(
            f"{exemplars[run.exemplar]}, {run.scheme}: patch distance {run.patch_distance:.3f}, brightness drift "
            f"{run.brightness_drift:.1f}, contrast drift {run.contrast_drift:.1f}{layout}"
        )
        runs.append(asdict(run))
    out.document({"exemplars": [*map(str, exemplars)], "runs": runs, "versions": versions()})
