"""`pyengine synthesize`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine.cli import options, parsing
from pyengine.cli.checks import check_not_an_input
from pyengine.cli.interrupt import Interrupt
from pyengine.cli.materials import material, typed_exemplars
from pyengine.cli.output import Output, reports, tell
from pyengine.cli.pipes import check_stdout, is_pipe, with_stdin
from pyengine.cli.progress import progress
from pyengine.errors import PyengineError
from pyengine.images.formats import choices

if TYPE_CHECKING:
    from pyengine.images.encoding import Depth
    from pyengine.result import Progress

RECIPE, RUN = "pyengine.recipe:Recipe.create", "pyengine.engine:Engine.run"

_of, _of_run = options.of(RECIPE), options.of(RUN)
recipe = options.together(
    [
        _of(
            "--size", type=parsing.size, metavar="WxH", unset="that of the content, or else of the exemplar",
            help="Make the result this large, in pixels; one number makes a square.",
        ),
        _of(
            "--fit", unset="neither",
            help="Take the nearest size that the exemplar's periods fit, or scale the exemplar to fit the size.",
        ),
        _of(
            "--exemplar-weights", type=parsing.numbers, metavar="W,W...", unset="pooled, every pixel counting alike",
            help="Interpolate the statistics of several exemplars by these weights.",
        ),
        _of(
            "--augment", type=parsing.names, metavar="A[,A]", unset="none",
            help="Take mirror images (flips) or quarter turns (turns) of the exemplars as well, in which normals are "
            "turned, too.",
        ),
        _of(
            "--alpha", unset="made in textures, else a mask",
            help="Make the exemplar's opacity with its colours, as of leaves, or take it for a mask of what counts.",
        ),
        _of(
            "--content", metavar="FILE", unset="none",
            help="Show this picture in the exemplar's style.",
        ),
        _of(
            "--content-strength", metavar="S",
            help="Show more of the content above 1, and more of the style below.",
        ),
        _of(
            "--init", metavar="FILE", unset="content if there is one, else as --start says",
            help="Start from this picture, from noise or from content.",
        ),
        _of(
            "--start", unset="patches, but noise for gatys",
            help="Start from noise, or from a layout of the exemplar's patches.",
        ),
        _of(
            "--flatten-light/--no-flatten-light",
            help="Take the slow variation of light out of the exemplar, and out of the picture that is kept.",
        ),
        _of(
            "--style-scale", metavar="S",
            help="Make the exemplar's features larger or smaller by this factor.",
        ),
        _of(
            "--preserve-color", unset="the exemplar's colours",
            help="Keep the content's colours, by transferring luminance only or by matching the exemplar's to them.",
        ),
        _of(
            "--profile",
            help="Convert colours to sRGB, or work on them as they are and write the pictures' own colour profile.",
        ),
        _of(
            "--palette", unset="any colours",
            help="Keep the exemplar's own colours, and make no others, for pixel art of up to 256.",
        ),
        _of(
            "--exemplar-regions", multiple=True, metavar="FILE", unset="all of the k-th exemplar is region k",
            help="Divide the exemplar into the regions of this index image. Give it again for each exemplar, or for a "
            "soft mask of each region.",
        ),
        _of(
            "--output-regions", multiple=True, metavar="FILE", unset="no regions",
            help="Paint by numbers: lay the result out by the regions of this index image. Give it again for a soft "
            "mask of each region.",
        ),
        _of(
            "--regions", metavar="N", unset="as many as there clearly are",
            help="Snap index images to their N main values, at most: what antialiasing and JPEG make of flat colours.",
        ),
        _of(
            "--keep", metavar="FILE", unset="nothing is kept",
            help="Keep what is white in this mask, and make the rest again.",
        ),
        _of(
            "--fill", metavar="FILE", unset="all is made",
            help="Make again what is white in this mask, or with alpha what is transparent, and keep the rest.",
        ),
        _of(
            "--sample-mask", multiple=True, metavar="FILE", unset="all of it",
            help="Measure only what is white in this mask of the exemplar. Give it again for each exemplar.",
        ),
        _of(
            "--mask-threshold", metavar="T", unset="the middle between a mask's dark and its light",
            help="Take what is above this level, from 0 to 1, as white in --keep, --fill and --sample-mask.",
        ),
        _of(
            "--seamless", unset="no border is made again",
            help="Make a band at the borders again, so that the picture tiles: on the left and right (x), at top and "
            "bottom (y), or all around.",
        ),
        _of(
            "--method",
            help="Match histograms as well, or as Gatys et al. 2015 nothing but Gram matrices.",
        ),
        _of(
            "--weight", "weights", type=parsing.weight, multiple=True, metavar="TERM=W", unset="auto",
            help="Weight gram, histogram, correlation, structure, content or variation, or one layer's, as "
            "gram/relu1_1, by a number or by auto. Give it again for each term.",
        ),
        click.option(
            "--thresholds", is_flag=True,
            help="Weight terms by the paper's own scheme instead (Risser et al., sec. 6).",
        ),
        _of(
            "--structure/--no-structure",
            help="Match arrangements too, for regular patterns.",
        ),
        _of(
            "--gram-layers", type=parsing.names, metavar="L,L...", unset="of a VGG relu1_1,relu2_1,relu3_1,relu4_1",
            help="Match Gram matrices on these feature maps.",
        ),
        _of(
            "--histogram-layers", type=parsing.names, metavar="L,L...", unset="of a VGG relu1_1,relu4_1",
            help="Match histograms on these feature maps.",
        ),
        _of(
            "--content-layers", type=parsing.names, metavar="L,L...", unset="of a VGG relu4_1",
            help="Match the content on these feature maps.",
        ),
        _of(
            "--wrap", unset="as --seamless; none with content, a hole, painted regions or gatys; else xy",
            help="Make a result that tiles with itself side by side (x), one above the other (y), or both ways.",
        ),
        _of(
            "--padding", unset="reflect, but zeros for gatys",
            help="Continue images in this way beyond borders that do not tile, as the exemplars' never do.",
        ),
        _of(
            "--pooling", unset="max with content, else average",
            help="Pool the network's feature maps by their average or their maximum.",
        ),
        options.seed(RECIPE),
        _of(
            "--levels", metavar="N", unset="as many as its size allows",
            help="Work on so many sizes, each half as large as the next.",
        ),
        _of(
            "--iterations", type=parsing.iterations, metavar="N[,N...]", unset="by level",
            help="Optimise at most so many times at every level, or at each, coarsest first.",
        ),
    ]
)  # fmt: skip
"""All options of a recipe but its exemplars."""

_run = options.together(
    [
        _of_run(
            "--checkpoint", type=options.file, metavar="FILE", unset="none",
            help="Keep the run in this file from time to time. The same command goes on from there after it was "
            "killed, to the same bits, and removes the file when the picture is written.",
        ),
        _of_run(
            "--checkpoint-every", metavar="SECONDS", unset="60, or more to take at most 2 % of the time",
            help="Write a checkpoint after so many seconds; 0 is after each iteration.",
        ),
        click.option(
            "--save-every", type=click.IntRange(min=1), metavar="N",
            help="Write the picture so far, enlarged to its size, to the output's place after every N iterations.",
        ),
        click.option(
            "--keep-on-interrupt/--no-keep-on-interrupt", default=None, show_default="at a terminal",
            help="On the first Ctrl-C, write the picture so far, enlarged to its size, and only then end.",
        ),
    ]
)  # fmt: skip


@click.command()
@click.argument("exemplars", metavar="[EXEMPLAR]...", nargs=-1, type=options.file)
@options.output(
    "FILE",
    f"Write the image to this file. Its suffix says the format: {choices()}; - is a PNG on standard output. Of a "
    "material, the first map is written there, and the others beside it, in the formats they were read in.",
    required=True,
)
@click.option(
    "--depth",
    type=parsing.depth,
    metavar="[8|16|half|float]",
    show_default="that of what it is made from",
    help="Write values as integers of so many bits, or as floating-point numbers.",
)
@click.option(
    "--recipe", "recipe_file", type=options.file, metavar="FILE",
    help="Make a picture again: a PNG that pyengine wrote, or what --json printed. Exemplars and options that are "
    "given as well take the place of the recipe's.",
)  # fmt: skip
@material
@recipe
@_run
@options.engine
@reports
def command(
    exemplars: tuple[Path, ...],
    output: Path,
    depth: Depth | None,
    recipe_file: Path | None,
    others: tuple[tuple[str, Path], ...],
    folder: Path | None,
    thresholds: bool,
    save_every: int | None,
    keep_on_interrupt: bool | None,
    out: Output,
    **_: Any,
) -> None:
    """Make an image that looks like the EXEMPLAR: a texture, or what the options say.

    Several exemplars are mixed, or with --output-regions the first is region 1, the second region 2, and so on. The
    maps of a material, by --with or --set, are made together. A picture that is called - is read from standard input.
    """
    from pyengine.document import PICTURES
    from pyengine.engine import Engine
    from pyengine.images.writing import check_depth, check_output
    from pyengine.inspection import hint
    from pyengine.machine import reading_within
    from pyengine.network.modelfile import installed
    from pyengine.recipe import Recipe

    if is_pipe(output):
        check_stdout(as_json=out.as_json)
        if save_every:
            raise PyengineError("--save-every with -o -: one picture goes to standard output: name a file")
        check_depth("-.png", depth)
    else:
        check_output(output, depth)
    run = options.typed(RUN)
    checkpoint: Path | None = run.get("checkpoint")
    given = typed_exemplars(exemplars, others, folder)
    if not given and recipe_file is None:
        raise PyengineError("Missing argument 'EXEMPLAR...': give a picture, --set or --recipe")
    arguments = {**typed_arguments(thresholds), **given}
    arguments |= with_stdin({name: value for name, value in arguments.items() if name in PICTURES})
    named: dict[str, Any] = {}
    typed = options.typed(options.ENGINE)
    with reading_within(typed.get("memory_limit") or None):  # the engine refuses 0
        if recipe_file is None:
            asked = Recipe.create(**arguments)
        else:
            text, named = _read(recipe_file)
            asked = Recipe.from_json(text, recipe_file.parent, **arguments)
    files = asked.places(output)
    _check_places([*files.values()], depth, [*asked.files, *([] if recipe_file is None else [recipe_file])], checkpoint)
    made_with = named.pop("sha256", None)
    if "model" in typed:
        made_with = None
    elif "model" in named and named["model"] not in {path.stem for path in installed()}:
        raise PyengineError(
            f"recipe {recipe_file}: made with the model {named['model']!r}, not installed: give --model"
        )
    keeps = sys.stderr.isatty() if keep_on_interrupt is None else keep_on_interrupt
    with Engine(**{**named, **typed}) as engine:
        if made_with is not None and engine.model.sha256 != made_with:
            raise PyengineError(
                f"recipe {recipe_file}: the model {engine.model.name!r} is another than it was made with: give --model"
            )
        if not (out.as_json or out.quiet or out.verbose):  # the engine's log has it as well
            engine.plans(asked)  # there is nothing to look for in a picture that will be refused
            advice = hint(asked)
            if advice is not None:
                tell(f"Hint: {advice}")
        with progress(out) as shown, Interrupt() as interrupt:
            callback = _callback(shown, output, depth, save_every, interrupt if keeps else None)
            result = engine.run(asked, callback=callback, **run)
    if is_pipe(output):
        out.content(result.encode(depth=depth))
    else:
        result.save(output, depth)
    if checkpoint is not None and not result.stopped:
        with suppress(OSError):
            Path(os.path.realpath(checkpoint)).unlink()
    if out.as_json:  # else nothing is read for it that might fail, now that the picture is there
        maps = {"maps": {name: str(place) for name, place in files.items()}} if len(files) > 1 else {}
        out.document({"output": str(output), **maps, **result.report()})
    if asked.light is not None:
        out.remark(f"light that varied by {asked.light:.0%} of its mean is even")
    width, height = result.recipe.size
    seconds, done = result.timings["total"], "stopped after " * result.stopped
    if not is_pipe(output):
        *most, last = map(str, files.values())
        names = f"{', '.join(most)} and {last}" if most else last
        out.remark(f"{names}: {width}x{height} pixels, {done}{len(result.history)} iterations, {seconds:.1f} s")
    if interrupt.noted:
        raise click.Abort


def _callback(
    shown: Callable[[Progress], None] | None,
    output: Path,
    depth: Depth | None,
    save_every: int | None,
    interrupt: Interrupt | None,
) -> Callable[[Progress], None] | None:
    """What is done after each iteration: it is shown, the picture so far is written, and Ctrl-C is heeded."""
    if not (shown or save_every or interrupt):
        return None
    numbers = count(1)

    def callback(progress: Progress) -> None:
        if interrupt:
            interrupt.watch()  # now there is something to keep
        if shown:
            shown(progress)
        if save_every and next(numbers) % save_every == 0:
            try:
                progress.result().save(output, depth)
            except PyengineError as error:
                tell(f"Warning: {error}; the run goes on")
        if interrupt and interrupt.noted:
            progress.stop()

    return callback


def _check_places(places: list[Path], depth: Depth | None, inputs: list[Path], checkpoint: Path | None) -> None:
    """Refuse, before the work, files that can't be written or are read as well."""
    from pyengine.images.writing import check_output

    if is_pipe(places[0]):
        if len(places) > 1:
            raise PyengineError(f"-o - with {len(places)} maps: one picture goes to standard output: name a file")
        return
    for place in places:
        check_output(place, depth)
        check_not_an_input(place, *inputs)
        if checkpoint is not None and os.path.realpath(checkpoint) == os.path.realpath(place):
            raise PyengineError(f"checkpoint {checkpoint}: the picture is written there: name another file")


def typed_arguments(thresholds: bool) -> dict[str, Any]:
    """What `Recipe.create` is to be called with besides exemplars, by what was typed."""
    arguments = options.typed(RECIPE)
    if thresholds and "weights" in arguments:
        raise PyengineError("--weight and --thresholds: give one of them")
    if thresholds:
        arguments["weights"] = "thresholds"
    elif "weights" in arguments:
        arguments["weights"] = dict(arguments["weights"])
    for name in ("exemplar_regions", "output_regions", "sample_mask"):
        if name in arguments:
            files = arguments[name]
            arguments[name] = files[0] if len(files) == 1 else list(files)
    return arguments


def arguments(text: str) -> dict[str, Any]:
    """What `Recipe.create` is to be called with besides an exemplar, by options of the command in one text.

    Raises
    ------
    PyengineError
        The text is no such options, or has some that say nothing of a recipe.

    Examples
    --------
    >>> arguments("--start patches --weight histogram=0")
    {'start': 'patches', 'weights': {'histogram': 0.0}}
    """
    try:
        words = shlex.split(text)
        # Without an option for help, which is none of a recipe's, and which the command would keep without its "-h".
        context = command.make_context("synthesize", [*words, "--output", "texture.png"], help_option_names=[])
    except (ValueError, click.UsageError) as error:
        reason = error.format_message() if isinstance(error, click.UsageError) else str(error)
        raise PyengineError(f"{text!r}: {reason}") from None
    for parameter in command.params:
        of_recipe = isinstance(parameter, options.ParameterOption) and parameter.of == RECIPE
        default = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.DEFAULT
        if not (of_recipe or default or parameter.name in ("output", "thresholds", "exemplars")):
            raise PyengineError(f"{text!r}: {parameter.opts[-1]} says nothing of a recipe: leave it out")
    if context.params["exemplars"]:
        raise PyengineError(f"{text!r}: it has {context.params['exemplars'][0]} besides options: leave it out")
    with context:
        return typed_arguments(context.params["thresholds"])


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """A recipe's text, and what it says of the engine."""
    from pyengine.images.reading import ImageFile, read_metadata

    source = ImageFile.read(file, "recipe")
    try:
        text = read_metadata(source) or source.content.decode("utf-8-sig")
        named = dict(json.loads(text).get("engine", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise PyengineError(
            f"recipe {file}: there is none in it: give a PNG that pyengine wrote, or what --json printed"
        ) from None
    # TF32 is what a GPU computes in unless it is told otherwise, and a CPU has none.
    names = ("model", "sha256", "precision")
    return text, {name: named[name] for name in names if isinstance(named.get(name), str) and named[name] != "tf32"}
