"""Runs that go on from a checkpoint: to the same bits, and only where it is one of the same run."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import cut_budget
from PIL import Image
from safetensors import safe_open

import pyengine
from pyengine import Engine, PyengineError
from pyengine.memory import Plan
from pyengine.recipe import Recipe

HOLE = np.zeros((48, 64), bool)
HOLE[16:24, :20] = HOLE[5, 57] = True


class Killed(Exception):
    pass


def killed_after(count: int) -> Callable[[pyengine.Progress], None]:
    """A callback that ends the run within the next iteration, before it is kept."""
    seen: list[pyengine.Progress] = []

    def callback(progress: pyengine.Progress) -> None:
        seen.append(progress)
        if len(seen) > count:
            raise Killed

    return callback


def check_same(engine: Engine, path: Path, moments: list[int], **options: Any) -> None:
    """A run that is killed after so many iterations each time, and goes on, is the same as one without a break."""
    recipe = Recipe.create(**options)
    expected = engine.run(recipe)
    for moment in moments:
        path.unlink(missing_ok=True)
        with pytest.raises(Killed):
            engine.run(recipe, killed_after(moment), checkpoint=path, checkpoint_every=0)
        states: list[pyengine.Iteration] = []
        found = engine.run(recipe, lambda p: states.append(p.state), checkpoint=path, checkpoint_every=1e9)  # noqa: B023
        assert np.array_equal(found.image, expected.image)
        assert found.history == expected.history
        assert states == expected.history[moment:]
        assert (found.stopped, path.exists()) == (False, True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.checkpoint"


@pytest.fixture(scope="module")
def small(natural: np.ndarray) -> np.ndarray:
    return natural[:48, :64]


RUNS: dict[str, tuple[list[int], dict[str, Any]]] = {
    "noise": ([1, 3, 4, 13], {"start": "noise", "levels": 2, "iterations": [3, 14]}),
    "patches": ([2], {"iterations": 4, "size": (64, 80)}),
    "thresholds": ([9, 10, 11, 12], {"start": "noise", "weights": "thresholds", "levels": 1, "iterations": 13}),
    "a level without iterations": ([1], {"start": "noise", "levels": 2, "iterations": [0, 2]}),
    "a band": ([1], {"seamless": "xy", "levels": 2, "iterations": [0, 3]}),
    "a hole": ([1, 3], {"fill": HOLE, "start": "noise", "levels": 2, "iterations": 2}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_goes_on_to_the_same_bits(name: str, engine: Engine, small: np.ndarray, path: Path) -> None:
    moments, options = RUNS[name]
    check_same(engine, path, moments, exemplar=small, **options)


def test_a_transfer_goes_on_to_the_same_bits(engine: Engine, small: np.ndarray, other: np.ndarray, path: Path) -> None:
    options = {"content": small, "preserve_color": "luminance", "levels": 2, "iterations": 2}
    check_same(engine, path, [1, 3], exemplar=other, **options)


@pytest.mark.parametrize("spill", [False, True])
def test_tiles_and_a_matrix_in_a_file(
    spill: bool, other: np.ndarray, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(threads=1) as engine:
        engine.budget = cut_budget(engine, 32)
        plan = type(engine.budget).plan
        monkeypatch.setattr(
            type(engine.budget), "plan", lambda *of: Plan(plan(*of).demand, plan(*of).side, 24, spill=spill)
        )
        check_same(engine, path, [1, 3], exemplar=other, start="noise", levels=2, iterations=2)


def test_it_is_written_from_time_to_time(engine: Engine, small: np.ndarray, path: Path) -> None:
    """By default, not in the first minute."""
    there: list[bool] = []

    def callback(progress: pyengine.Progress) -> None:
        there.append(path.exists())

    options: dict[str, Any] = {"levels": 1, "iterations": 3, "callback": callback, "checkpoint": path}
    engine.synthesize(small, **options)
    assert not path.exists()
    engine.synthesize(small, checkpoint_every=0, **options)
    assert there[3:] == [False, True, True]


def test_a_stopped_run_is_kept_to_go_on_with(engine: Engine, small: np.ndarray, path: Path) -> None:
    options: dict[str, Any] = {"start": "noise", "levels": 2, "iterations": 3}
    stopped = engine.synthesize(small, callback=lambda p: p.stop(), checkpoint=path, **options)
    assert (stopped.stopped, len(stopped.history)) == (True, 1)
    states: list[pyengine.Iteration] = []
    found = engine.synthesize(small, checkpoint=path, callback=lambda p: states.append(p.state), **options)
    expected = engine.synthesize(small, **options)
    assert np.array_equal(found.image, expected.image)
    assert (found.history, states) == (expected.history, expected.history[1:])


def test_the_result_so_far_is_that_of_a_stopped_run(engine: Engine, small: np.ndarray) -> None:
    """At the full size, kept where a picture is kept."""
    options: dict[str, Any] = {"fill": HOLE, "levels": 2, "iterations": 2, "start": "noise"}
    results: list[pyengine.Result] = []
    engine.synthesize(small, callback=lambda p: results.append(p.result()), **options)
    assert len(results) == 4
    for found in results:

        def callback(progress: pyengine.Progress, until: pyengine.Iteration = found.history[-1]) -> None:
            if progress.state == until:
                progress.stop()

        expected = engine.synthesize(small, callback=callback, **options)
        assert np.array_equal(found.image, expected.image)
        assert (found.history, found.stopped, expected.stopped) == (expected.history, True, True)


# ------------------------------------------------------------- what is refused


@pytest.fixture
def kept(engine: Engine, small: np.ndarray, path: Path) -> dict[str, Any]:
    """The options of a run that is kept in `path`."""
    options: dict[str, Any] = {"exemplar": small, "start": "noise", "levels": 1, "iterations": 3}
    engine.synthesize(**options, callback=lambda p: p.stop(), checkpoint=path)
    return options


def refused(engine: Engine, path: Path, **options: Any) -> str:
    """What is said before the work; the file stays as it is."""
    before = path.read_bytes()
    with pytest.raises(PyengineError) as error:
        engine.synthesize(**options, callback=pytest.fail, checkpoint=path, checkpoint_every=0)
    assert path.read_bytes() == before
    return str(error.value)


def test_a_checkpoint_of_another_run(engine: Engine, kept: dict[str, Any], path: Path) -> None:
    for changed, expected in (
        ({"seed": 4}, "seed=0, this one has 4"),
        ({"iterations": 4}, "iterations=3, this one has 4"),
        ({"weights": {"gram": 2}}, "weights=None, this one has {'gram': 2}"),
        ({"exemplar": kept["exemplar"] * np.float32(0.99)}, "pictures of sha256='"),
    ):
        text = refused(engine, path, **{**kept, **changed})
        assert text.startswith(f"checkpoint {path}: of a run with {expected}")
        assert text.endswith(": give the same, or name another file")
    with Engine(threads=1, memory_limit=10**9) as other:  # enough for the same plan
        assert len(other.synthesize(**kept, checkpoint=path).history) == 3
        other.budget = cut_budget(other, 32)
        text = refused(other, path, **kept)
        assert f": of a run in other tiles: give memory_limit={engine.budget.limit}, or " in text


def test_a_picture_is_known_by_its_contents(engine: Engine, tmp_path: Path, path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for name, changed in (("a.png", 0), ("b.png", 0), ("c.png", 1)):
        Image.fromarray(pixels ^ changed).save(tmp_path / name)
    options: dict[str, Any] = {"levels": 1, "iterations": 2}
    engine.synthesize(tmp_path / "a.png", **options, callback=lambda p: p.stop(), checkpoint=path)
    assert "of a run with exemplar='" in refused(engine, path, exemplar=tmp_path / "c.png", **options)
    assert len(engine.synthesize(tmp_path / "b.png", **options, checkpoint=path).history) == 2


def test_what_is_no_checkpoint(engine: Engine, kept: dict[str, Any], path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    for content in (b"", b"precious", whole[:-1], whole[: header // 2], whole + b"\0", b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        assert "not a checkpoint that this version can read: name another file" in refused(engine, path, **kept)
    other = tmp_path / "picture.png"
    Image.new("RGB", (20, 20)).save(other)
    assert "not a checkpoint" in refused(engine, other, **kept)
    with pytest.raises(PyengineError, match="is a folder"):
        engine.synthesize(**kept, checkpoint=tmp_path)
    with pytest.raises(PyengineError, match="does not exist: create it"):
        engine.synthesize(**kept, checkpoint=tmp_path / "none" / "run")


def rewritten(content: bytes, change: Callable[[dict[str, Any]], None], arrays: dict[str, Any] | None = None) -> bytes:
    """The file with another header, or other numbers in its arrays."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    state = json.loads(header["__metadata__"]["state"])
    change(state)
    header["__metadata__"]["state"] = json.dumps(state)
    for name, value in (arrays or {}).items():
        begin = header[name]["data_offsets"][0]
        data[begin : begin + 4] = struct.pack("<f", value)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "changed",
    [
        {"level": 1},
        {"level": -1},
        {"level": True},
        {"level": "0"},
        {"stretch": 2},
        {"done": 4},
        {"pairs": 11},
        {"pairs": 10**9},
        {"pairs": 2},
        {"slot": 11},
        {"side": 2},
        {"names": []},
        {"names": [["gram"]]},
        {"names": [[1] * 6]},
        {"names": [[[]] * 6]},
        {"names": {"a": 1}},
        {"generator": {}},
        {"generator": {"bit_generator": "MT19937"}},
        {"generator": None},
    ],
    ids=str,
)
def test_a_state_that_no_run_leaves(changed: dict[str, Any], engine: Engine, kept: dict[str, Any], path: Path) -> None:
    path.write_bytes(rewritten(path.read_bytes(), lambda state: state.update(changed)))
    text = refused(engine, path, **kept)
    assert text.startswith(f"checkpoint {path}: damaged (")
    assert text.endswith("): remove it, to begin again")
    assert "\n" not in text


def test_numbers_that_no_run_leaves(engine: Engine, kept: dict[str, Any], path: Path) -> None:
    whole = path.read_bytes()
    with safe_open(path, framework="numpy") as file:
        names = json.loads(file.metadata()["state"])["names"]
        assert set(file.keys()) == {"history/0", "optimizer"}
    for value in (np.nan, np.inf):
        path.write_bytes(rewritten(whole, lambda state: None, {"optimizer": value}))
        assert "damaged (values that are not finite)" in refused(engine, path, **kept)
    path.write_bytes(rewritten(whole, lambda state: state.update(names=[names[0][::-1]])))
    assert "damaged (terms that the level does not have)" in refused(engine, path, **kept)


def test_what_was_used_of_an_exemplar(engine: Engine, small: np.ndarray, path: Path) -> None:
    options: dict[str, Any] = {"exemplar": small, "levels": 1, "iterations": 3}
    engine.synthesize(**options, callback=lambda p: p.stop(), checkpoint=path)
    whole = path.read_bytes()
    for value in (-1, np.nan):
        path.write_bytes(rewritten(whole, lambda state: None, {"used/0": value}))
        assert "damaged (what counts less than nothing)" in refused(engine, path, **options)
    path.write_bytes(whole.replace(b'"used/0"', b'"user/0"'))
    assert "damaged (" in refused(engine, path, **options)


@pytest.mark.parametrize("every", [-1, np.nan, np.inf, "often", True])
def test_intervals(every: Any, engine: Engine, small: np.ndarray, path: Path) -> None:
    with pytest.raises(PyengineError, match=r"checkpoint_every=.*: give a number of seconds, 0 or more"):
        engine.synthesize(small, checkpoint=path, checkpoint_every=every)
    with pytest.raises(PyengineError, match=r"checkpoint_every without checkpoint: give the file"):
        engine.synthesize(small, checkpoint_every=1)
    with pytest.raises(PyengineError, match=r"checkpoint=5: give a file's path"):
        engine.synthesize(small, checkpoint=5)


def test_a_full_disk_does_not_end_a_run(
    engine: Engine, kept: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    expected = engine.synthesize(**kept)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match=r"cannot be written \(No space left.*\): .*; the run goes on without"):
        found = engine.synthesize(**kept, checkpoint=path, checkpoint_every=0)
    assert np.array_equal(found.image, expected.image)
    assert path.read_bytes() == before
