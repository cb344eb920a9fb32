"""The journal: a row a job in an SQLite database beside the output, which is the queue of a batch and its memory.

A batch that is killed at any moment goes on from what is there: each step is a transaction of its own, and a picture is
in its place before the journal says so. One process at a time has the journal; SQLite's lock goes with the process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pyengine.batch.manifest import Fault
from pyengine.errors import PyengineError

NAME = "journal.sqlite"
"""The file's name, in the output folder."""

VERSION = 1
"""The version of the tables."""

State = Literal["new", "refused", "waiting", "running", "done", "failed"]
"""A job is new until a worker has checked it, which makes it waiting or refused."""

UNDER_WAY = ("new", "waiting", "running")
"""The states of jobs whose batch was ended before they were."""

TABLES = (
    """CREATE TABLE IF NOT EXISTS jobs (
        name TEXT PRIMARY KEY,        -- the output; of what has none, the place
        run INTEGER NOT NULL,         -- the batch that last asked for it
        place TEXT NOT NULL,
        state TEXT NOT NULL,
        recipe TEXT,                  -- JSON: arguments, and pictures with the hashes of their files
        hash TEXT,                    -- of all that determines the picture
        kind TEXT,                    -- the same but for the seed
        bytes INTEGER, width INTEGER, height INTEGER,   -- of memory; of the picture, in pixels
        attempts INTEGER NOT NULL DEFAULT 0,            -- to make it; of what is not checked yet, to check it
        deaths INTEGER NOT NULL DEFAULT 0,              -- of the workers that had it
        seconds REAL, figures TEXT, error TEXT, worker TEXT,
        finished TEXT,                -- when, UTC
        exemplar_shown BLOB, shown BLOB                 -- small pictures, WebP
    )""",
    """CREATE TABLE IF NOT EXISTS beside (
        file TEXT PRIMARY KEY,        -- that a job writes besides its output
        name TEXT NOT NULL, run INTEGER NOT NULL        -- of the job
    )""",
    "CREATE INDEX IF NOT EXISTS queue ON jobs (run, state, deaths, bytes DESC, width, height)",
    "CREATE INDEX IF NOT EXISTS kinds ON jobs (run, state, kind)",
)


@dataclass(frozen=True)
class Row:
    """What the journal says of a job; the fields are its columns."""

    name: str
    place: str
    state: State
    recipe: str | None
    width: int | None
    height: int | None
    attempts: int
    deaths: int
    seconds: float | None
    figures: Mapping[str, float | None]
    error: str | None
    worker: str | None
    exemplar_shown: bytes | None
    shown: bytes | None


_COLUMNS = ", ".join(field.name for field in fields(Row))


class Journal:
    """The journal of an output folder.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    PyengineError
        Another batch has it, or the file is no journal or can't be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Journal(Path(folder.name)) as journal:
    ...     journal.begin()
    ...     journal.add("grass.png", "jobs.jsonl:1", "{}", "hash", "kind", there=False, retry=False)
    ...     journal.commit()
    ...     journal.counts()
    {'new': 1}
    >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        with self._put_right(), ExitStack() as opened:
            # One thread at a time uses it, but not always the same: a caller may ask for the next outcome from any.
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            opened.callback(self._database.close)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            # What a crash of the machine takes away of it is made again: the pictures themselves are flushed.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("BEGIN IMMEDIATE")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise PyengineError(f"{self.path}: written by another version of pyengine: choose another folder")
            for statement in TABLES:
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {VERSION}")
            (last,) = self._database.execute("SELECT coalesce(max(run), 0) FROM jobs").fetchone()
            self._database.execute("COMMIT")
            opened.pop_all()
        self.first = self.run = last + 1

    @contextmanager
    def _put_right(self) -> Iterator[None]:
        """Say what is wrong with the file, and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise PyengineError(f"{self.path.parent}: another batch is at work here: wait for its end") from None
            raise PyengineError(
                f"{self.path}: cannot be written ({error}): make room there, or choose another folder"
            ) from None
        except sqlite3.DatabaseError as error:
            raise PyengineError(f"{self.path}: is no journal ({error}): choose another folder") from None

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._put_right():
            return self._database.execute(statement, values)

    def close(self) -> None:
        """Let another batch have the folder."""
        self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------- what to do

    def begin(self) -> None:
        """Begin another batch, whose jobs are added quickly, all at once, up to `commit`."""
        self._execute("BEGIN")
        self.run += 1

    def commit(self) -> None:
        """Keep what was added since `begin`."""
        self._execute("COMMIT")

    def add(
        self,
        name: str,
        place: str,
        recipe: str,
        hash: str,
        kind: str,
        *,
        beside: Sequence[str] = (),
        there: bool,
        retry: bool,
    ) -> None:
        """Ask for a job, unless it is done and its picture there, or has failed and is not to be tried again.

        Of one that was under way when its batch was ended, it is kept how many workers it has taken with it.

        Parameters
        ----------
        name, place, recipe, hash, kind : str
            See the table.
        beside : sequence of str
            What is written besides the output. Default: nothing.
        there : bool
            Whether all that is written is there.
        retry : bool
            Whether what has failed is tried again.

        Raises
        ------
        PyengineError
            Another job has this output, or one of these files.
        """
        found = self._execute("SELECT run, place, hash, state, deaths FROM jobs WHERE name = ?", name).fetchone()
        run, asked_at, made_from, state, deaths = found or (0, "", "", "", 0)
        if run >= self.first and asked_at != place:
            raise _taken(name, asked_at)
        self._add_files(name, beside)
        if made_from == hash and ((state == "done" and there) or (state == "failed" and not retry)):
            self._execute("UPDATE jobs SET run = ?, place = ? WHERE name = ?", self.run, place, name)
            return
        self._execute(
            "REPLACE INTO jobs (name, run, place, state, deaths, recipe, hash, kind) "
            "VALUES (?, ?, ?, 'new', ?, ?, ?, ?)",
            name,
            self.run,
            place,
            deaths if made_from == hash and state in UNDER_WAY else 0,
            recipe,
            hash,
            kind,
        )

    def _add_files(self, name: str, beside: Sequence[str]) -> None:
        """Note what is written besides an output, of which no other job writes any."""
        for file in (name, *beside):
            found = self._execute(
                "SELECT place FROM jobs WHERE run >= ?3 AND name != ?2 "
                "AND name IN (SELECT ?1 UNION SELECT name FROM beside WHERE file = ?1 AND run >= ?3)",
                file,
                name,
                self.first,
            ).fetchone()
            if found:
                raise _taken(file, *found)
        for file in beside:
            self._execute("REPLACE INTO beside (file, name, run) VALUES (?, ?, ?)", file, name, self.run)

    def add_fault(self, fault: Fault) -> None:
        """Note what is asked for, but can't be made; its place may be a file whose name is no text."""
        place = fault.place.encode(errors="backslashreplace").decode()
        self._execute(
            "REPLACE INTO jobs (name, run, place, state, error) VALUES (?, ?, ?, 'refused', ?)",
            place,
            self.run,
            place,
            fault.message,
        )

    def unchecked(self) -> Row | None:
        """A new job of a kind that nobody checks; it is running then."""
        return self._claim(
            "state = 'new' AND kind NOT IN (SELECT kind FROM jobs WHERE run = ? AND state = 'running') LIMIT 1",
            self.run,
        )

    def checked(self, row: Row, bytes: int, size: tuple[int, int]) -> None:
        """A job may be made, and so may all of its kind; it takes so many bytes, and is of this (width, height)."""
        self._settle_kind(row, "state = 'waiting', attempts = 0, bytes = ?, width = ?, height = ?", bytes, *size)

    def refused(self, row: Row, error: str) -> None:
        """A job can't be made, nor can any of its kind."""
        self._settle_kind(row, "state = 'refused', error = ?", error)

    def _settle_kind(self, row: Row, change: str, *values: Any) -> None:
        self._execute(
            f"UPDATE jobs SET {change} WHERE run = ? AND state IN ('new', 'running') "
            "AND kind = (SELECT kind FROM jobs WHERE name = ?)",
            *values,
            self.run,
            row.name,
        )

    # --------------------------------------------------------------- the queue

    def sizes(self) -> list[tuple[int, int, int, int]]:
        """The (bytes, width, height) that waiting jobs have, and how many of each, those that take most first."""
        return self._execute(
            "SELECT bytes, width, height, count(*) FROM jobs WHERE run = ? AND state = 'waiting' "
            "GROUP BY bytes, width, height ORDER BY bytes DESC, width, height",
            self.run,
        ).fetchall()

    def next(self, least: int = 0) -> Row | None:
        """The next job that takes so many bytes or more, and is running then; None if there is none.

        Jobs of one size come together. Those that took a worker with them before come last.
        """
        return self._claim("state = 'waiting' AND bytes >= ? ORDER BY deaths, bytes DESC, width, height LIMIT 1", least)

    def example(self, size: tuple[int, int, int, int]) -> Row:
        """A waiting job, one of `sizes`."""
        [row] = self._of_this("state = 'waiting' AND bytes = ? AND width = ? AND height = ? LIMIT 1", *size[:3])
        return row

    def again(self, row: Row, *, died: bool) -> None:
        """A job takes its place in the queue again, or is to be checked again: its worker died, or was lost."""
        self._execute(
            "UPDATE jobs SET state = CASE WHEN bytes IS NULL THEN 'new' ELSE 'waiting' END, "
            "attempts = attempts + 1, deaths = deaths + ? WHERE name = ?",
            int(died),
            row.name,
        )

    def done(
        self,
        row: Row,
        seconds: float,
        figures: Mapping[str, float | None],
        worker: str,
        exemplar_shown: bytes,
        shown: bytes,
    ) -> Row:
        """A job's picture is in its place."""
        return self._end(
            row,
            "state = 'done', seconds = ?, figures = ?, worker = ?, exemplar_shown = ?, shown = ?, error = NULL",
            seconds,
            json.dumps(figures),
            worker,
            exemplar_shown,
            shown,
        )

    def failed(self, row: Row, error: str, worker: str, *, died: bool) -> Row:
        """A job has come to nothing, and perhaps its worker with it."""
        return self._end(row, "state = 'failed', error = ?, worker = ?, deaths = deaths + ?", error, worker, int(died))

    def _end(self, row: Row, change: str, *values: Any) -> Row:
        self._execute(
            f"UPDATE jobs SET {change}, attempts = attempts + 1, finished = datetime('now') WHERE name = ?",
            *values,
            row.name,
        )
        [ended] = self._rows("name = ?", row.name)
        return ended

    def _claim(self, which: str, *values: Any) -> Row | None:
        for found in [*self._of_this(which, *values)]:
            self._execute("UPDATE jobs SET state = 'running' WHERE name = ?", found.name)
            return found
        return None

    # -------------------------------------------------------------- what there is

    def counts(self, first: int | None = None) -> dict[State, int]:
        """How many jobs there are in each state that there is, of this batch, or of all from `first` on."""
        counted = self._execute("SELECT state, count(*) FROM jobs WHERE run >= ? GROUP BY state", first or self.run)
        return dict(counted.fetchall())

    def worst(self, most: int) -> Iterator[Row]:
        """So many jobs that have ended since the journal was opened: what has come to nothing, then the worst."""
        return self._rows(
            "run >= ? AND state IN ('done', 'failed', 'refused') ORDER BY state = 'done', "
            "json_extract(figures, '$.patch_distance') DESC, seconds DESC LIMIT ?",
            self.first,
            most,
        )

    def in_states(self, *states: State) -> Iterator[Row]:
        """The jobs of this batch that are in these states, in the order in which they were first asked for."""
        return self._of_this(f"state IN ({', '.join('?' * len(states))}) ORDER BY rowid", *states)

    def _of_this(self, which: str, *values: Any) -> Iterator[Row]:
        return self._rows(f"run = ? AND {which}", self.run, *values)

    def _rows(self, which: str, *values: Any) -> Iterator[Row]:
        for row in self._execute(f"SELECT {_COLUMNS} FROM jobs WHERE {which}", *values):
            fields: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
            yield Row(**{**fields, "figures": json.loads(fields["figures"] or "{}")})


def _taken(file: str, place: str) -> PyengineError:
    return PyengineError(f"output {file} is that of {place} too: give each job its own, as by {{seed}}")
