"""`pyengine bench convergence`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports

if TYPE_CHECKING:
    from pyengine.bench.stability import Convergence

CONVERGENCE = "pyengine.bench.stability:convergence"


@click.command()
@options.exemplars
@options.size(CONVERGENCE)
@options.seed(CONVERGENCE)
@options.threads(CONVERGENCE)
@options.of(CONVERGENCE)(
    "--against", type=click.Choice(["torch"]), unset="our own",
    help="Let the baseline be a plain PyTorch version of it.",
)  # fmt: skip
@reports
def command(exemplars: tuple[Path, ...], out: Output, **_: Any) -> None:
    """Count the iterations to the quality of the Gatys baseline.

    For each EXEMPLAR: first 500 iterations of Gatys et al. 2015, by Gram matrices alone at full size, then those of the
    default method until its patch distance is no larger. An iteration of a coarser level counts as a part of one of the
    full size, by its pixels: about what it costs.
    """
    from dataclasses import asdict

    from pyengine.bench import stability
    from pyengine.versions import versions

    figures = []
    for path, found in zip(exemplars, stability.convergence(exemplars, **options.typed(CONVERGENCE)), strict=True):
        figures.append({"exemplar": str(path), **asdict(found)})
        for line in _lines(path, found):
            out.say(line)
    out.document({"exemplars": figures, "versions": versions()})


def _lines(exemplar: Path, found: Convergence) -> Iterator[str]:
    width, height = found.size
    yield f"{exemplar}, {width}x{height} pixels:"
    yield (
        f"  baseline: patch distance {found.baseline_distance:.3f} after {found.baseline_iterations} iterations, "
        f"{found.baseline_seconds:.1f} s"
    )
    if not found.reached:
        yield f"  default: never that near; {found.best_distance:.3f} at best, {found.seconds:.1f} s in all"
        return
    yield (
        f"  default: {found.best_distance:.3f} after {found.iterations} iterations, {found.finest_iterations} of "
        f"them at the finest level, or {found.full_size_iterations:.1f} of the full size; {found.seconds:.1f} s"
    )
    if found.iterations:
        yield (
            f"  baseline / default: iterations {found.iterations_ratio:.1f}, of the full size "
            f"{found.full_size_ratio:.1f}, seconds {found.seconds_ratio:.1f}"
        )
