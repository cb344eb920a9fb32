"""`pyengine compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyengine.cli import options
from pyengine.cli.checks import check_not_an_input
from pyengine.cli.output import Output, reports

if TYPE_CHECKING:
    from pyengine.quality.measures import Comparison


@click.command()
@options.exemplar
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=options.file)
@click.option(
    "--picture", type=options.file, metavar="FILE",
    help="Write all of them side by side, with names and patch distances, to this image.",
)  # fmt: skip
@reports
def command(exemplar: Path, images: tuple[Path, ...], picture: Path | None, out: Output) -> None:
    """Measure how much each IMAGE looks like EXEMPLAR, by figures that the synthesis does not optimise.

    The patch distance is that of all 7x7 patches over a pyramid, 0 for the same. Drift is the levels of 255 by which
    blocks are too bright or dark, too harsh or pale. The seam ratio is the step across the border to the sharpest
    inside, at most 1 where the image tiles.
    """
    from dataclasses import asdict

    from pyengine.images.reading import load
    from pyengine.images.writing import check_output, save
    from pyengine.quality import measures
    from pyengine.quality.sheet import sheet

    if picture is not None:
        check_output(picture)
        check_not_an_input(picture, exemplar, *images)
    expected = load(exemplar)
    loaded = [load(path, "image") for path in images]
    found = [(path, measures.compare(expected, image)) for path, image in zip(images, loaded, strict=True)]
    if picture is not None:
        labels = [f"{path.name}\npatch distance {one.patch_distance:.3f}" for path, one in found]
        save(sheet([[expected, *loaded]], [[exemplar.name, *labels]]), picture)
    out.document([{"image": str(path), **asdict(one)} for path, one in found])
    for path, one in found:
        out.say(f"{path}: {_described(one)}")


def _described(found: Comparison) -> str:
    return (
        f"patch distance {found.patch_distance:.3f}, brightness drift {found.brightness_drift:.1f}, "
        f"contrast drift {found.contrast_drift:.1f}, seam ratio {found.seam_ratio:.2f}"
    )
