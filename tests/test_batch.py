"""Batches: outcomes, crews, what is kept, and what becomes of jobs that fail; with an engine, and without."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_workers import Fake
from PIL import Image

import pyengine
from pyengine import Outcome, PyengineError, Recipe, run_batch
from pyengine.batch.cluster import Engines
from pyengine.batch.pool import Died, Lost
from pyengine.batch.process import Process
from pyengine.batch.run import Batch

SMALL: dict[str, Any] = {"start": "noise", "iterations": 1}


@pytest.fixture
def exemplar(tmp_path: Path) -> str:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    return str(path)


@pytest.fixture(autouse=True)
def _nothing_logged() -> Iterator[None]:
    Fake.log.clear()
    yield
    assert Fake.log["start"] == Fake.log["close"] + Fake.log["died"]


def run(folder: Path, jobs: list[dict[str, Any]], **settings: Any) -> list[Outcome]:
    """A batch without engines."""
    with Batch(folder, start=Fake, **settings) as batch:
        batch.ask(jobs, {"output": "{seed}.png"})
        return [*batch.check(), *batch.run()]


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.output.stem: outcome.state for outcome in outcomes}


# -------------------------------------------------------------- with engines


def test_the_same_bits_as_single_runs(exemplar: str, tmp_path: Path) -> None:
    """And the same file, which says how to make it again; without `if __name__ == "__main__"`, from any thread."""
    jobs: list[Any] = [{"exemplar": exemplar, "seed": seed, "output": f"made/{seed}.png"} for seed in (0, 1)]
    jobs.append({"exemplar": exemplar, "gram_layers": ["relu9_1"]})
    found: list[Outcome] = []

    async def main() -> None:
        outcomes = run_batch(jobs, tmp_path / "out", compare=True, size=32, **SMALL)
        while (outcome := await asyncio.to_thread(next, outcomes, None)) is not None:
            found.append(outcome)

    asyncio.run(main())
    refused, *made = sorted(found, key=lambda outcome: str(outcome.state), reverse=True)
    assert (refused.state, refused.place, refused.output) == ("refused", "job 3", tmp_path / "out" / "exemplar.png")
    assert refused.error == "layer 'relu9_1': model 'vgg16' has " + ", ".join(
        pyengine.Engine(threads=1).model.architecture.names
    )
    for outcome in made:
        assert (outcome.state, outcome.error, outcome.attempts) == ("made", None, 1)
        single = pyengine.synthesize(exemplar, seed=int(outcome.output.stem), size=32, threads=2, **SMALL)
        assert outcome.output.read_bytes() == single.encode()
        assert outcome.figures == vars(pyengine.compare(exemplar, single.image))
    assert Recipe.from_json(json.dumps(json.loads(_text(made[0].output))), tmp_path).sizes == ((32, 32),)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 of 3 done, 1 failed" in page
    kept = [*run_batch(jobs[:2], tmp_path / "out", size=32, **SMALL)]
    assert [(outcome.state, outcome.attempts) for outcome in kept] == [("kept", 1)] * 2


def _text(path: Path) -> str:
    with Image.open(path) as image:
        return str(image.info["pyengine"])


def test_an_engine_that_there_is_not(exemplar: str, tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match=r"^device='gpu': choose "):
        list(run_batch(exemplar, tmp_path / "out", device="gpu"))
    [outcome] = run_batch(exemplar, tmp_path / "out", device="cpu", **SMALL)  # nobody holds the folder
    assert outcome.state == "made"


# ----------------------------------------------------------- without engines


def test_what_goes_wrong_costs_its_job_only(exemplar: str, tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = [{"exemplar": exemplar, "seed": seed} for seed in (1, 66, 67, 69, 2)]
    jobs.append({"exemplar": exemplar, "seed": 65, "levels": 9})
    outcomes = run(tmp_path, jobs, workers=2)
    assert states(outcomes) == {
        "1": "made", "65": "refused", "66": "failed", "67": "failed", "69": "made", "2": "made",
    }  # fmt: skip
    found = {outcome.output.stem: outcome for outcome in outcomes}
    assert found["65"].error == "no such layer"
    assert found["66"].error == "ended its worker (SIGABRT) (2 times: it is set aside)"
    assert found["67"].error == "no room on the disk"
    assert {stem: outcome.attempts for stem, outcome in found.items()} == {
        "1": 1, "65": 0, "66": 2, "67": 1, "69": 2, "2": 1,
    }  # fmt: skip


def test_what_is_done_again(exemplar: str, tmp_path: Path) -> None:
    jobs = [{"exemplar": exemplar, "seed": seed} for seed in (1, 2, 3, 67)]
    run(tmp_path, jobs, workers=1)
    (tmp_path / "2.png").unlink()
    jobs[2]["size"] = 32
    outcomes = run(tmp_path, jobs, workers=1)
    assert states(outcomes) == {"1": "kept", "2": "made", "3": "made", "67": "failed"}
    assert Fake.log["make"] == 4 + 2  # what has failed is told of, and not tried
    assert states(run(tmp_path, jobs, workers=1, retry_failed=True))["67"] == "failed"
    assert Fake.log["make"] == 4 + 2 + 1
    Image.new("RGB", (20, 20)).save(exemplar)  # another picture of the same name
    assert {*states(run(tmp_path, jobs, workers=1)).values()} == {"made", "failed"}
    assert Fake.log["make"] == 4 + 2 + 1 + 4
    Path(exemplar).unlink()
    outcomes = run(tmp_path, jobs, workers=1)
    assert {outcome.error for outcome in outcomes} == {f"exemplar {exemplar}: no such file: check the path"}
    assert (tmp_path / "1.png").exists()


def test_one_check_for_jobs_that_differ_by_seed(exemplar: str, tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = [{"exemplar": exemplar, "seed": seed} for seed in range(20)]
    jobs += [{"exemplar": exemplar, "seed": -1}, {"exemplar": exemplar, "seed": 30, "size": 32}]
    outcomes = run(tmp_path, jobs, workers=1)
    assert Fake.log["check"] == 2
    assert [outcome.error for outcome in outcomes if outcome.state == "refused"] == [
        "seed=-1: give a whole number from 0 to 2**128 - 1"
    ]


def test_refused_before_a_worker_sees_it(exemplar: str, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    Path(exemplar).rename(own)
    os.mkfifo(tmp_path / "pipe.png")
    with Batch(tmp_path, start=Fake) as batch:
        batch.ask([{"exemplar": str(own)}, {"exemplar": str(tmp_path / "pipe.png"), "output": "a.png"}], {})
        batch.ask([{"exemplar": str(own), "output": "b.png"}, {"exemplar": str(own), "output": "b.png"}], {})
        refused = [outcome.error or "" for outcome in batch.check()]
    assert [error.partition(":")[0] for error in refused] == ["output b.png is that of job 1 too"]
    with Batch(tmp_path, start=Fake) as batch:
        batch.ask([{"exemplar": str(own)}, {"exemplar": str(tmp_path / "pipe.png"), "output": "a.png"}], {})
        refused = [outcome.error or "" for outcome in batch.check()]
    assert "own.png is one of the images to read" in refused[0]
    assert "pipe.png: is a pipe" in refused[1]


def test_names_that_are_no_text(exemplar: str, tmp_path: Path) -> None:
    odd = tmp_path / "\udcff.png"
    Path(exemplar).rename(odd)
    with Batch(tmp_path / "out", start=Fake) as batch:
        batch.ask([str(odd), {"exemplar": str(odd), "output": "\udcfe.png"}, "none\udcff.png"], {})
        refused = {outcome.place: outcome.error or "" for outcome in batch.check()}
    assert all(place.isprintable() for place in refused)
    assert len(refused) == 3
    assert sum("its name is no text: rename it, or give output" in error for error in refused.values()) >= 2


@pytest.mark.parametrize(
    ("settings", "sizes", "expected"),
    [
        ({"cores": 4, "bytes": 10**11}, [16] * 9, [(4, 1)]),
        ({"cores": 4, "bytes": 10**11}, [16, 32], [(2, 2)]),  # no more workers than jobs
        ({"cores": 4, "bytes": 10**9}, [64] * 2 + [16] * 9, [(1, 4), (4, 1)]),  # by 640 and 160 MB of 1 GB
        ({"cores": 6, "bytes": 10**9}, [20] * 9, [(3, 2)]),  # 5 would fit, and leave a core
        ({"cores": 4, "bytes": 10**9, "workers": 3}, [64] * 9, [(3, 2)]),
        ({"cores": 4, "bytes": 10**11, "threads": 2}, [16] * 9, [(2, 2)]),
        ({"cores": 4, "bytes": 10**11, "threads": 3, "workers": 5}, [16] * 9, [(5, 3)]),
    ],
)
def test_how_many_workers(
    settings: dict[str, Any], sizes: list[int], expected: list[tuple[int, int]], exemplar: str, tmp_path: Path
) -> None:
    settings = dict(settings)
    introduction = {"threads": 8, **{name: settings.pop(name) for name in ("cores", "bytes")}}
    jobs = [{"exemplar": exemplar, "seed": k, "size": size} for k, size in enumerate(sizes)]
    with Batch(tmp_path, start=Fake, introduction=introduction, **settings) as batch:
        batch.ask(jobs, {"output": "{seed}.png"})
        assert batch.check() == []
        plan = batch.plan()
        assert sorted({(size.workers, size.threads) for size in plan}) == sorted(expected)
        assert sum(size.jobs for size in plan) == len(sizes)
        assert len([*batch.run()]) == len(sizes)


def test_a_worker_for_each_gpu(exemplar: str, tmp_path: Path) -> None:
    introduction = {"device": "cuda", "devices": ["cuda:0", "cuda:1"]}
    seen: list[tuple[Any, int]] = []

    class Gpu(Fake):
        def __init__(self, engine: Any, at_once: int) -> None:
            super().__init__(engine, at_once)
            seen.append((engine.get("device"), at_once))

    for device, expected in (("auto", {("cuda:0", 2), ("cuda:1", 2)}), ("cuda:1", {("cuda:1", 2)})):
        seen.clear()
        with Batch(tmp_path / device, start=Gpu, device=device, introduction=introduction) as batch:
            batch.ask([{"exemplar": exemplar, "seed": seed} for seed in (1, 66, 2, 3)], {"output": "{seed}.png"})
            outcomes = [*batch.check(), *batch.run()]
        assert {*seen[1:]} == expected
        # The one beside it goes down with it, but is not taken for it.
        assert states(outcomes) == {"1": "made", "2": "made", "3": "made", "66": "failed"}


def test_a_machine_that_is_lost_costs_attempts_only(exemplar: str, tmp_path: Path) -> None:
    """As often as it may be chance; what else was done there is done again as well."""

    class Lent(Fake):
        def receive(self, timeout: float | None) -> dict[str, Any]:
            try:
                return super().receive(timeout)
            except Died as death:
                raise Lost(f"the node was lost ({death})") from None

    with Batch(tmp_path, start=Lent, workers=1) as batch:
        batch.ask([{"exemplar": exemplar, "seed": seed} for seed in (1, 66, 69)], {"output": "{seed}.png"})
        outcomes = {outcome.output.stem: outcome for outcome in [*batch.check(), *batch.run()]}
    assert {name: outcome.attempts for name, outcome in outcomes.items()} == {"1": 1, "66": 10, "69": 2}
    assert outcomes["66"].error == "the node was lost (ended its worker (SIGABRT)) (10 times: it is set aside)"
    assert outcomes["69"].state == "made"


def test_a_check_that_is_always_lost(exemplar: str, tmp_path: Path) -> None:
    """It is not tried for ever."""

    class Lent(Fake):
        def receive(self, timeout: float | None) -> dict[str, Any]:
            self.waiting.get()
            assert self.count("died") < 20
            raise Lost("the node was lost")

    with Batch(tmp_path, start=Lent, workers=1) as batch:
        batch.ask({"exemplar": exemplar}, {"output": "a.png"})
        [refused] = batch.check()
    assert refused.error == "the node was lost (10 times: it is set aside)"


def test_what_is_on_a_node(tmp_path: Path) -> None:
    engines = Engines([{}, {}], 1, None, tmp_path, Fake)
    assert {"device": "cpu", "pyengine": pyengine.__version__}.items() <= engines.introduction().items()
    for seed in range(3):
        engines.send({"do": "time", "name": str(seed), "recipe": {"seed": seed}}, alone=False)
    assert {engines.receive()["name"] for _ in range(3)} == {"0", "1", "2"}
    engines.close()
    for shared, device, message in [
        (tmp_path / "none", "cpu", "/none: is not on node "),
        (tmp_path, "gpu", "device='gpu': choose "),
    ]:
        engines = Engines([{"device": device}], 1, None, shared, Process)
        assert message in engines.introduction()["error"]
        engines.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers=0: give a whole number from 1"),
        ({"timeout": 0}, "timeout=0: give seconds, above 0"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match=f"^{message}$"):
        list(run_batch([], tmp_path, **settings))
    (tmp_path / "file").touch()
    with pytest.raises(PyengineError, match="cannot be a folder"):
        list(run_batch([], tmp_path / "file"))


def test_a_batch_that_is_left(exemplar: str, tmp_path: Path) -> None:
    """The folder is free again, and what was not made comes next time."""
    with Batch(tmp_path, start=Fake, workers=1) as batch:
        batch.ask([{"exemplar": exemplar, "seed": seed} for seed in range(10)], {"output": "{seed}.png"})
        assert batch.check() == []
        next(batch.run())
    with Batch(tmp_path, start=Fake, workers=1) as batch:
        batch.ask([{"exemplar": exemplar, "seed": seed} for seed in range(10)], {"output": "{seed}.png"})
        batch.check()
        found = states([*batch.run()])
    assert len(found) == 10
    assert {*found.values()} <= {"made", "kept"}


def test_options_of_no_name(exemplar: str, tmp_path: Path) -> None:
    with pytest.raises(PyengineError, match=r"^there is no argument 'sizee': did you mean 'size'\?$"):
        run_batch(exemplar, tmp_path / "out", sizee=3)  # type: ignore[call-arg]


# ----------------------------------------------------------------- materials


@pytest.fixture
def maps(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "rock").mkdir()
    found = {name: str(tmp_path / "rock" / f"{name}.png") for name in ("albedo", "normal", "roughness")}
    for seed, path in enumerate(found.values()):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels[:, :, 0] if "roughness" in path else pixels).save(path)
    return found


@pytest.mark.parametrize("to_url", [False, True])
def test_materials(maps: dict[str, str], tmp_path: Path, to_url: bool) -> None:
    """All maps are those of a single run; one that is gone is made again, with the others."""
    folder = tmp_path / "out"
    output, there = (folder.as_uri(), {"journal": tmp_path / "journal"}) if to_url else (folder, {})
    job = {"exemplar": {**maps, "albedo": Path(maps["albedo"]).as_uri()} if to_url else maps}

    def outcomes(*jobs: dict[str, Any]) -> list[tuple[str, str | None]]:
        found = run_batch([*jobs] or job, output, compare=True, threads=1, **there, **SMALL)
        return [(outcome.state, outcome.error) for outcome in found]

    assert outcomes() == [("made", None)]
    files = {"": "rock.png", "normal": "rock_normal.png", "roughness": "rock_roughness.png"}
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".png") == sorted(files.values())
    single = pyengine.synthesize(maps, threads=1, **SMALL)
    for name, file in files.items():
        with Image.open(folder / file) as image, Image.open(io.BytesIO(single.encode(map=name or None))) as alone:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(alone))
    assert outcomes() == [("kept", None)]
    moved = Path(maps["normal"]).rename(tmp_path / "moved.png")
    job["exemplar"] = {**job["exemplar"], "normal": str(moved)}
    assert outcomes() == [("kept", None)]
    (folder / "rock_normal.png").unlink()
    assert outcomes() == [("made", None)]
    assert (folder / "rock_normal.png").exists()
    Image.new("L", (24, 16), 99).save(maps["roughness"])
    assert outcomes() == [("made", None)]


def test_files_of_materials_are_nobody_elses(maps: dict[str, str], exemplar: str, tmp_path: Path) -> None:
    jobs = [
        {"exemplar": maps, "output": "a.png"},
        {"exemplar": exemplar, "output": "a_normal.png"},
        {"exemplar": {**maps, "normal": str(tmp_path / "out" / "b_normal.png")}, "output": "b.png"},
    ]
    (tmp_path / "out").mkdir()
    Image.new("RGB", (24, 16)).save(tmp_path / "out" / "b_normal.png")
    with Batch(tmp_path / "out", start=Fake) as batch:
        batch.ask(jobs, {})
        refused = {outcome.place: outcome.error for outcome in batch.check()}
    assert refused == {
        "job 2": "output a_normal.png is that of job 1 too: give each job its own, as by {seed}",
        "job 3": f"output {tmp_path / 'out' / 'b_normal.png'} is one of the images to read: write to another folder",
    }
