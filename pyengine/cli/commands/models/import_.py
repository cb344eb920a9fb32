"""`pyengine models import`."""

from __future__ import annotations

from pathlib import Path

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports


@click.command()
@click.argument("file", type=options.file)
@click.option("--name", metavar="NAME", help="Call the model so; needed unless --output is given.")
@click.option("--deepest", metavar="LAYER", help="Leave out what lies behind this layer, such as relu4_2.")
@click.option(
    "--preprocessing", type=click.Choice(["caffe", "torchvision"]),
    help="Say what the network was trained on, where the names in the file do not tell.",
)  # fmt: skip
@click.option("--half", is_flag=True, help="Store float16: half the size, features within 0.1 %.")
@options.output("FILE.onnx", "Write this file instead of installing the model.")
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
    """Make a model of somebody else's FILE.

    FILE holds a VGG-16 or VGG-19 as .onnx, .npz or .safetensors in the layout of torchvision, Keras or Caffe, or as
    .onnx any other plain chain of convolutions, ReLUs and 2x2 pools.
    """
    import pyengine

    model = pyengine.import_model(
        file, name, deepest=deepest, preprocessing=preprocessing, half=half, output=output, force=force
    )
    out.document({"path": str(model.path), "architecture": model.architecture, "layers": model.layers})
    out.remark(f"{model.path}: {model.architecture}, {model.layers[0]} ... {model.layers[-1]}")
