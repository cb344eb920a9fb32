"""The command line. Builds what the API builds, and says what happened.

Whatever is slow to import is imported where it is used, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine import __version__
from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine.result import Progress, Result

LOGGED = 10
"""Where there is no terminal to draw a bar on, every so many iterations are worth a line."""


class _Failure(click.ClickException):
    """Ends the program with one line."""

    exit_code = 2  # as click's own errors do


class _Interrupted(_Failure):
    exit_code = 130  # as the shell says of a program that Ctrl-C ended


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


class _Group(click.Group):
    """Commands whose errors are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except PyengineError as error:
            raise _Failure(str(error)) from error
        except click.BadParameter as error:
            raise _Failure(error.format_message()) from error
        except KeyboardInterrupt:
            raise _Interrupted("interrupted; nothing was written") from None


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    try:
        width, height = map(int, sides * 2 if len(sides) == 1 else sides)
    except ValueError:
        raise click.BadParameter(f"{text!r}: give WIDTHxHEIGHT in pixels, such as 512x256, or one number") from None
    return width, height


def _iterations(text: str) -> int | list[int]:
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: give a number, or one a level, such as 100,100,60") from None
    return counts[0] if len(counts) == 1 else counts


def _weight(text: str) -> tuple[str, str | float]:
    term, _, weight = text.partition("=")
    try:
        return term, weight if weight == "auto" else float(weight)
    except ValueError:
        raise click.BadParameter(f"{text!r}: give TERM=NUMBER, such as histogram=0, or TERM=auto") from None


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: give numbers with commas in between, such as 2,1") from None


UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "b": 1, "": 1}


def _bytes(text: str) -> int:
    number = text.strip().lower().rstrip("kmgib")
    unit = text.strip().lower()[len(number) :]
    try:
        return round(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise click.BadParameter(f"{text!r}: give bytes with a unit, such as 3GB, 1.5GB or 800MB") from None


def _names(text: str) -> list[str]:
    return text.split(",")


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")


@click.group("pyengine", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Neural texture synthesis and style transfer: new images, of any size, that look like the ones you give."""


@main.command()
@click.argument("exemplars", metavar="EXEMPLAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Image to write; its suffix says the format: .png, .jpg, .tif or .webp.",
)  # fmt: skip
@click.option("--size", type=_size, metavar="WxH", help="In pixels, or one number [default: the input's].")
@click.option("--exemplar-weights", type=_numbers, metavar="W,W...", help="Of several exemplars [default: pooled].")
@click.option("--content", metavar="FILE", help="Style transfer: the picture to show in the exemplar's style.")
@click.option("--content-strength", type=float, metavar="S", help="Above 1: more content, less style [default: 1].")
@click.option("--init", metavar="FILE", help="Picture to start from, or noise, or content [default: content, if any].")
@click.option("--style-scale", type=float, metavar="S", help="Size of the exemplar's features [default: 1].")
@click.option("--preserve-color", type=click.Choice(["luminance", "match"]), help="Keep the content's colours.")
@click.option(
    "--exemplar-regions", multiple=True, metavar="FILE",
    help="Index image of the exemplar; again for each exemplar, or for a soft mask of each region.",
)  # fmt: skip
@click.option(
    "--output-regions", multiple=True, metavar="FILE",
    help="Index image of the layout to make; again for a soft mask of each region.",
)  # fmt: skip
@click.option("--keep", metavar="FILE", help="Mask: white stays as it is, the rest is made again.")
@click.option("--fill", metavar="FILE", help="Mask: white is made again, the rest stays; or alpha.")
@click.option("--tile", is_flag=True, help="Make a band at the borders again, so that the picture tiles.")
@click.option("--method", type=click.Choice(["histogram", "gatys"]), help="[default: histogram].")
@click.option(
    "--weight", "weights", type=_weight, multiple=True, metavar="TERM=W",
    help="Weight of gram, histogram, structure, content or variation, or of one layer's, as gram/relu1_1 "
    "[default: auto].",
)  # fmt: skip
@click.option("--thresholds", is_flag=True, help="Weights by the paper's own scheme instead (Risser et al., sec. 6).")
@click.option("--structure", is_flag=True, help="Match arrangements too, for regular patterns.")
@click.option("--gram-layers", type=_names, metavar="L,L...", help="[default: relu1_1,relu2_1,relu3_1,relu4_1].")
@click.option("--histogram-layers", type=_names, metavar="L,L...", help="[default: relu1_1,relu4_1].")
@click.option("--content-layers", type=_names, metavar="L,L...", help="[default: relu4_1].")
@click.option("--padding", type=click.Choice(["wrap", "zeros"]), help="Only with wrap, the default, does it tile.")
@click.option("--pooling", type=click.Choice(["average", "max"]), help="Of the network [default: average].")
@click.option("--seed", type=int, metavar="N", help="Of the noise [default: 0].")
@click.option("--levels", type=int, metavar="N", help="Levels of the pyramid [default: by size].")
@click.option(
    "--iterations", type=_iterations, metavar="N[,N...]",
    help="At every level, or at each, coarsest first [default: by level].",
)  # fmt: skip
@click.option("--model", metavar="NAME", help="As `pyengine models list` shows, or a file [default: vgg16].")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, tensorrt or tensorrt:1 [default: what there is].")
@click.option(
    "--precision", type=click.Choice(["float32", "tf32", "float16"]),
    help="Of the network [default: float32 on a CPU, tf32 on a GPU].",
)  # fmt: skip
@click.option(
    "--memory-limit", type=_bytes, metavar="BYTES",
    help="To take at most, such as 3GB; a larger image is made in tiles [default: most of what there is].",
)  # fmt: skip
@_json_option
def synthesize(
    exemplars: tuple[Path, ...],
    output: Path,
    weights: tuple[tuple[str, str | float], ...],
    thresholds: bool,
    exemplar_regions: tuple[str, ...],
    output_regions: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Make an image that looks like the EXEMPLAR: a texture, or what the options say.

    Several exemplars are mixed, or with --output-regions the first is region 1, the second region 2, and so on.
    """
    import pyengine
    from pyengine.images import check_output

    check_output(output)
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    pictures = (given[name] for name in ("content", "init", "keep", "fill") if name in given)
    _check_no_input(output, *exemplars, *map(Path, [*exemplar_regions, *output_regions, *pictures]))
    if weights and thresholds:
        raise PyengineError("--weight and --thresholds: give one of them")
    if weights or thresholds:
        given["weights"] = "thresholds" if thresholds else dict(weights)
    for name, files in (("exemplar_regions", exemplar_regions), ("output_regions", output_regions)):
        if files:
            given[name] = files[0] if len(files) == 1 else list(files)
    given |= {"exemplar": exemplars[0]} if len(exemplars) == 1 else {"exemplars": list(exemplars)}
    with _progress(lines=not as_json) as callback:
        result = pyengine.synthesize(callback=callback, **given)
    result.save(output)
    if as_json:
        click.echo(json.dumps({"output": str(output), **_report(result)}))
    else:
        width, height = result.recipe.sizes[-1]
        seconds = result.timings["total"]
        click.echo(f"{output}: {width}x{height} pixels, {len(result.history)} iterations, {seconds:.1f} s")


@contextmanager
def _progress(*, lines: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Lend a callback that shows progress on stderr: a bar on a terminal, else lines, if wanted."""
    if not sys.stderr.isatty():
        yield _print_progress if lines else None
        return
    from tqdm import tqdm

    with tqdm(unit="it", dynamic_ncols=True) as bar:

        def update(progress: Progress) -> None:
            state, recipe = progress.state, progress.recipe
            bar.total = sum(recipe.iterations)
            bar.set_postfix_str(f"level {state.level + 1}/{len(recipe.sizes)}, value {state.value:.4g}", refresh=False)
            # A level may end before its last iteration; the bar then jumps to where the next begins.
            bar.update(sum(recipe.iterations[: state.level]) + state.iteration - bar.n)

        yield update


def _print_progress(progress: Progress) -> None:
    state, recipe = progress.state, progress.recipe
    iterations = recipe.iterations[state.level]
    if state.iteration % LOGGED == 0 or state.iteration == iterations:
        width, height = recipe.sizes[state.level]
        click.echo(
            f"level {state.level + 1}/{len(recipe.sizes)} ({width}x{height}), "
            f"iteration {state.iteration}/{iterations}: value {state.value:.4g}",
            err=True,
        )


def _report(result: Result) -> dict[str, Any]:
    """What `synthesize --json` says of a result."""
    levels = []
    for level, size in enumerate(result.recipe.sizes):
        states = [state for state in result.history if state.level == level]
        levels.append(
            {
                "size": size,
                "iterations": len(states),
                "value": states[-1].value if states else None,
                "terms": states[-1].terms if states else {},
                "weights": states[-1].weights if states else {},
            }
        )
    return {
        "size": result.recipe.sizes[-1],
        "seed": result.recipe.seed,
        "levels": levels,
        "stopped": result.stopped,
        "timings": result.timings,
        "versions": _versions(),
    }


@main.command()
@click.argument("exemplar", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--picture", type=click.Path(path_type=Path), metavar="FILE",
    help="Write all of them side by side, with names and patch distances, to this image.",
)  # fmt: skip
@_json_option
def compare(exemplar: Path, images: tuple[Path, ...], picture: Path | None, as_json: bool) -> None:
    """Measure how much each IMAGE looks like EXEMPLAR, by figures that the synthesis does not optimise.

    Patch distance: of all 7x7 patches over a pyramid, 0 for the same. Drift: levels of 255 by which blocks are too
    bright or dark, too harsh or pale. Seam ratio: the step across the border to the sharpest inside, at most 1 where it
    tiles.
    """
    from dataclasses import asdict

    from pyengine import quality
    from pyengine.images import check_output, load, save
    from pyengine.sheet import sheet

    if picture is not None:
        check_output(picture)
        _check_no_input(picture, exemplar, *images)
    expected = load(exemplar)
    loaded = [load(path, "image") for path in images]
    figures: list[dict[str, Any]] = [
        {"image": str(path), **asdict(quality.compare(expected, image))}
        for path, image in zip(images, loaded, strict=True)
    ]
    if picture is not None:
        distances = [f"patch distance {figure['patch_distance']:.3f}" for figure in figures]
        labels = [f"{path.name}\n{distance}" for path, distance in zip(images, distances, strict=True)]
        save(sheet([[expected, *loaded]], [[exemplar.name, *labels]]), picture)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for figure in figures:
        click.echo(
            "{image}: patch distance {patch_distance:.3f}, brightness drift {brightness_drift:.1f}, "
            "contrast drift {contrast_drift:.1f}, seam ratio {seam_ratio:.2f}".format(**figure)
        )


def _check_no_input(output: Path, *inputs: Path) -> None:
    """Refuse, before the work, to write over what is read."""
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise PyengineError(f"{output} is one of the images to read: write to another file")


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: give pixels on a side, such as 128,256,512") from None


@main.group(invoke_without_command=True)
@click.option("--sizes", type=_sizes, default="512", show_default=True, metavar="N[,N...]", help="Pixels on a side.")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Evaluations to measure.")
@click.option("--against", type=click.Choice(["torch"]), help="Measure a plain PyTorch version of it in between.")
@click.option(
    "--compare", "old_file", type=click.Path(path_type=Path), metavar="OLD.json",
    help="Divide the times by those of this report, which --output wrote.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the report as JSON.")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), metavar="FILE",
    help="Draw the stages against size, to this image; needs matplotlib.",
)  # fmt: skip
@_json_option
@click.pass_context
def bench(
    context: click.Context,
    sizes: list[int],
    threads: int | None,
    repeats: int,
    against: str | None,
    old_file: Path | None,
    output: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Time an evaluation of the losses and their gradient, stage by stage, and show the memory it takes.

    Beside it, what this machine could do at best: the floor is the convolutions' arithmetic at a GEMM's rate.

    The commands measure what the default method gains; they take long.
    """
    command, default = context.invoked_subcommand, click.core.ParameterSource.DEFAULT
    if command is not None:
        if any(context.get_parameter_source(name) is not default for name in context.params):
            raise PyengineError(f"options before {command!r} are not for it: put its own behind it")
        return
    from pyengine.bench import figures, report, suite
    from pyengine.images import check_output, check_place, save, write_atomically

    if output is not None:
        if output.suffix != ".json":
            raise PyengineError(f"{output}: end the name in .json")
        check_place(output)
    if picture is not None:
        check_output(picture)
        figures.check_plot()
    old = None if old_file is None else report.read(old_file)
    found = {**suite.measure(sizes, threads, repeats, against), "versions": _versions()}
    text = "\n".join(report.lines(found))
    if old is not None:
        text += f"\n\n{old_file}:\n" + "\n".join(report.comparison(found, old))
        found |= {"ratios": report.ratios(found, old), "differences": report.differences(found, old)}
    document = json.dumps(found)
    if output is not None:
        write_atomically(output, lambda stream: stream.write(f"{document}\n".encode()))
    if picture is not None:
        save(report.plot(found), picture)
    click.echo(document if as_json else text)


def _check_plot(plot: Path, exemplar: Path) -> None:
    """Raise PyengineError, before the work begins, for a plot that can't be drawn or written."""
    from pyengine.bench import figures
    from pyengine.images import check_output

    check_output(plot)
    _check_no_input(plot, exemplar)
    figures.check_plot()


@bench.command("drift")
@click.argument("exemplar", type=click.Path(path_type=Path))
@click.option(
    "--sizes", type=_sizes, default="128,256,512", show_default=True, metavar="N[,N...]",
    help="Of the outputs: pixels on a side.",
)  # fmt: skip
@click.option("--crop", type=int, metavar="N", help="Use only the NxN pixels at the exemplar's top left.")
@click.option("--iterations", type=int, metavar="N", help="At every level [default: the method's].")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the noise they start from [default: 0].")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE",
    help="Draw drift against size, to this image; needs matplotlib.",
)  # fmt: skip
@_json_option
def bench_drift(exemplar: Path, sizes: list[int], plot: Path | None, as_json: bool, **options: Any) -> None:
    """Show how brightness and contrast drift without histograms.

    Synthesises from EXEMPLAR at every size by Gram matrices alone, as Gatys et al. 2015 do, and by the default method:
    the larger the output, the more the two differ. The figures are those of `pyengine compare`.
    """
    from dataclasses import asdict

    from pyengine.bench import stability
    from pyengine.images import save

    if plot is not None:
        _check_plot(plot, exemplar)
    runs: list[stability.DriftRun] = []
    for run in stability.drift(exemplar, sizes, **options):
        if not as_json:
            if not runs:
                click.echo(f"{'method':>9} {'size':>5}  patch distance  brightness drift  contrast drift  seconds")
            click.echo(
                f"{run.method:>9} {run.size:5} {run.patch_distance:15.3f} {run.brightness_drift:17.1f} "
                f"{run.contrast_drift:15.1f} {run.seconds:8.1f}"
            )
        runs.append(run)
    if plot is not None:
        save(stability.plot(runs), plot)
    if as_json:
        click.echo(json.dumps({"exemplar": str(exemplar), "runs": [asdict(r) for r in runs], "versions": _versions()}))


@bench.command("memory")
@click.argument("exemplar", type=click.Path(path_type=Path))
@click.option(
    "--sizes", type=_sizes, default="256,512,1024", show_default=True, metavar="N[,N...]",
    help="Of the outputs: pixels on a side.",
)  # fmt: skip
@click.option("--memory-limit", type=_bytes, metavar="BYTES", help="As in `pyengine synthesize`.")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE",
    help="Draw memory against size, to this image; needs matplotlib.",
)  # fmt: skip
@_json_option
def bench_memory(exemplar: Path, sizes: list[int], plot: Path | None, as_json: bool, **options: Any) -> None:
    """Show the memory that a synthesis takes, by size.

    Synthesises from EXEMPLAR at every size, each in a process of its own, with few iterations.
    """
    from dataclasses import asdict

    from pyengine.bench import memory
    from pyengine.images import save

    if plot is not None:
        _check_plot(plot, exemplar)
    runs: list[memory.Footprint] = []
    for run in memory.footprints(exemplar, sizes, **options):
        if not as_json:
            if not runs:
                click.echo(f"{'size':>5}  peak, MB   tile  optimiser  seconds")
            peak = "unknown" if run.megabytes is None else f"{run.megabytes:.0f}"
            click.echo(
                f"{run.size:5} {peak:>9} {run.tile or 'whole':>6} {'in a file' if run.spilled else 'in memory':>10} "
                f"{run.seconds:8.1f}"
            )
        runs.append(run)
    if plot is not None:
        save(memory.plot(runs, options["memory_limit"]), plot)
    if as_json:
        click.echo(json.dumps({"exemplar": str(exemplar), "runs": [asdict(r) for r in runs], "versions": _versions()}))


@bench.command("convergence")
@click.argument("exemplars", metavar="EXEMPLAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--size", type=int, metavar="N", help="Pixels on a side of the outputs [default: the exemplar's].")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the noise they start from [default: 0].")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option("--against", type=click.Choice(["torch"]), help="Let the baseline be a plain PyTorch version of it.")
@_json_option
def bench_convergence(exemplars: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Count the iterations to the quality of the Gatys baseline.

    For each EXEMPLAR: first 500 iterations of Gatys et al. 2015, by Gram matrices alone at full size, then those of the
    default method until its patch distance is no larger. An iteration of a coarser level counts as a part of one of the
    full size, by its pixels: about what it costs.
    """
    from dataclasses import asdict

    from pyengine.bench import stability

    figures = []
    for path, found in zip(exemplars, stability.convergence(exemplars, **options), strict=True):
        figures.append({"exemplar": str(path), **asdict(found)})
        if as_json:
            continue
        width, height = found.size
        click.echo(f"{path}, {width}x{height} pixels:")
        click.echo(
            f"  baseline: patch distance {found.baseline_distance:.3f} after {found.baseline_iterations} iterations, "
            f"{found.baseline_seconds:.1f} s"
        )
        if not found.reached:
            click.echo(f"  default: never that near; {found.best_distance:.3f} at best, {found.seconds:.1f} s in all")
            continue
        click.echo(
            f"  default: {found.best_distance:.3f} after {found.iterations} iterations, {found.finest_iterations} of "
            f"them at the finest level, or {found.full_size_iterations:.1f} of the full size; {found.seconds:.1f} s"
        )
        if found.iterations:
            click.echo(
                f"  baseline / default: iterations {found.iterations_ratio:.1f}, of the full size "
                f"{found.full_size_ratio:.1f}, seconds {found.seconds_ratio:.1f}"
            )
    if as_json:
        click.echo(json.dumps({"exemplars": figures, "versions": _versions()}))


@bench.command("weights")
@click.argument("exemplars", metavar="EXEMPLAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--content", type=click.Path(path_type=Path), help="For style transfers to this picture.")
@click.option("--size", type=int, metavar="N", help="Pixels on a side of the outputs [default: the exemplar's].")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the noise they start from [default: 0].")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@_json_option
def bench_weights(exemplars: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Compare the automatic weights with the paper's thresholds, and with numbers that stay the same.

    The figures are those of `pyengine compare`, and with --content how much of its layout is left: 1 for all.
    """
    from dataclasses import asdict

    from pyengine.bench import weights

    runs = []
    for run in weights.schemes(exemplars, **options):
        if not as_json:
            layout = "" if run.layout_similarity is None else f", layout {run.layout_similarity:.2f}"
            click.echo(
                f"{exemplars[run.exemplar]}, {run.scheme}: patch distance {run.patch_distance:.3f}, brightness drift "
                f"{run.brightness_drift:.1f}, contrast drift {run.contrast_drift:.1f}{layout}"
            )
        runs.append(asdict(run))
    if as_json:
        click.echo(json.dumps({"exemplars": [*map(str, exemplars)], "runs": runs, "versions": _versions()}))


@bench.command("optimizers")
@click.argument("exemplars", metavar="EXEMPLAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--size", type=int, metavar="N", help="Pixels on a side [default: the exemplar's size].")
@click.option("--evaluations", type=int, default=100, show_default=True, help="Of the objective, for each.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@_json_option
def bench_optimizers(exemplars: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Minimise the same objective with our L-BFGS and with SciPy's L-BFGS-B, from the same noise."""
    from dataclasses import asdict

    from pyengine.bench.optimizers import optimizers

    runs = []
    for run in optimizers(exemplars, **options):
        runs.append(asdict(run))
        if not as_json:
            needed = "more than twice as many" if run.needed is None else f"{run.needed}"
            click.echo(
                f"{exemplars[run.exemplar]}: {run.start:.3g} to {run.value:.3g} in {run.evaluations} evaluations, "
                f"SciPy to {run.scipy_value:.3g}, for which we need {needed}"
            )
    if as_json:
        click.echo(json.dumps({"exemplars": [*map(str, exemplars)], "runs": runs, "versions": _versions()}))


@bench.command("gpu")
@click.option("--device", default="cuda", show_default=True, metavar="NAME", help="cuda, cuda:1, tensorrt, ...")
@click.option("--sizes", type=_sizes, default="256,512,1024,2048", show_default=True, metavar="N[,N...]")
@click.option("--repeats", type=click.IntRange(min=1), default=20, show_default=True, help="Evaluations to measure.")
@_json_option
def bench_gpu(device: str, sizes: list[int], repeats: int, as_json: bool) -> None:
    """Measure a GPU: agreement with the CPU, evaluations against the floor and PyTorch, a whole synthesis."""
    from pyengine.bench.gpu import lines, measure

    report = measure(device, sizes, repeats)
    if as_json:
        click.echo(json.dumps({**report, "versions": _versions()}))
        return
    for line in lines(report):
        click.echo(line)


@main.group()
def models() -> None:
    """The networks whose features are matched."""


@models.command("list")
@_json_option
def list_models(as_json: bool) -> None:
    """Show the models that --model can name."""
    from pyengine.network.library import list_models as infos

    entries: list[dict[str, Any]] = []
    for model in infos():
        entry: dict[str, Any] = {"name": model.name, "path": str(model.path)}
        if model.error is not None:
            entry |= {"error": model.error}
        else:
            for key in ("architecture", "layers", "bytes", "origin"):
                entry[key] = getattr(model, key)
        entries.append(entry)
    if as_json:
        click.echo(json.dumps(entries))
        return
    for entry in entries:
        if "error" in entry:
            click.echo(f"{entry['name']}: unusable: {entry['error']}")
        else:
            layers, megabytes = entry["layers"], entry["bytes"] / 1e6
            click.echo(f"{entry['name']}: {entry['architecture']}, {layers[0]} ... {layers[-1]}, {megabytes:.1f} MB")
            click.echo(f"  from {entry['origin']}")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="What to call the model; needed unless --output is given.")
@click.option("--deepest", metavar="LAYER", help="Leave out what lies behind this layer, such as relu4_2.")
@click.option(
    "--preprocessing", type=click.Choice(["caffe", "torchvision"]),
    help="What the network was trained on, where the names in the file do not tell.",
)  # fmt: skip
@click.option("--half", is_flag=True, help="Store float16: half the size, features within 0.1 %.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE.onnx",
    help="Write this file instead of installing the model.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what is there, or hide a model that ships with pyengine.")
def import_model(
    file: Path,
    name: str | None,
    deepest: str | None,
    preprocessing: str | None,
    half: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Make a model of a VGG-16 or VGG-19 out of FILE, an .onnx, .npz or .safetensors file.

    The layouts of torchvision, Keras and Caffe are known by their names.
    """
    from pyengine.network.library import import_model as install

    model = install(file, name, deepest=deepest, preprocessing=preprocessing, half=half, output=output, force=force)
    click.echo(f"{model.path}: {model.architecture}, {model.layers[0]} ... {model.layers[-1]}")


@main.command()
@_json_option
def info(as_json: bool) -> None:
    """Show versions, devices, threads and folders: what a bug report needs."""
    from pyengine import _core
    from pyengine.devices import choose, gpus
    from pyengine.engine import usable_cores
    from pyengine.network.modelfile import user_folder
    from pyengine.network.sessions import runtime

    report: dict[str, Any] = {"versions": _versions()}
    try:
        report["providers"] = runtime().get_available_providers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it says what the reason does
            device = choose("auto")
        report |= {"device": str(device), "reason": device.reason, "gpus": gpus()}
    except PyengineError as error:
        report |= {"providers": [], "device": None, "reason": str(error), "gpus": []}
    report |= {
        "threads": usable_cores(),
        "simd": _core.simd,
        "models": str(user_folder()),
    }
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, value in report.pop("versions").items():
        click.echo(f"{name} {value}")
    click.echo(f"providers: {', '.join(report['providers']) or 'none'}")
    click.echo(f"device: {report['device'] or 'none'} ({report['reason']})")
    for gpu in report["gpus"]:
        line = "gpu {index}: {name}, compute capability {capability}, {free_bytes} of {bytes} bytes free"
        click.echo(line.format(**gpu))
    click.echo(f"threads: {report['threads']}")
    click.echo(f"kernels: {report['simd']}")
    click.echo(f"models folder: {report['models']}")


def _versions() -> dict[str, str]:
    """Versions of what the numbers depend on; ONNX Runtime's under the name of the distribution that brought it."""
    from importlib.metadata import version

    from pyengine.network.sessions import runtimes

    packages = ["pyengine", "numpy", "scipy", "onnx"]
    found = {**runtimes("onnxruntime"), **runtimes("cupy")}
    return {**{package: version(package) for package in packages}, **found, "python": platform.python_version()}
