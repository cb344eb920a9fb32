"""`pyengine models import`."""

from __future__ import annotations

from pathlib import Path

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError


@click.command()
@click.argument("file", type=options.file)
@click.option("--name", metavar="NAME", help="Call the model so; needed unless --output is given.")
@click.option("--deepest", metavar="LAYER", help="Leave out what lies behind this layer, such as relu4_2.")
@click.option(
    "--preprocessing", type=click.Choice(["caffe", "torchvision"]),
    help="Say what the network was trained on, where the names in the file do not tell.",
)  # fmt: skip
@click.option("--half", is_flag=True, help="Store float16: half the size, features within 0.1 %.")
@click.option(
    "-o", "--output", type=options.file, metavar="FILE.onnx",
    help="Write this file instead of installing the model.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what is there, or hide a model that ships with pyengine.")
@reports
def command(
    file: Path,
    name: str | None,
    deepest: str | None,
    preprocessing: str | None,
    half: bool,
    output: Path | None,
    force: bool,
    out: Output,
) -> None:
    """Make a model of a VGG-16 or VGG-19 out of FILE, an .onnx, .npz or .safetensors file.

    The layouts of torchvision, Keras and Caffe are known by their names.
    """
    # TODO(lead): pyengine.import_model(...)
    from pyengine.files import write_atomically
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
    out.document({"path": str(target), "architecture": weights.architecture, "layers": weights.layers})
    out.say(f"{target}: {weights.architecture}, {weights.layers[0]} ... {weights.layers[-1]}")
