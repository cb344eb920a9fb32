"""`pyengine compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyengine.cli import options
from pyengine.cli.checks import check_not_an_input
from pyengine.cli.output import Output, reports
from pyengine.cli.pipes import with_stdin

if TYPE_CHECKING:
    from pyengine.wrap import Axes


@click.command()
@options.exemplar
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=options.file)
@click.option(
    "--mask", type=options.file, metavar="FILE",
    help="Measure the seam along the edge of this mask too, as of a hole that was filled.",
)  # fmt: skip
@options.of("pyengine.quality.measures:compare")(
    "--seamless", unset="none",
    help="Measure the seam along the edge of the band that this option of synthesize makes again.",
)  # fmt: skip
@click.option(
    "--content", type=options.file, metavar="FILE",
    help="Measure each IMAGE as a transfer of EXEMPLAR's style to this picture too.",
)  # fmt: skip
@click.option(
    "--picture", type=options.file, metavar="FILE",
    help="Write all of them side by side, with names and patch distances, to this image.",
)  # fmt: skip
@reports
def command(
    exemplar: Path,
    images: tuple[Path, ...],
    mask: Path | None,
    seamless: Axes | None,
    content: Path | None,
    picture: Path | None,
    out: Output,
) -> None:
    """Measure how much each IMAGE looks like EXEMPLAR, by figures that the synthesis does not optimise.

    A picture that is called - is read from standard input.

    The patch distance is that of all 7x7 patches over a pyramid, 0 for the same. Drift is the levels of 255 by which
    blocks are too bright or dark, too harsh or pale.

    Realism is how many levels of 255 the image's 15x15 patches are from the exemplar's nearest, so that what is bent or
    blurred counts; left out is how many those of the exemplar are from the image's. Order is how much recurs at the
    exemplar's distances, 1 for all. Copied is the share that stands in the exemplar as it is, copied layout the same at
    a quarter of the size.

    The seam ratios are the step across the border to the sharpest inside, at most 1 where the image tiles side by side
    (x), or one above the other (y); the edge ratio is that of the mask's edge. A figure that there is not, such as the
    order of gravel, is left out.

    With --content, EXEMPLAR is a style, and reduced to the area of IMAGE where it is larger. The style distance is that
    of a network's features, 0 for the same. The layout similarity says how much of the content's outlines is left, 1
    for all; the self similarity distance how much of what is alike in it is not so in the image, 0 for the content.
    """
    from dataclasses import asdict

    from pyengine.images.reading import load, load_alike
    from pyengine.images.writing import check_output, save
    from pyengine.quality import measures
    from pyengine.quality.sheet import sheet

    if picture is not None:
        check_output(picture)
        others = [path for path in (mask, content) if path is not None]
        check_not_an_input(picture, exemplar, *images, *others)
    given = with_stdin({"exemplar": exemplar, "images": images, "mask": mask, "content": content})
    compared = [(given["exemplar"], "exemplar"), *((source, "image") for source in given["images"])]
    expected, *loaded = load_alike(*compared)
    shown = None if content is None else load(given["content"], "content")
    found = [
        (path, measures.compare(expected, image, mask=given["mask"], seamless=seamless, content=shown))
        for path, image in zip(images, loaded, strict=True)
    ]
    if picture is not None:
        labels = [f"{path.name}\npatch distance {one.patch_distance:.3f}" for path, one in found]
        save(sheet([[expected, *loaded]], [[exemplar.name, *labels]]), picture)
    out.document([{"image": str(path), **asdict(one)} for path, one in found])
    for path, one in found:
        out.say(f"{path}: " + ", ".join(f"{name} {text}" for name, text in one.shown().items() if text != "-"))
