"""The journal: what is asked for once and twice, what comes next, and who has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyengine import PyengineError
from pyengine.batch.journal import NAME, Journal


def add(
    journal: Journal, name: str, *, hash: str = "", place: str = "", there: bool = False, retry: bool = False
) -> None:
    journal.begin()
    journal.add(name, place or name, "{}", hash or name, f"kind of {name[0]}", there=there, retry=retry)
    journal.commit()


def make(journal: Journal, name: str) -> None:
    add(journal, name)
    row = journal.unchecked()
    assert row
    journal.checked(row, 10, (16, 16))
    row = journal.next()
    assert row
    journal.done(row, 1.5, {"order": None}, "me", b"e", b"s")


def test_what_is_done_stays_done(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        make(journal, "a.png")
    for there, hash, expected in ((True, "a.png", "done"), (False, "a.png", "new"), (True, "other", "new")):
        with Journal(tmp_path) as journal:
            add(journal, "a.png", hash=hash, there=there)
            assert journal.counts() == {expected: 1}
        (tmp_path / NAME).unlink()
        with Journal(tmp_path) as journal:
            make(journal, "a.png")


def test_files_beside_an_output_belong_to_one_job(tmp_path: Path) -> None:
    def ask(journal: Journal, name: str, *beside: str) -> None:
        journal.add(name, f"place of {name}", "{}", name, name, beside=beside, there=False, retry=False)

    with Journal(tmp_path) as journal:
        journal.begin()
        ask(journal, "rock.png", "rock_normal.png")
        ask(journal, "rock.png", "rock_normal.png")  # the same job
        for name, beside, taken in (
            ("rock_normal.png", (), "rock_normal.png"),
            ("moss.png", ("rock.png",), "rock.png"),
            ("moss.png", ("moss_ao.png", "rock_normal.png"), "rock_normal.png"),
        ):
            with pytest.raises(PyengineError, match=f"^output {taken} is that of place of rock.png too: "):
                ask(journal, name, *beside)
        journal.commit()
    with Journal(tmp_path) as journal:  # another day, with other jobs
        journal.begin()
        ask(journal, "rock_normal.png")
        journal.commit()
        assert journal.counts() == {"new": 1}


def test_what_has_failed_is_tried_again_if_asked_for(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        add(journal, "a.png")
        journal.checked(journal.unchecked(), 10, (16, 16))  # type: ignore[arg-type]
        failed = journal.failed(journal.next(), "no room", "me", died=False)  # type: ignore[arg-type]
        assert (failed.state, failed.error, failed.attempts, failed.deaths) == ("failed", "no room", 1, 0)
        add(journal, "a.png")
        assert journal.counts() == {"failed": 1}
        add(journal, "a.png", retry=True)
        assert journal.counts() == {"new": 1}


def test_what_was_running_is_done_again(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        add(journal, "a.png")
        journal.checked(journal.unchecked(), 10, (16, 16))  # type: ignore[arg-type]
        assert journal.next()
        assert journal.next() is None
    with Journal(tmp_path) as journal:
        assert journal.counts() == {}  # nobody has asked for it yet
        add(journal, "a.png")
        assert journal.counts() == {"new": 1}


def test_a_worker_that_a_job_took_with_it_is_remembered(tmp_path: Path) -> None:
    """Where the batch is ended then; what has changed, or has failed and is tried again, begins anew."""

    def deaths(**asked: Any) -> int:
        with Journal(tmp_path) as journal:
            add(journal, "a.png", **asked)
            journal.checked(journal.unchecked(), 10, (16, 16))  # type: ignore[arg-type]
            row = journal.next()
            assert row
            if row.deaths:
                journal.failed(row, "died", "me", died=True)
            else:
                journal.again(row, died=True)
            return row.deaths

    assert [deaths(), deaths(hash="other"), deaths(hash="other"), deaths(hash="other", retry=True)] == [0, 0, 1, 0]


def test_a_worker_that_a_check_took_with_it_counts(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        add(journal, "a.png")
        journal.again(journal.unchecked(), died=True)  # type: ignore[arg-type]
        journal.checked(journal.unchecked(), 10, (16, 16))  # type: ignore[arg-type]
        row = journal.next()
        assert row
        assert (row.attempts, row.deaths) == (0, 1)


def test_one_of_a_kind_is_checked(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.begin()
        for name in ("a1.png", "a2.png", "b1.png"):
            journal.add(name, name, "{}", name, name[0], there=False, retry=False)
        journal.commit()
        first, second = journal.unchecked(), journal.unchecked()
        assert first
        assert second
        assert {first.name[0], second.name[0]} == {"a", "b"}
        assert journal.unchecked() is None
        a, b = sorted((first, second), key=lambda row: row.name)
        journal.checked(a, 10, (16, 32))
        journal.refused(b, "no such layer")
        assert journal.counts() == {"waiting": 2, "refused": 1}
        assert journal.sizes() == [(10, 16, 32, 2)]


def test_the_largest_come_first_and_the_dead_last(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.begin()
        for name in ("c", "a", "b"):
            journal.add(name, name, "{}", name, name, there=False, retry=False)
        journal.commit()
        while row := journal.unchecked():
            journal.checked(row, ord(row.name), (16, 16))
        first = journal.next()
        assert first
        assert first.name == "c"
        journal.again(first, died=True)
        assert [row.name for row in iter(lambda: journal.next(98), None) if row] == ["b", "c"]
        assert [row.name for row in iter(journal.next, None) if row] == ["a"]


def test_two_jobs_of_one_name(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        add(journal, "a.png", place="line 1")
        with pytest.raises(PyengineError, match=r"output a\.png is that of line 1 too"):
            add(journal, "a.png", place="line 2")


def test_one_at_a_time(tmp_path: Path) -> None:
    """Also another process; and none any more once it is killed."""
    code = f"""if True:
        import sys, time, pathlib
        from pyengine.batch.journal import Journal
        journal = Journal(pathlib.Path({str(tmp_path)!r}))
        journal.begin()
        journal.add("a", "a", "", "", "", there=False, retry=False)
        journal.commit()
        print(flush=True)
        time.sleep(60)
    """
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout
    assert other.stdout.readline()
    with pytest.raises(PyengineError, match=f"^{tmp_path}: another batch is at work here: wait for its end$"):
        Journal(tmp_path)
    other.kill()
    other.communicate()
    with Journal(tmp_path) as journal:
        assert journal.counts() == {}
        assert journal.counts(1) == {"new": 1}


def test_no_room(tmp_path: Path) -> None:
    """It says so, and goes on when there is some."""
    resource = pytest.importorskip("resource", reason="there are no limits here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path) as journal:
        make(journal, "a.png")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(PyengineError, match=f"^{tmp_path / NAME}: cannot be written .*: make room there, "):
                [make(journal, f"{number}.png") for number in range(1000)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Journal(tmp_path) as journal:
        add(journal, "a.png", hash="a.png", there=True)
        assert journal.counts() == {"done": 1}


def test_what_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no database" * 100)
    with pytest.raises(PyengineError, match="is no journal"):
        Journal(tmp_path)
