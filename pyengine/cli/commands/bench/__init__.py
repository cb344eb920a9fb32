"""`pyengine bench`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pyengine.cli import options
from pyengine.cli.checks import check_plot
from pyengine.cli.commands import Commands
from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError


@click.group(cls=Commands, package=__name__, invoke_without_command=True)
@options.sizes("512")
@options.threads()
@options.repeats(5)
@click.option("--against", type=click.Choice(["torch"]), help="Measure a plain PyTorch version of it in between.")
@click.option(
    "--compare", "old_file", type=options.file, metavar="OLD.json",
    help="Divide the times by those of this report, which --output wrote.",
)  # fmt: skip
@options.output("FILE.json", "Write the report to this file, as JSON.")
@options.plot("the stages")
@reports
@click.pass_context
def command(
    context: click.Context,
    sizes: list[int],
    threads: int | None,
    repeats: int,
    against: str | None,
    old_file: Path | None,
    output: Path | None,
    plot: Path | None,
    out: Output,
) -> None:
    """Time an evaluation of the losses and their gradient, stage by stage, and show the memory it takes.

    Beside it, it shows what this machine could do at best: the floor is the convolutions' arithmetic at a GEMM's rate.

    The commands measure what the default method gains; they take long.
    """
    other, default = context.invoked_subcommand, click.core.ParameterSource.DEFAULT
    if other is not None:
        if any(context.get_parameter_source(name) is not default for name in context.params):
            raise PyengineError(f"options before {other!r} are not for it: put its own behind it")
        return
    from pyengine.bench import report, suite
    from pyengine.files import check_place, write_atomically
    from pyengine.images.writing import save
    from pyengine.versions import versions

    if output is not None:
        if output.suffix != ".json":
            raise PyengineError(f"{output}: end the name in .json")
        check_place(output)
    if plot is not None:
        check_plot(plot)
    old = None if old_file is None else report.read(old_file)
    found = {**suite.measure(sizes, threads, repeats, against), "versions": versions()}
    text = "\n".join(report.lines(found))
    if old is not None:
        text += f"\n\n{old_file}:\n" + "\n".join(report.comparison(found, old))
        found |= {"ratios": report.ratios(found, old), "differences": report.differences(found, old)}
    if output is not None:
        write_atomically(output, f"{json.dumps(found)}\n".encode())
    if plot is not None:
        save(report.plot(found), plot)
    out.document(found)
    out.say(text)
