"""`pyengine models list`."""

from __future__ import annotations

from dataclasses import asdict

import click

from pyengine.cli.output import Output, reports


@click.command()
@reports
def command(out: Output) -> None:
    """Show the models that --model can name."""
    import pyengine
    from pyengine.network.modelfile import described

    models = pyengine.list_models()
    out.document([{**asdict(model), "path": str(model.path)} for model in models])
    for model in models:
        if model.error is not None:
            out.say(f"{model.name}: unusable: {model.error}")
        else:
            layers, megabytes = model.layers, model.bytes / 1e6
            out.say(f"{model.name}: {model.architecture}, {layers[0]} ... {layers[-1]}, {megabytes:.1f} MB")
            out.say(f"  {described(model.origin)}")
