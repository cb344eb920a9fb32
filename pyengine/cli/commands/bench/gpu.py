"""`pyengine bench gpu`."""

from __future__ import annotations

import click

from pyengine.cli import options
from pyengine.cli.output import Output, reports


@click.command()
@click.option(
    "--device", default="cuda", show_default=True, metavar="NAME",
    help="Measure this GPU: cuda, cuda:1, tensorrt or tensorrt:1.",
)  # fmt: skip
@options.sizes("256,512,1024,2048")
@options.repeats(20)
@reports
def command(device: str, sizes: list[int], repeats: int, out: Output) -> None:
    """Measure a GPU: agreement with the CPU, evaluations against the floor and PyTorch, a whole synthesis."""
    from pyengine.bench.gpu import lines, measure
    from pyengine.versions import versions

    report = measure(device, sizes, repeats)
    out.document({**report, "versions": versions()})
    for line in lines(report):
        out.say(line)
