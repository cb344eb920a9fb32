"""A batch: from what is asked for, by way of the journal and the workers, to an outcome a job."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from pyengine.batch import remote
from pyengine.batch.crews import Crew, Crews, Size
from pyengine.batch.hashes import forget_urls, hash_of, kind_of, with_hashes
from pyengine.batch.journal import Journal, Row
from pyengine.batch.manifest import Fault, Job, JobSource, read_jobs
from pyengine.batch.pool import Answer, Pool, Start, Task
from pyengine.batch.process import Process
from pyengine.batch.report import Report
from pyengine.checks import is_integer, is_number, names_checked
from pyengine.devices import Precision
from pyengine.errors import PyengineError, in_short
from pyengine.files import is_url
from pyengine.recipe import Options, check_seed, takes_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pyengine.batch.cluster import Cluster

MOST_DEATHS = 2
"""How many workers a job may take with it before it is set aside."""

MOST_LOST = 10
"""How often a job may be begun and lost with its machine before it is set aside: machines that are lent for a while are
lost often, and by no fault of it."""


@dataclass(frozen=True)
class Outcome:
    """What has become of a job.

    Attributes
    ----------
    place : str
        Where it was asked for, as in "jobs.jsonl:17".
    output : Path or str
        The picture's file, or that of a material's first map, beside which the others are; a str where it is a URL;
        where there is none, as the job had none to name, the place.
    state : {"made", "kept", "failed", "refused"}
        "kept" was made by an earlier batch, from the same recipe; "refused" can't be made, as was found beforehand.
    error : str or None
        Why there is no picture; None if there is one.
    seconds : float or None
        How long it took, reading and writing included; None if it was not made.
    attempts : int
        How often it was begun.
    figures : dict of str to float
        Those of `pyengine.compare`, against the first exemplar, where they were asked for.
    """

    place: str
    output: Path | str
    state: Literal["made", "kept", "failed", "refused"]
    error: str | None
    seconds: float | None
    attempts: int
    figures: Mapping[str, float | None] = field(default_factory=dict)


class Batch:
    """A batch in an output folder, which nobody else can use until it is closed.

    Parameters
    ----------
    output : path or URL
        The folder for the pictures; it is made if it is not there.
    journal, ray, workers, timeout, retry_failed, compare
        See `run_batch`.
    start : callable
        Makes a worker, see `Pool`, here or on a cluster's node. Default: `Process`.
    **engine
        The arguments of each worker's `Engine`.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        *,
        journal: str | os.PathLike[str] | None = None,
        ray: str | None = None,
        workers: int | None = None,
        timeout: float | None = None,
        retry_failed: bool = False,
        compare: bool = False,
        start: Start = Process,
        **engine: Any,
    ) -> None:
        if workers is not None and not (is_integer(workers) and workers > 0):
            raise PyengineError(f"workers={in_short(workers)}: give a whole number from 1")
        if timeout is not None and not (is_number(timeout) and 0 < timeout < threading.TIMEOUT_MAX):
            raise PyengineError(f"timeout={in_short(timeout)}: give seconds, above 0")
        self.output: Path | str = str(output).rstrip("/") if is_url(output) else _folder(output)
        if journal is None and isinstance(self.output, str):
            raise PyengineError(f"output {output}: give a folder of this machine as journal, for what is kept of jobs")
        if journal is not None and is_url(journal):
            raise PyengineError(f"journal {journal}: SQLite needs a folder of this machine: give its path")
        self.folder = _folder(self.output if journal is None else journal)
        self.workers, self.timeout, self.retry_failed, self.compare = workers, timeout, retry_failed, compare
        self.engine = {name: _plain(value) for name, value in engine.items() if value is not None}
        self._start = start
        self._cluster: Cluster | None = None
        self.journal = Journal(self.folder)
        self._report = Report(self.folder, self.output)
        self._pool: Pool | None = None
        try:
            if ray is not None:
                self._cluster = self._join(ray)
            self._introduction = self._staff(Crew([{"threads": 1, **self.engine}], 1, 0)).introduction
            nodes = 1 if self._cluster is None else self._cluster.nodes
            self._crews = Crews(self._introduction, self.engine, workers, nodes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, and let another batch have the folder."""
        if self._pool is not None:
            self._pool.close()
        if self._cluster is not None:
            self._cluster.close()
        self.journal.close()

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _join(self, address: str) -> Cluster:
        from pyengine.batch.cluster import Cluster

        shared = None
        if isinstance(self.output, Path):
            shared = self.journal.path if self.output == self.folder else self.output
        gpus = self.engine.get("device") != "cpu"
        return Cluster(address, gpus=gpus, timeout=self.timeout, shared=shared, start=self._start)

    # --------------------------------------------------------- what is asked for

    def ask(self, jobs: JobSource | Iterable[JobSource], overrides: Mapping[str, Any]) -> None:
        """Write down what is asked for; what is there already is not asked for again.

        Parameters
        ----------
        jobs, overrides
            See `read_jobs`.
        """
        there = remote.names_in(self.output) if isinstance(self.output, str) else None
        forget_urls()
        self.journal.begin()
        try:
            for asked in read_jobs(jobs, overrides):
                try:
                    self._ask(asked, there)
                except PyengineError as error:
                    self.journal.add_fault(Fault(asked.place, str(error)))
        finally:
            self.journal.commit()

    def _ask(self, asked: Job | Fault, there: set[str] | None) -> None:
        if isinstance(asked, Fault):
            self.journal.add_fault(asked)
            return
        try:
            f"{asked.place}{asked.output}".encode()
        except UnicodeEncodeError:  # which the journal can't hold
            raise PyengineError(f"output {asked.output}: its name is no text: rename it, or give output") from None
        names = (asked.output, *asked.beside)
        paths = [self._file(name) for name in names]
        recipe = with_hashes(asked.arguments, paths)
        seed = recipe.get("seed", 0)
        check_seed(seed)
        kind = kind_of(recipe, self._introduction)
        self.journal.add(
            asked.output,
            asked.place,
            json.dumps(recipe),
            hash_of(kind, seed),
            kind,
            beside=asked.beside,
            there=there.issuperset(names) if there is not None else all(Path(path).is_file() for path in paths),
            retry=self.retry_failed,
        )

    def check(self) -> list[Outcome]:
        """Have workers check what is asked for, and give back what can't be made."""

        def claim() -> Task | None:
            row = self.journal.unchecked()
            return None if row is None else self._task(row, "check")

        new = self.journal.counts().get("new", 0)
        if new:
            for task, answer in self._staff(self._crews.for_checks(new)).answers(claim):
                if "bytes" in answer:
                    self.journal.checked(task.about, answer["bytes"], answer["size"])
                elif not self._tried_again(task.about, answer):
                    self.journal.refused(task.about, _problem(answer))
        return [self._outcome(row) for row in self.journal.in_states("refused")]

    # ------------------------------------------------------------------- the plan

    def plan(self) -> list[Size]:
        """What is to be made, by size, with the time that one takes on this machine: each is tried, for a moment."""
        sizes = self.journal.sizes()
        found = []
        for crew in self._crews.for_sizes(sizes):
            for size in [size for size in sizes if size[0] >= crew.least_bytes]:
                sizes.remove(size)
                bytes, width, height, count = size
                tasks = iter([self._task(self.journal.example(size), "time")])
                [(_, answer)] = self._staff(Crew(crew.engines[:1], 1, 0)).answers(partial(next, tasks, None))
                if "seconds" not in answer:
                    raise PyengineError(f"size {width}x{height} can't be tried: {_problem(answer)}")
                threads = crew.engines[0].get("threads", 1)
                workers = len(crew.engines) * crew.nodes
                found.append(Size(width, height, count, bytes, workers, threads, answer["seconds"]))
        return found

    def free_bytes(self) -> int | None:
        """Bytes that are free on the disk of the output folder; None if it is a URL, where nothing tells."""
        return None if isinstance(self.output, str) else shutil.disk_usage(self.output).free

    def _staff(self, crew: Crew) -> Pool:
        """The workers of a crew. Those that are there stay, if they are of it."""
        engines: list[dict[str, Any]] = crew.engines
        at_once, start = crew.at_once, self._start
        if self._cluster is not None:  # a node is a worker, with as many tasks as those on it do at once
            engines = [{"engines": crew.engines, "at_once": crew.at_once}] * crew.nodes
            at_once, start = len(crew.engines) * crew.at_once, self._cluster.start
        pool = self._pool
        there = [] if pool is None else pool.engines
        if pool is None or pool.at_once != at_once or there != engines[: len(there)]:
            if pool is not None:
                pool.close()
            pool = self._pool = Pool(engines, start, at_once, self.timeout)
        else:
            pool.add(engines[len(there) :])
        return pool

    # ------------------------------------------------------------------- the work

    def run(self, *, is_last: bool = True) -> Iterator[Outcome]:
        """Make what is waiting, and give each outcome back as it comes; first, those that there are from before.

        Parameters
        ----------
        is_last : bool
            Whether nothing more will be asked for. Default: True.
        """
        for row in self.journal.in_states("done", "failed"):
            yield self._outcome(row, kept=True)
        for crew in self._crews.for_sizes(self.journal.sizes()):
            yield from self._run(crew)
        self._report.write(self.journal, is_over=is_last)

    def _run(self, crew: Crew) -> Iterator[Outcome]:
        def claim() -> Task | None:
            row = self.journal.next(crew.least_bytes)
            return None if row is None else self._task(row, "make")

        for task, answer in self._staff(crew).answers(claim):
            row: Row = task.about
            if self._tried_again(row, answer):
                continue
            if "seconds" in answer:
                shown = [base64.b64decode(answer[name]) for name in ("exemplar_shown", "shown")]
                ended = self.journal.done(row, answer["seconds"], answer["figures"], answer["worker"], *shown)
            else:
                ended = self.journal.failed(row, _problem(answer), answer["worker"], died="died" in answer)
            if self._report.is_due:
                self._report.write(self.journal, is_over=False)
            yield self._outcome(ended)

    def _tried_again(self, row: Row, answer: Answer) -> bool:
        """Whether a job is tried again: it was lost, or took its worker with it, which may both be chance."""
        died = "died" in answer and row.deaths + 1 < MOST_DEATHS
        if died or ("lost" in answer and row.attempts + 1 < MOST_LOST):
            self.journal.again(row, died=died)
            return True
        return False

    def _task(self, row: Row, do: Literal["check", "time", "make"]) -> Task:
        asked = {
            "do": do,
            "name": row.name,
            "recipe": json.loads(row.recipe or "{}"),
            "path": str(self._file(row.name)),
            "compare": self.compare,
        }
        return Task(asked, alone=row.deaths > 0, about=row)

    def _file(self, name: str) -> Path | str:
        """The path or URL of an output."""
        return f"{self.output}/{name}" if isinstance(self.output, str) else self.output / name

    def _outcome(self, row: Row, *, kept: bool = False) -> Outcome:
        there: Literal["made", "kept"] = "kept" if kept else "made"
        state = there if row.state == "done" else "refused" if row.state == "refused" else "failed"
        output = Path(row.place) if row.recipe is None else self._file(row.name)
        return Outcome(row.place, output, state, row.error, row.seconds, row.attempts, row.figures)


def _folder(path: str | os.PathLike[str]) -> Path:
    """A folder of this machine, which is made if it is not there."""
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PyengineError(f"{path}: cannot be a folder ({error.strerror}): choose another place") from None
    return folder


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _problem(answer: Answer) -> str:
    """Why a task came to nothing."""
    if "error" in answer:
        return str(answer["error"])
    end, times = (answer["died"], MOST_DEATHS) if "died" in answer else (answer["lost"], MOST_LOST)
    return f"{end} ({times} times: it is set aside)"


@names_checked
@takes_options
def run_batch(
    jobs: JobSource | Iterable[JobSource],
    output: str | os.PathLike[str],
    *,
    name: str | None = None,
    journal: str | os.PathLike[str] | None = None,
    ray: str | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    compare: bool = False,
    device: str = "auto",
    model: str | os.PathLike[str] = "vgg16",
    threads: int | None = None,
    precision: Precision | None = None,
    memory_limit: int | None = None,
    **options: Unpack[Options],
) -> Iterator[Outcome]:
    """Make many pictures, each in a worker process, and say of each what has become of it, as they finish.

    The output folder keeps a journal. A batch that is run again, after whatever end, makes what is not there yet or
    would now be another, and nothing else. What goes wrong with a job is its outcome's `error`, and raised never; all
    jobs are checked before the first is made. docs/batch.md tells more.

    Parameters
    ----------
    jobs : path, dict, or an iterable of them
        A manifest (.jsonl, .csv, .yaml), a folder of pictures, a picture, or a pattern such as "textures/*.png"; or a
        job's own arguments, those of `pyengine.synthesize`, pictures by their paths or URLs, with `output` for the
        file.
    output : path or URL
        The folder to write to; it is made if it is not there.
    name : str, optional
        The file of each job in this folder, a template of its arguments and of `stem`, the exemplar's name, such as
        "{stem}_{seed}.png". Default: None, the job's own `output`, or else "{stem}.png".
    journal : path, optional
        The folder for the journal and the report. Default: None, the output folder; where that is a URL, it has to be
        given.
    ray : str, optional
        The address of a Ray cluster to make pictures on, or "auto" for the one that this machine is in. Default: None,
        this machine alone.
    workers : int, optional
        How many processes, on each node of a cluster. Default: None, one for each GPU; on a CPU as many as there are
        cores, jobs, and room in memory.
    timeout : float, optional
        Seconds that a job may take before its worker is ended. Default: None, any time.
    retry_failed : bool
        Try again what has failed in an earlier batch. Default: False.
    compare : bool
        Measure each picture by `pyengine.compare`, which takes its time. Default: False.
    device, model, precision, memory_limit
        See `Engine`. Default: "auto", "vgg16", None, None.
    threads : int, optional
        Threads of each worker. Default: None, one, or more where there are fewer workers than cores.
    **options
        Arguments of `pyengine.synthesize` that count for all jobs, whatever they say themselves.

    Yields
    ------
    Outcome
        Of each job, in no order.

    Raises
    ------
    PyengineError
        Nothing can be made: a manifest or folder that can't be read or written, another batch in the same folder, an
        engine that there is not.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (16, 16), "teal").save(f"{folder}/teal.png")
    ...     jobs = [{"exemplar": f"{folder}/{name}.png", "iterations": 1} for name in ("teal", "coral")]
    ...     for outcome in run_batch(jobs, f"{folder}/made", start="noise"):
    ...         print(outcome.output.name, outcome.state, outcome.error)
    job 2 refused exemplar .../coral.png: no such file: check the path
    teal.png made None
    """
    with Batch(
        output,
        journal=journal,
        ray=ray,
        workers=workers,
        timeout=timeout,
        retry_failed=retry_failed,
        compare=compare,
        device=device,
        model=model,
        threads=threads,
        precision=precision,
        memory_limit=memory_limit,
    ) as batch:
        batch.ask(jobs, {**options, **({} if name is None else {"output": name})})
        yield from batch.check()
        yield from batch.run()
