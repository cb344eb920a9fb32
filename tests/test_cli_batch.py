"""`pyengine batch`."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from command_line import finish, invoke, program
from PIL import Image

import pyengine
from pyengine.batch.watch import Watched

FAST = ("--start", "noise", "--iterations", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two exemplars."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def test_a_folder(folder: Path) -> None:
    """In a process of its own: pictures, words, exit code; again, as JSON."""
    out = folder / "out"
    command = ("batch", folder / "in", "-o", out, "--name", "{stem}_{seed}.jpg", "--seed", "3", *FAST)
    code, stdout, stderr = finish(program(*command))
    assert (code, stderr) == (0, "")
    assert stdout.startswith(f"{out}: 2 made, in ")
    assert {path.name for path in out.iterdir()} == {"a_3.jpg", "b_3.jpg", "journal.sqlite", "report.html"}
    single = pyengine.synthesize(folder / "in" / "a.png", seed=3, start="noise", iterations=1)
    assert (out / "a_3.jpg").read_bytes() == single.encode(".jpg")
    result = invoke(*command, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    *jobs, end = map(json.loads, result.stdout.splitlines())
    assert {(job["event"], job["state"], Path(job["output"]).name) for job in jobs} == {
        ("job", "kept", "a_3.jpg"),
        ("job", "kept", "b_3.jpg"),
    }
    assert {**end, "seconds": 0} == {"event": "end", "made": 0, "kept": 2, "failed": 0, "refused": 0, "seconds": 0}


def test_all_faults_at_once(folder: Path) -> None:
    manifest = folder / "jobs.yaml"
    manifest.write_text(
        "defaults: {start: noise, iterations: 1}\njobs:\n"
        "  - exemplar: in/a.png\n  - exemplar: in/c.png\n  - {exemplar: in/b.png, size: 3}\n  - output: '{'\n"
    )
    result = invoke("batch", manifest, "-o", folder / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    *faults, error = result.stderr.splitlines()
    assert sorted(faults) == [
        f"{manifest}:4: exemplar {folder}/in/c.png: no such file: check the path",
        f"{manifest}:5: size 3x3: both sides must be 16 to 16383 pixels",
        f"{manifest}:6: output='{{': this is no template (Single '{{' encountered in format string)",
    ]
    assert error == "Error: 3 of 4 jobs can't be made: put them right, or give --keep-going to make the others"
    assert not (folder / "out" / "a.png").exists()
    result = invoke("batch", manifest, "-o", folder / "out", "--keep-going")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{folder}/out: 1 made, 3 refused, in ")
    assert (folder / "out" / "a.png").exists()
    page = (folder / "out" / "report.html").read_text()
    assert page.index("in/c.png: no such file") < page.index('href="a.png"')  # what has come to nothing stands on top
    assert page.count("data:image/webp;base64,") == 2
    assert "http-equiv" not in page


def test_the_plan(folder: Path) -> None:
    result = invoke("batch", folder / "in", "-o", folder / "out", *FAST, "--check")
    assert (result.exit_code, result.stderr) == (0, "")
    jobs, size, whole = result.stdout.splitlines()
    assert jobs == "2 jobs: 2 to make, 0 done already"
    assert size.startswith("16x16 pixels: 2 jobs, ")
    assert "at most 0.0 GB of disk" in whole
    assert not (folder / "out" / "a.png").exists()


def test_what_is_missing_or_wrong(folder: Path) -> None:
    for arguments, message in [
        (["-o", folder / "out"], "Missing argument 'JOBS...': give pictures, a folder or a manifest, or --watch"),
        ([folder / "in"], "Missing option '-o': give a folder to write to"),
        ([folder / "no.yaml", "-o", folder / "out"], f"manifest {folder}/no.yaml: cannot be read (No such file or dir"),
        (["-o", folder / "in", "--watch", folder / "in"], f"{folder}/in: is watched as well: write to another folder"),
        (["-o", folder / "out", "--watch", folder / "no"], f"{folder}/no: no such folder: create it"),
        ([folder / "in", "-o", folder / "out", "--workers", "0"], "workers=0: give a whole number from 1"),
    ]:
        result = invoke("batch", *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"Error: {message}")


def test_schema() -> None:
    result = invoke("batch", "--schema")
    assert result.exit_code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


def test_killed_and_resumed(folder: Path) -> None:
    """Nothing lives on, and nothing is made twice."""
    manifest = folder / "jobs.jsonl"
    jobs = [{"exemplar": "in/a.png", "seed": seed, "output": f"{seed}.png"} for seed in range(5)]
    manifest.write_text("\n".join(map(json.dumps, jobs)))
    command = (
        "batch",
        manifest,
        "-o",
        folder / "out",
        "--workers",
        "1",
        "--start",
        "noise",
        "--iterations",
        "9",
        "--threads",
        "1",
    )
    process = program(*command)
    while not list((folder / "out").glob("*.png")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    finish(process)
    with sqlite3.connect(folder / "out" / "journal.sqlite") as journal:  # as soon as nobody has it
        [(done,)] = journal.execute("SELECT count(*) FROM jobs WHERE state = 'done'").fetchall()
    journal.close()
    assert done < 5
    resumed = invoke(*command, "--json")
    assert resumed.exit_code == 0
    end = json.loads(resumed.stdout.splitlines()[-1])
    assert (end["made"], end["kept"]) == (5 - done, done)
    single = pyengine.synthesize(folder / "in" / "a.png", seed=4, start="noise", iterations=9).encode()
    assert (folder / "out" / "4.png").read_bytes() == single


# --------------------------------------------------------------------- watch


def test_watch(folder: Path) -> None:
    process = program("batch", "--watch", folder / "in", "-o", folder / "out", *FAST, "--json", bufsize=1)
    assert process.stdout
    first = {Path(json.loads(process.stdout.readline())["output"]).name for _ in range(2)}
    assert first == {"a.png", "b.png"}
    content = (folder / "in" / "a.png").read_bytes()
    (folder / "in" / "c.png").write_bytes(content[:100])
    (folder / "in" / "c.png").write_bytes(content)
    job = json.loads(process.stdout.readline())
    assert (job["state"], Path(job["output"]).name) == ("made", "c.png")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    process.communicate()


def test_watched_files_are_whole(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    growing = tmp_path / "a.png"
    growing.write_bytes(b"12")
    assert watched.new() == []
    growing.write_bytes(b"123")
    assert watched.new() == []
    assert watched.new() == [growing]
    (tmp_path / "notes.txt").touch()
    assert watched.new() == []
    growing.write_bytes(b"another picture")
    assert [watched.new(), watched.new(), watched.new()] == [[], [growing], []]


# --------------------------------------------------------------------- pipes


def test_pipes(folder: Path) -> None:
    """A picture in, a picture out, and figures of it, in processes of their own."""
    content = (folder / "in" / "a.png").read_bytes()
    pipes = {"stdin": subprocess.PIPE, "text": False}
    made = program("synthesize", "-", "-o", "-", "--quiet", *FAST, **pipes)
    stdout, stderr = made.communicate(content, timeout=60)
    assert (made.returncode, stderr) == (0, b"")
    with Image.open(io.BytesIO(stdout)) as image:
        assert (image.format, image.size) == ("PNG", (16, 16))
        assert json.loads(image.info["pyengine"])["recipe"]["exemplar"]["file"] == "-"
    compared = program("compare", "-", folder / "in" / "a.png", **pipes)
    stdout, _ = compared.communicate(content, timeout=60)
    assert b": patch distance 0.000, " in stdout


def test_what_can_not_be_piped(folder: Path) -> None:
    picture = folder / "in" / "a.png"
    for arguments, message in [
        (["synthesize", "-", "--content", "-", "-o", "out.png"], "- stands for standard input, which can be read once"),
        (["compare", "-", "-"], "- stands for standard input, which can be read once: name the other files"),
        (["synthesize", "-", "-o", folder / "out.png"], "standard input: nothing comes: pipe a picture into it"),
        (["synthesize", picture, "-o", "-", "--json"], "--json and -o -: both are for standard output"),
    ]:
        result = invoke(*arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"Error: {message}")


def test_no_picture_on_a_terminal(folder: Path) -> None:
    if not hasattr(os, "openpty"):
        pytest.skip("no terminals here")
    parent, child = os.openpty()
    code, _, stderr = finish(program("synthesize", folder / "in" / "a.png", "-o", "-", stdout=child))
    os.close(child)
    os.close(parent)
    assert (code, stderr.partition(":")[0]) == (2, "Error")
    assert "standard output is a terminal" in stderr
