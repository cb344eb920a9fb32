"""A batch: from what is asked for, by way of the journal and the workers, to an outcome a job."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from pyengine import __version__
from pyengine.batch.journal import Journal, Row
from pyengine.batch.manifest import Fault, Job, JobSource, read_jobs
from pyengine.batch.pool import Answer, Pool, Process, Task, Worker
from pyengine.batch.report import Report
from pyengine.checks import is_integer, is_number
from pyengine.devices import Precision
from pyengine.document import PICTURES
from pyengine.errors import PyengineError, in_short
from pyengine.images.reading import ImageFile
from pyengine.memory import BASE_BYTES
from pyengine.recipe import Options, check_seed, takes_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

MOST_DEATHS = 2
"""How many workers a job may take with it before it is set aside."""

PIXEL_BYTES = 3
"""Bytes on the disk for each pixel of a picture, at most, as a PNG is compressed."""

AT_ONCE_ON_GPU = 2
"""Tasks that a GPU's worker does at once: the one that has the engine, and one that is being read or written."""

FILES = 4096
"""How many files' hashes are kept, for the jobs that share them."""


@dataclass(frozen=True)
class Outcome:
    """What has become of a job.

    Attributes
    ----------
    place : str
        Where it was asked for, as in "jobs.jsonl:17".
    output : Path
        The picture's file; where there is none, as the job had none to name, the place.
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
    output: Path
    state: Literal["made", "kept", "failed", "refused"]
    error: str | None
    seconds: float | None
    attempts: int
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Crew:
    """The workers for the jobs that take so many bytes of memory or more.

    Attributes
    ----------
    engines : list of dict
        The arguments of each worker's engine.
    at_once : int
        How many tasks each does at once.
    least_bytes : int
        Jobs that take less are for the next crew.
    """

    engines: list[dict[str, Any]]
    at_once: int
    least_bytes: int


@dataclass(frozen=True)
class Size:
    """What is planned for the jobs of one size.

    Attributes
    ----------
    width, height : int
        In pixels.
    jobs : int
    bytes : int
        Of memory, for each.
    workers, threads : int
        How many workers make them, and with how many threads each.
    seconds : float
        How long one takes.
    """

    width: int
    height: int
    jobs: int
    bytes: int
    workers: int
    threads: int
    seconds: float

    @property
    def disk_bytes(self) -> int:
        """Bytes of the disk that a picture takes, at most."""
        return self.width * self.height * PIXEL_BYTES


class Batch:
    """A batch in an output folder, which nobody else can use until it is closed.

    Parameters
    ----------
    output : path
        The folder for the pictures, the journal and the report; it is made if it is not there.
    workers, timeout, retry_failed, compare, report
        See `run_batch`.
    start : callable
        Makes a worker, see `Pool`. Default: `Process`.
    **engine
        The arguments of each worker's `Engine`.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        *,
        workers: int | None = None,
        timeout: float | None = None,
        retry_failed: bool = False,
        compare: bool = False,
        report: bool = True,
        start: Callable[[Mapping[str, Any], int], Worker] = Process,
        **engine: Any,
    ) -> None:
        if workers is not None and not (is_integer(workers) and workers > 0):
            raise PyengineError(f"workers={in_short(workers)}: give a whole number from 1")
        if timeout is not None and not (is_number(timeout) and 0 < timeout < threading.TIMEOUT_MAX):
            raise PyengineError(f"timeout={in_short(timeout)}: give seconds, above 0")
        self.folder = Path(output).absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PyengineError(f"{output}: cannot be a folder ({error.strerror}): choose another place") from None
        self.workers, self.timeout, self.retry_failed, self.compare = workers, timeout, retry_failed, compare
        self.engine = {name: _plain(value) for name, value in engine.items() if value is not None}
        self._start = start
        self.journal = Journal(self.folder)
        self.report = Report(self.folder) if report else None
        self._pool: Pool | None = None
        try:
            first = {"threads": 1, **self.engine}
            self._introduction = self._staff(Crew([first], 1, 0)).introduction
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, and let another batch have the folder."""
        if self._pool is not None:
            self._pool.close()
        self.journal.close()

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --------------------------------------------------------- what is asked for

    def ask(self, jobs: JobSource | Iterable[JobSource], overrides: Mapping[str, Any]) -> None:
        """Write down what is asked for; what is there already is not asked for again.

        Parameters
        ----------
        jobs, overrides
            See `read_jobs`.
        """
        self.journal.begin()
        try:
            for asked in read_jobs(jobs, overrides):
                try:
                    self._ask(asked)
                except PyengineError as error:
                    self.journal.add_fault(Fault(asked.place, str(error)))
        finally:
            self.journal.commit()

    def _ask(self, asked: Job | Fault) -> None:
        if isinstance(asked, Fault):
            self.journal.add_fault(asked)
            return
        try:
            f"{asked.place}{asked.output}".encode()
        except UnicodeEncodeError:  # which the journal can't hold
            raise PyengineError(f"output {asked.output}: its name is no text: rename it, or give output") from None
        path = self.folder / asked.output
        recipe = {name: _identified(name, value, path) for name, value in asked.arguments.items()}
        seed = recipe.get("seed", 0)
        check_seed(seed)
        determining = {
            "pyengine": __version__,
            "model": self._introduction["model"],
            "precision": self._introduction["precision"],
            "recipe": {name: _contents(value) for name, value in recipe.items() if name != "seed"},
        }
        kind = _hash(determining)
        self.journal.add(
            asked.output,
            asked.place,
            json.dumps(recipe),
            _hash([kind, int(seed)]),
            kind,
            there=path.is_file(),
            retry=self.retry_failed,
        )

    def check(self) -> list[Outcome]:
        """Have workers check what is asked for, and give back what can't be made."""

        def claim() -> Task | None:
            row = self.journal.unchecked()
            return None if row is None else self._task(row, "check")

        new = self.journal.counts().get("new", 0)
        if new:
            for task, answer in self._staff(self._first_crew(new)).answers(claim):
                if "bytes" in answer:
                    self.journal.checked(task.about, answer["bytes"], answer["size"])
                elif not self._tried_again(task.about, answer):
                    self.journal.refused(task.about, _problem(answer))
        return [self._outcome(row) for row in self.journal.rows("state = 'refused' ORDER BY rowid")]

    # ------------------------------------------------------------------- the plan

    def plan(self) -> list[Size]:
        """What is to be made, by size, with the time that one takes on this machine: each is tried, for a moment."""
        sizes = self.journal.sizes()
        found = []
        for crew in self._crews():
            for size in [size for size in sizes if size[0] >= crew.least_bytes]:
                sizes.remove(size)
                bytes, width, height, count = size
                tasks = iter([self._task(self.journal.example(size), "time")])
                [(_, answer)] = self._staff(Crew(crew.engines[:1], 1, 0)).answers(partial(next, tasks, None))
                if "seconds" not in answer:
                    raise PyengineError(f"size {width}x{height} can't be tried: {_problem(answer)}")
                threads = crew.engines[0].get("threads", 1)
                workers = len(crew.engines)
                found.append(Size(width, height, count, bytes, workers, threads, answer["seconds"]))
        return found

    def free_bytes(self) -> int:
        """Bytes that are free on the disk of the output folder."""
        return shutil.disk_usage(self.folder).free

    def _crews(self) -> list[Crew]:
        """Who makes what is waiting: for a span of sizes, as many workers as memory holds, with threads for all cores.

        Several workers of one thread do more than one worker of several, whatever the size, as nothing in them waits
        for anything of another's; so there are more threads than one only where memory or jobs are for fewer workers.
        """
        if self._introduction["devices"]:
            return [Crew(self._on_gpus(), AT_ONCE_ON_GPU, 0)]
        spans: list[tuple[int, int, int]] = []  # workers that memory holds, jobs, bytes of the smallest
        most: int = self.workers or self._introduction["cores"]
        for bytes, _, _, count in self.journal.sizes():
            fit = max(1, min(most, self._introduction["bytes"] // bytes))
            if spans and spans[-1][0] == fit:
                spans[-1] = (fit, spans[-1][1] + count, bytes)
            else:
                spans.append((fit, count, bytes))
        return [Crew(self._on_cpu(fit, jobs), 1, least) for fit, jobs, least in spans]

    def _first_crew(self, jobs: int) -> Crew:
        """Who checks the jobs: as many as will make them, as far as can be told before."""
        if self._introduction["devices"]:
            return Crew(self._on_gpus(), AT_ONCE_ON_GPU, 0)
        return Crew(self._on_cpu(max(1, self._introduction["bytes"] // BASE_BYTES), jobs), 1, 0)

    def _on_cpu(self, fit: int, jobs: int) -> list[dict[str, Any]]:
        """The engines of workers for so many jobs, of which no more than so many fit into memory."""
        if self.workers:
            fit = self.workers  # whoever says so knows better
        cores = self._introduction["cores"]
        threads = self.engine.get("threads") or min(-(-cores // min(fit, jobs, cores)), self._introduction["threads"])
        workers = max(1, min(fit, jobs, self.workers or cores // threads))
        return [{**self.engine, "threads": threads}] * workers

    def _on_gpus(self) -> list[dict[str, Any]]:
        """A worker for each GPU, or for the one that is named."""
        device = self.engine.get("device", "auto")
        devices = [device] if ":" in device else self._introduction["devices"]
        return [{**self.engine, "device": name} for name in devices[: self.workers]]

    def _staff(self, crew: Crew) -> Pool:
        """The workers of a crew. Those that are there stay, if they are of it."""
        pool = self._pool
        there = [] if pool is None else pool.engines
        if pool is None or pool.at_once != crew.at_once or there != crew.engines[: len(there)]:
            if pool is not None:
                pool.close()
            pool = self._pool = Pool(crew.engines, crew.at_once, self.timeout, self._start)
        else:
            pool.add(crew.engines[len(there) :])
        return pool

    # ------------------------------------------------------------------- the work

    def run(self, *, is_last: bool = True) -> Iterator[Outcome]:
        """Make what is waiting, and give each outcome back as it comes; first, those that there are from before.

        Parameters
        ----------
        is_last : bool
            Whether nothing more will be asked for. Default: True.
        """
        for row in self.journal.rows("state IN ('done', 'failed') ORDER BY rowid"):
            yield self._outcome(row, kept=True)
        for crew in self._crews():
            yield from self._run(crew)
        self._show(is_over=is_last)

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
            if self.report and self.report.is_due:
                self._show(is_over=False)
            yield self._outcome(ended)

    def _tried_again(self, row: Row, answer: Answer) -> bool:
        """Whether a job is tried again, as the first that took its worker with it; so may a worker's end by chance."""
        if "died" not in answer or row.deaths + 1 >= MOST_DEATHS:
            return False
        self.journal.again(row)
        return True

    def _task(self, row: Row, do: Literal["check", "time", "make"]) -> Task:
        asked = {
            "do": do,
            "name": row.name,
            "recipe": json.loads(row.recipe or "{}"),
            "path": str(self.folder / row.name),
            "compare": self.compare,
        }
        return Task(asked, alone=row.deaths > 0, about=row)

    def _show(self, *, is_over: bool) -> None:
        if self.report:
            self.report.write(self.journal, is_over=is_over)

    def _outcome(self, row: Row, *, kept: bool = False) -> Outcome:
        there: Literal["made", "kept"] = "kept" if kept else "made"
        state = there if row.state == "done" else "refused" if row.state == "refused" else "failed"
        output = Path(row.place) if row.recipe is None else self.folder / row.name
        return Outcome(row.place, output, state, row.error, row.seconds, row.attempts, row.figures)


def _identified(name: str, value: Any, output: Path) -> Any:
    """An argument, with the hashes of pictures' files beside their paths."""
    if name not in PICTURES:
        return value
    if isinstance(value, list):
        return [_identified(name, item, output) for item in value]
    said = value if isinstance(value, dict) else {"file": value}
    path = said.get("file")
    if not isinstance(path, str) or path in PICTURES[name]:
        return value  # a word such as "noise"; or nothing, as the check will say
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # reading says what is wrong
        found = ImageFile.read(path, name).sha256
    else:
        if stat.S_ISFIFO(status.st_mode):
            raise PyengineError(f"{name} {path}: is a pipe, which can be read only once: give a file")
        if output.exists() and os.path.samestat(output.stat(), status):
            raise PyengineError(f"output {output} is one of the images to read: write to another folder")
        found = _sha256(path, name, status.st_mtime_ns, status.st_size)
    return {"file": path, "sha256": said.get("sha256", found)}


@lru_cache(FILES)
def _sha256(path: str, name: str, changed: int, size: int) -> str:
    """The hash of a file's contents, which is computed again where the file has changed since."""
    return ImageFile.read(path, name).sha256


def _contents(value: Any) -> Any:
    """The same without the names of files, on which no picture depends."""
    if isinstance(value, list):
        return [_contents(item) for item in value]
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def _hash(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _problem(answer: Answer) -> str:
    """Why a task came to nothing."""
    return str(answer["error"]) if "error" in answer else f"{answer['died']} ({MOST_DEATHS} times: it is set aside)"


@takes_options
def run_batch(
    jobs: JobSource | Iterable[JobSource],
    output: str | os.PathLike[str],
    *,
    name: str | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    compare: bool = False,
    report: bool = True,
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
        job's own arguments, those of `pyengine.synthesize`, pictures by their paths, with `output` for the file.
    output : path
        The folder to write to; it is made if it is not there.
    name : str, optional
        The file of each job in this folder, a template of its arguments and of `stem`, the exemplar's name, such as
        "{stem}_{seed}.png". Default: None, the job's own `output`, or else "{stem}.png".
    workers : int, optional
        How many processes. Default: None, one for each GPU; on a CPU as many as there are cores, jobs, and room in
        memory.
    timeout : float, optional
        Seconds that a job may take before its worker is ended. Default: None, any time.
    retry_failed : bool
        Try again what has failed in an earlier batch. Default: False.
    compare : bool
        Measure each picture by `pyengine.compare`, which takes its time. Default: False.
    report : bool
        Write report.html to the folder, and keep it up to date. Default: True.
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
    settings = {"workers": workers, "timeout": timeout, "retry_failed": retry_failed, "compare": compare}
    engine = {"model": model, "threads": threads, "precision": precision, "memory_limit": memory_limit}
    everything: dict[str, Any] = {**settings, "report": report, "device": device, **engine}
    with Batch(output, **everything) as batch:
        batch.ask(jobs, {**options, **({} if name is None else {"output": name})})
        yield from batch.check()
        yield from batch.run()
