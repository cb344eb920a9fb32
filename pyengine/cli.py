"""The command line. Builds what the API builds, and says what happened.

Whatever is slow to import is imported where it is used, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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


class _Group(click.Group):
    """Commands whose errors are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
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


def _weight(text: str) -> str | float:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: give a number or auto") from None


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")


@click.group("pyengine", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyengine")
def main() -> None:
    """Neural texture synthesis: a new image, of any size, that looks like the one you give and tiles with itself."""


@main.command()
@click.argument("exemplar", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Image to write; its suffix says the format: .png, .jpg, .tif or .webp.",
)  # fmt: skip
@click.option("--size", type=_size, metavar="WxH", help="Size in pixels, or one number [default: the exemplar's].")
@click.option("--seed", type=int, metavar="N", help="Of the noise it starts from [default: 0].")
@click.option("--levels", type=int, metavar="N", help="Levels of the pyramid [default: by size].")
@click.option(
    "--iterations", type=_iterations, metavar="N[,N...]",
    help="At every level, or at each, coarsest first [default: by level].",
)  # fmt: skip
@click.option("--gram", type=_weight, metavar="W", help="Weight of the Gram losses, or auto [default: auto].")
@click.option("--histogram", type=_weight, metavar="W", help="Weight of the histogram losses, or auto [default: auto].")
@click.option("--padding", type=click.Choice(["wrap", "zeros"]), help="Only with wrap, the default, does it tile.")
@click.option("--pooling", type=click.Choice(["average", "max"]), help="Of the network [default: average].")
@click.option("--model", metavar="NAME", help="As `pyengine models list` shows, or a file [default: vgg16].")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option("--device", type=click.Choice(["auto", "cpu"]), help="[default: auto].")
@_json_option
def synthesize(exemplar: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Make a texture that looks like the image EXEMPLAR."""
    import pyengine
    from pyengine.images import check_output

    check_output(output)
    if output.exists() and exemplar.exists() and output.samefile(exemplar):
        raise PyengineError(f"{output} is the exemplar: write to another file")
    given = {name: value for name, value in options.items() if value is not None}
    with _progress(lines=not as_json) as callback:
        result = pyengine.synthesize(exemplar, callback=callback, **given)
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
@_json_option
def compare(exemplar: Path, images: tuple[Path, ...], as_json: bool) -> None:
    """Measure how much each IMAGE looks like EXEMPLAR, by figures that the synthesis does not optimise.

    Patch distance: of all 7x7 patches over a pyramid, 0 for the same. Drift: levels of 255 by which blocks are too
    bright or dark, too harsh or pale. Seam ratio: the step across the border to the sharpest inside, at most 1 where it
    tiles.
    """
    from pyengine.images import load
    from pyengine.quality import drift, patch_distance, seam_ratio

    expected = load(exemplar)
    figures: list[dict[str, Any]] = []
    for path in images:
        image = load(path, "image")
        brightness, contrast = drift(expected, image)
        figures.append(
            {
                "image": str(path),
                "patch_distance": patch_distance(expected, image),
                "brightness_drift": brightness,
                "contrast_drift": contrast,
                "seam_ratio": seam_ratio(image),
            }
        )
    if as_json:
        click.echo(json.dumps(figures))
        return
    for figure in figures:
        click.echo(
            "{image}: patch distance {patch_distance:.3f}, brightness drift {brightness_drift:.1f}, "
            "contrast drift {contrast_drift:.1f}, seam ratio {seam_ratio:.2f}".format(**figure)
        )


@main.command()
@click.option("--size", type=click.IntRange(min=16), default=512, show_default=True, help="Pixels on a side.")
@click.option("--threads", type=int, metavar="N", help="[default: every core].")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Evaluations to measure.")
@click.option("--against", type=click.Choice(["torch"]), help="Measure a plain PyTorch version of it in between.")
@_json_option
def bench(size: int, threads: int | None, repeats: int, against: str | None, as_json: bool) -> None:
    """Time an evaluation of the losses and their gradient, stage by stage, and show the memory it takes."""
    from pyengine.bench.evaluation import measure

    report = {**measure(size, threads, repeats, against), "versions": _versions()}
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"{size}x{size} pixels, {report['threads']} threads, median of {repeats}:")
    for stage, seconds in report["seconds"].items():
        click.echo(f"  {stage}: {1000 * seconds:.0f} ms")
    click.echo(f"  evaluation / (forward + backward): {report['over_networks']:.2f}")
    if against is not None:
        click.echo(f"  PyTorch: {1000 * report['torch']['evaluation']:.0f} ms, {report['ratio']:.2f} times ours")
    for purpose, megabytes in report["memory_mb"].items():
        if megabytes is not None:
            click.echo(f"  memory, {purpose}: {megabytes:.0f} MB")


@main.group()
def models() -> None:
    """The networks whose features are matched."""


@models.command("list")
@_json_option
def list_models(as_json: bool) -> None:
    """Show the models that --model can name."""
    from pyengine.network.weights import installed, read

    entries: list[dict[str, Any]] = []
    for path in installed():
        entry: dict[str, Any] = {"name": path.stem, "path": str(path)}
        try:
            weights = read(path)
        except PyengineError as error:
            entry |= {"error": str(error)}
        else:
            entry |= {
                "architecture": weights.architecture,
                "layers": weights.layers,
                "bytes": path.stat().st_size,
                "origin": weights.origin,
            }
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
    from pyengine.images import write_atomically
    from pyengine.network.graphs import model_file
    from pyengine.network.importing import read_weights
    from pyengine.network.weights import installed, user_folder

    if output is None:
        if name is None:
            raise PyengineError("give the model a name with --name, or a file to write with --output")
        taken = next((path for path in installed() if path.stem == name), None)
        target = user_folder() / f"{name}.onnx"
    else:
        if output.suffix != ".onnx":
            raise PyengineError(f"{output}: end the name in .onnx")
        name = name or output.stem
        taken = output if output.exists() else None
        target = output
    if taken and not force:
        raise PyengineError(f"{taken} exists: choose another name, or --force")
    weights = read_weights(file, name, preprocessing=preprocessing, deepest=deepest)
    if half:
        weights.check_half()
    content = model_file(weights, half=half).SerializeToString()
    if output is None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PyengineError(f"{target.parent}: cannot be made ({error.strerror})") from error
    write_atomically(target, lambda stream: stream.write(content))
    click.echo(f"{target}: {weights.architecture}, {weights.layers[0]} ... {weights.layers[-1]}")


@main.command()
@_json_option
def info(as_json: bool) -> None:
    """Show versions, devices, threads and folders: what a bug report needs."""
    from pyengine import _core
    from pyengine.engine import usable_cores
    from pyengine.network.sessions import runtime
    from pyengine.network.weights import user_folder

    report: dict[str, Any] = {"versions": _versions()}
    try:
        report["providers"] = runtime().get_available_providers()
        report["device"] = "cpu"
        report["reason"] = "this version computes on the CPU only"
    except PyengineError as error:
        report |= {"providers": [], "device": None, "reason": str(error)}
    report |= {
        "threads": usable_cores(),
        "simd": _core.simd,
        "openmp": _core.openmp,
        "models": str(user_folder()),
    }
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, value in report.pop("versions").items():
        click.echo(f"{name} {value}")
    click.echo(f"providers: {', '.join(report['providers']) or 'none'}")
    click.echo(f"device: {report['device'] or 'none'} ({report['reason']})")
    click.echo(f"threads: {report['threads']}")
    click.echo(f"kernels: {report['simd']}, {'OpenMP' if report['openmp'] else 'no OpenMP: one thread'}")
    click.echo(f"models folder: {report['models']}")


def _versions() -> dict[str, str]:
    """Versions of what the numbers depend on; ONNX Runtime's under the name of the distribution that brought it."""
    from importlib.metadata import packages_distributions, version

    runtimes = sorted(set(packages_distributions().get("onnxruntime", [])))
    packages = ["pyengine", "numpy", "scipy", "onnx", *runtimes]
    return {**{package: version(package) for package in packages}, "python": platform.python_version()}
