"""`pyengine batch`."""

from __future__ import annotations

import json
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyengine.cli import options
from pyengine.cli.batches import BatchProgress, time_of
from pyengine.cli.commands import synthesize
from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine.batch.run import Batch

BATCH = "pyengine.batch.run:Batch"

SOME_FAILED = 1
"""The exit code where some jobs have come to nothing."""

_of = options.of(BATCH)


@click.command()
@click.argument("sources", metavar="[JOBS]...", nargs=-1, type=options.file_or_url)
@click.option(
    "-o", "--output", type=options.file_or_url, metavar="FOLDER",
    help="Write pictures and the report to this folder; or the pictures to this URL, such as s3://bucket/made.",
)  # fmt: skip
@_of(
    "--journal",
    type=options.file_or_url,
    metavar="FOLDER",
    unset="the output folder",
    help="Keep journal and report here.",
)
@click.option(
    "--name", metavar="TEMPLATE",
    help="Call files so, with arguments in braces, such as {stem}_{seed}.png, where {stem} is the exemplar's name. "
    "Without it, a job's own output counts, or {stem}.png.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Check all jobs and show what they would take, and make nothing.")
@click.option("--keep-going", is_flag=True, help="Make what can be made, even if some jobs can't.")
@_of("--retry-failed/--no-retry-failed", help="Try again what has failed before.")
@_of("--ray", metavar="ADDRESS", unset="this machine alone", help="Make pictures on this Ray cluster; auto finds it.")
@_of("--workers", metavar="N", unset="by cores, memory and GPUs", help="Make pictures in so many processes.")
@_of("--timeout", metavar="SECONDS", unset="any time", help="Give a job so much time, then end its worker.")
@_of("--compare/--no-compare", help="Measure each picture as `pyengine compare` does, which takes its time.")
@click.option("--watch", type=options.file, metavar="FOLDER", help="Go on and make what appears in this folder.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of manifests, and make nothing.")
@synthesize.recipe
@options.engine
@partial(reports, as_json="Print JSON documents instead of text, a line each: jobs as they end, and the sum.")
def command(
    sources: tuple[Path | str, ...],
    output: Path | str | None,
    name: str | None,
    check: bool,
    keep_going: bool,
    watch: Path | None,
    schema: bool,
    thresholds: bool,
    out: Output,
    **_: Any,
) -> int:
    """Make many pictures: JOBS are pictures, folders of them, or manifests (.jsonl, .csv or .yaml).

    Options count for all jobs. What is done is not done again: give the same command after an interruption. The exit
    code is 1 where some jobs have failed, and 2 where some can't be made, in which case none is begun.
    """
    if schema:
        from pyengine.batch.schema import schema as schema_of_manifests

        click.echo(json.dumps(schema_of_manifests(), indent=2))
        return 0
    if output is None:
        raise PyengineError("Missing option '-o': give a folder to write to")
    if not sources and watch is None:
        raise PyengineError("Missing argument 'JOBS...': give pictures, a folder or a manifest, or --watch")
    from pyengine.batch.run import Batch
    from pyengine.batch.watch import Watched

    settings = options.typed(BATCH)
    overrides = synthesize.typed_arguments(thresholds)
    if name is not None:
        overrides["output"] = name
    watched = None if watch is None else Watched(watch)
    if watched and isinstance(output, Path) and output.exists() and output.samefile(watched.folder):
        raise PyengineError(f"{output}: is watched as well: write to another folder")
    with Batch(output, **settings, **options.typed(options.ENGINE)) as batch, BatchProgress(out) as progress:
        batch.ask(sources, overrides)
        refused = batch.check()
        for outcome in refused:
            progress.ended(outcome)
        if refused and not keep_going:
            total = sum(batch.journal.counts().values())
            raise PyengineError(
                f"{len(refused)} of {total} jobs can't be made: put them right, or give --keep-going to make the others"
            )
        if check:
            _show_plan(batch, out)
            return SOME_FAILED if refused else 0
        progress.total = batch.journal.counts().get("waiting", 0)
        for outcome in batch.run(is_last=watched is None):
            progress.ended(outcome)
        while watched is not None:
            if new := watched.new():
                batch.ask(new, overrides)
                for outcome in chain(batch.check(), batch.run(is_last=False)):
                    progress.ended(outcome)
            watched.wait()
        return SOME_FAILED if progress.sum_up(output) else 0


def _show_plan(batch: Batch, out: Output) -> None:
    """Say what is there and what is to be made, and what that takes."""
    counts = batch.journal.counts()
    sizes = batch.plan()
    seconds = sum(size.jobs * size.seconds / size.workers for size in sizes)
    disk, free = sum(size.jobs * size.disk_bytes for size in sizes), batch.free_bytes()
    out.document(
        {
            "event": "plan",
            "jobs": counts,
            "sizes": [vars(size) for size in sizes],
            "seconds": seconds,
            "disk_bytes": disk,
            "free_bytes": free,
        }
    )
    there = [f"{counts.get('waiting', 0)} to make", f"{counts.get('done', 0)} done already"]
    if counts.get("failed"):
        there.append(f"{counts['failed']} failed before, which --retry-failed tries again")
    out.say(f"{sum(counts.values())} jobs: {', '.join(there)}")
    for size in sizes:
        out.say(
            f"{size.width}x{size.height} pixels: {size.jobs} jobs, {time_of(size.seconds)} and "
            f"{size.bytes / 1e9:.1f} GB each, workers: {size.workers}, threads of each: {size.threads}"
        )
    room = "" if free is None else f", where {free / 1e9:.1f} GB are free"
    out.say(f"about {time_of(seconds)}, and at most {disk / 1e9:.1f} GB of disk{room}")
