"""`pyengine bench quality`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyengine.cli import options, parsing
from pyengine.cli.checks import check_not_an_input
from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError

QUALITY = "pyengine.bench.quality:quality"


@click.command()
@click.argument("exemplars", metavar="FOLDER_OR_FILE...", nargs=-1, required=True, type=options.file)
@click.option(
    "--variant", "variants", multiple=True, metavar="OPTIONS",
    help="Make textures with these options of `pyengine synthesize`, too, such as '--start patches'. Give it again for "
    "each way to make them.",
)  # fmt: skip
@options.size(QUALITY)
@click.option(
    "--seeds", type=parsing.seeds, default="0", show_default=True, metavar="N[,N...]",
    help="Start from the noise of each of these seeds, and show the means.",
)  # fmt: skip
@click.option(
    "--against", type=click.Choice(["gmic"]),
    help="Let G'MIC make textures as well, from patches (`syntexturize_matchpatch`).",
)  # fmt: skip
@click.option(
    "--pictures", "folder", type=options.file, metavar="FOLDER",
    help="Write a sheet for each exemplar to this folder: itself, and the textures beside it.",
)  # fmt: skip
@options.threads(QUALITY)
@reports
def command(
    exemplars: tuple[Path, ...],
    variants: tuple[str, ...],
    seeds: list[int],
    against: str | None,
    folder: Path | None,
    out: Output,
    **_: Any,
) -> None:
    """Make textures of all pictures in a FOLDER, and measure them.

    They are made at default settings, and in each other way that --variant names. The figures are those of `pyengine
    compare`, in a table in Markdown; its last rows are the means.
    """
    from pyengine.bench import quality
    from pyengine.cli.commands.synthesize import arguments
    from pyengine.files import check_place
    from pyengine.images.writing import save
    from pyengine.versions import versions

    pictures = {path.stem: path for path in quality.pictures_of(exemplars)}
    sheets = {} if folder is None else {name: folder / f"{name}.png" for name in pictures}
    for sheet in sheets.values():
        check_place(sheet)
        check_not_an_input(sheet, *pictures.values())
    ways: dict[str, dict[str, Any]] = {"default": {}}
    for text in variants:
        try:
            ways[text] = arguments(text)
        except PyengineError as error:
            raise PyengineError(f"--variant {error}") from None
    runs: list[quality.QualityRun] = []
    typed = options.typed(QUALITY)
    for found in quality.quality([*pictures.values()], ways, seeds=seeds, gmic=against is not None, **typed):
        if not runs:
            out.say("\n".join(quality.heading()))
        name = found[0].exemplar
        out.say(quality.row(name, found))
        runs += found
        if sheets:  # what there is of it so far: the rest may take long
            save(quality.contact_sheet(pictures[name], [run for run in runs if run.exemplar == name]), sheets[name])
    for line in quality.means(runs):
        out.say(line)
    out.document({"runs": [run.document() for run in runs], "versions": versions()})
