"""Pictures by URL: in memory, in files, and from a batch's workers."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from command_line import invoke
from fake_workers import Fake
from PIL import Image

import pyengine
from pyengine import Outcome, PyengineError, run_batch
from pyengine.batch import remote
from pyengine.batch.manifest import read_jobs
from pyengine.batch.run import Batch
from pyengine.document import PICTURES


@pytest.fixture
def store() -> Iterator[str]:
    """A place in this process's memory."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fsspec.filesystem("memory").store.clear()


def put(url: str, seed: int = 0) -> bytes:
    """A picture at a URL."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(content, "PNG")
    remote.write(url, content.getvalue())
    return content.getvalue()


def test_written_and_read(store: str) -> None:
    content = put(f"{store}/sub/a.png")
    file = remote.read(f"{store}/sub/a.png", "exemplar")
    assert (file.content, file.path) == (content, Path("a.png"))
    remote.write(f"{store}/b.jpg", b"...")
    remote.write(f"{store}/notes.txt", b"...")
    assert remote.names_in(store) == {"sub/a.png", "b.jpg", "notes.txt"}
    assert remote.pictures_of(store) == [f"memory:///{store[9:]}/b.jpg"]
    assert remote.pictures_of(f"{store}/*/*.png") == [f"memory:///{store[9:]}/sub/a.png"]
    assert remote.pictures_of(f"{store}/none.png") == [f"{store}/none.png"]


def test_what_can_not_be_read(store: str) -> None:
    remote.write(f"{store}/empty.png", b"")
    for url, message in [
        (f"{store}/none.png", f"content {store}/none.png: nothing is there: check the URL"),
        (f"{store}/empty.png", f"content {store}/empty.png: the file is empty: export or upload it again"),
        ("nosuch://a/b.png", "content nosuch://a/b.png: cannot be opened (Protocol not known: nosuch"),
    ]:
        with pytest.raises(PyengineError) as error:
            remote.read(url, "content")
        assert str(error.value).startswith(message)
    with pytest.raises(PyengineError, match="no pictures are there: check the URL"):
        remote.pictures_of(f"{store}/*.jpg")
    put(f"{store}/a.png")
    with pytest.raises(PyengineError, match=r"a\.png: more than 100 bytes: give a smaller picture"):
        remote.read(f"{store}/a.png", "content", most=100)


def test_another_picture_than_was_asked_for(store: str, tmp_path: Path) -> None:
    put(f"{store}/a.png")
    own = tmp_path / "own.png"
    Image.new("RGB", (16, 16)).save(own)
    url = {"file": f"{store}/a.png", "sha256": remote.read(f"{store}/a.png", "").sha256}
    path = {"file": str(own), "sha256": remote.read(own.as_uri(), "").sha256}
    recipe: dict[str, Any] = {"exemplars": [url, path], "init": "noise", "keep": path, "seed": 3}
    [(name, files)] = remote.fetched(recipe, PICTURES).items()
    assert (name, [file.sha256 for file in files]) == ("exemplars", [url["sha256"], path["sha256"]])
    put(f"{store}/a.png", seed=1)
    with pytest.raises(PyengineError, match=r"^exemplars\[0\] memory.*: another picture than when the batch began"):
        remote.fetched(recipe, PICTURES)


def test_urls_stay_as_they_are(store: str) -> None:
    put(f"{store}/a.png")
    jobs = [*read_jobs([store, {"exemplar": "s3://b/c.png", "content": {"file": "gs://d", "sha256": "1"}}], {})]
    assert [job.output for job in jobs] == ["a.png", "c.png"]  # type: ignore[union-attr]
    assert jobs[1].arguments == {  # type: ignore[union-attr]
        "exemplar": "s3://b/c.png", "content": {"file": "gs://d", "sha256": "1"},
    }  # fmt: skip


# ------------------------------------------------------------------- batches


def run(output: str, jobs: list[dict[str, Any]], journal: Path) -> list[Outcome]:
    with Batch(output, journal=journal, start=Fake, workers=1) as batch:
        batch.ask(jobs, {"output": "{stem}/{seed}.png"})
        assert batch.free_bytes() is None
        return [*batch.check(), *batch.run()]


def test_to_a_store_and_again(store: str, tmp_path: Path) -> None:
    put(f"{store}/a.png")
    jobs = [{"exemplar": f"{store}/a.png", "seed": seed} for seed in range(3)]
    jobs.append({"exemplar": f"{store}/none.png"})
    outcomes = {str(outcome.output): outcome for outcome in run(f"{store}/out/", jobs, tmp_path)}
    refused = outcomes.pop("job 4")
    assert refused.error == f"exemplar {store}/none.png: nothing is there: check the URL"
    assert {*outcomes} == {f"{store}/out/a/{seed}.png" for seed in range(3)}
    assert {outcome.state for outcome in outcomes.values()} == {"made"}
    assert remote.names_in(f"{store}/out") == {f"a/{seed}.png" for seed in range(3)}
    assert f'href="{store}/out/a/0.png"' in (tmp_path / "report.html").read_text()
    fsspec.filesystem("memory").rm(f"{store[8:]}/out/a/1.png")
    again = run(f"{store}/out", jobs[:3], tmp_path)
    assert {str(outcome.output)[-5:]: outcome.state for outcome in again} == {
        "0.png": "kept", "1.png": "made", "2.png": "kept",
    }  # fmt: skip
    put(f"{store}/a.png", seed=1)
    assert {outcome.state for outcome in run(f"{store}/out", jobs[:3], tmp_path)} == {"made"}
    put(f"{store}/0/0.png")
    [own] = run(store, [{"exemplar": f"{store}/0/0.png"}], tmp_path)
    assert own.error == f"output {store}/0/0.png is one of the images to read: write to another folder"


def test_the_same_bits(tmp_path: Path) -> None:
    """By workers of their own, which see no memory of this one's."""
    (tmp_path / "in").mkdir()
    put((tmp_path / "in" / "a.png").as_uri())
    url = (tmp_path / "out").as_uri()
    [outcome] = run_batch(
        (tmp_path / "in").as_uri(), url, journal=tmp_path / "kept", name="made/{stem}.jpg", start="noise", iterations=1
    )
    assert (outcome.state, outcome.output, outcome.error) == ("made", f"{url}/made/a.jpg", None)
    single = pyengine.synthesize(tmp_path / "in" / "a.png", start="noise", iterations=1)
    assert (tmp_path / "out" / "made" / "a.jpg").read_bytes() == single.encode(".jpg")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"journal.sqlite", "report.html"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server on this machine that does as S3 does."""
    pytest.importorskip("s3fs", reason="s3fs is not installed, which .ci/cluster does")
    server = pytest.importorskip("moto.server", reason="moto is not installed, which .ci/cluster does")
    there = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    there.start()
    host, port = there.get_host_and_port()
    known = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in {**known, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    name = f"b{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}"
    fsspec.filesystem("s3").clear_instance_cache()  # the next one is another server's
    there.stop()


@pytest.mark.filterwarnings("ignore")  # of moto and s3fs
def test_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Read, written and listed; a second time, what there is now is seen, not what there was."""
    with pytest.raises(PyengineError, match=r"none/a\.png: nothing is there: check the URL$"):
        remote.read(f"{bucket}/none/a.png", "exemplar")
    with pytest.raises(PyengineError, match="cannot be listed "):
        remote.names_in(f"{bucket}none/out")
    assert remote.names_in(f"{bucket}/out") == set()
    put(f"{bucket}/in/a.png")
    put(f"{bucket}/in/b.png", seed=1)
    arguments: dict[str, Any] = {"journal": tmp_path, "workers": 1, "start": "noise", "iterations": 1}
    for state in ("made", "kept"):
        outcomes = [*run_batch(f"{bucket}/in/*.png", f"{bucket}/made", **arguments)]
        assert [(outcome.state, outcome.error) for outcome in outcomes] == [(state, None)] * 2
    assert remote.names_in(f"{bucket}/made") == {"a.png", "b.png"}
    (tmp_path / "a.png").write_bytes(remote.read(f"{bucket}/in/a.png", "exemplar").content)
    single = pyengine.synthesize(tmp_path / "a.png", start="noise", iterations=1)
    assert remote.read(f"{bucket}/made/a.png", "exemplar").content == single.encode()
    assert remote.pictures_of(f"{bucket}/in") == [f"{bucket}/in/a.png", f"{bucket}/in/b.png"]
    others = fsspec.filesystem("s3", skip_instance_cache=True)
    others.pipe_file(f"{bucket}/in/a.png", others.cat_file(f"{bucket}/in/b.png"))
    others.rm_file(f"{bucket}/in/b.png")
    outcomes = [*run_batch(f"{bucket}/in", f"{bucket}/made", **arguments)]
    assert [(str(outcome.output)[-5:], outcome.state) for outcome in outcomes] == [("a.png", "made")]


def test_where_the_journal_is(tmp_path: Path, store: str) -> None:
    for arguments, message in [
        ([store, "-o", f"{store}/out"], f"output {store}/out: give a folder of this machine as journal"),
        ([store, "-o", tmp_path, "--journal", "s3://a/b"], "journal s3://a/b: SQLite needs a folder of this machine"),
        ([f"{store}/jobs.jsonl", "-o", tmp_path], f"manifest {store}/jobs.jsonl: has to be a file of this machine"),
    ]:
        result = invoke("batch", *arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"Error: {message}")
