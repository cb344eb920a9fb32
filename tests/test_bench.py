"""The benchmarks measure what they say they do."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import EXAMPLES, relative_error
from PIL import Image

from pyengine import Engine, PyengineError
from pyengine.bench import stability
from pyengine.bench.stability import DriftRun, convergence, drift
from pyengine.bench.weights import SCHEMES
from pyengine.cli import main
from pyengine.images import load, to_uint8
from pyengine.quality import Comparison, compare, patch_distance
from pyengine.result import Progress


def test_command():
    result = CliRunner().invoke(main, ["bench", "--size", "32", "--threads", "1", "--repeats", "2", "--json"])
    report = json.loads(result.stdout)
    assert set(report["seconds"]) == {"forward", "losses", "backward", "evaluation"}
    assert report["over_networks"] > 1
    text = CliRunner().invoke(main, ["bench", "--size", "32", "--threads", "1", "--repeats", "1"]).stdout
    assert "evaluation / (forward + backward)" in text


def test_against_torch_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(main, ["bench", "--size", "16", "--repeats", "1", "--against", "torch"])
    assert result.exit_code == 2
    assert "pip install torch" in result.stderr


def test_the_pytorch_version_computes_the_same(natural, rng):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from pyengine.bench.torch_baseline import evaluation

    image = rng.random((64, 64, 3), "float32")
    with Engine(threads=1) as engine:
        value, gradient = engine.objective(natural[:64, :64])(image)
        expected_value, expected_gradient = evaluation(natural[:64, :64], image, engine.weights, threads=1)()
    assert value == pytest.approx(expected_value, rel=1e-4)
    assert relative_error(gradient, expected_gradient) < 1e-3


def test_options_before_a_subcommand_are_not_dropped():
    for options in (["--size", "64"], ["--json"], ["--threads", "1"]):
        result = CliRunner().invoke(main, ["bench", *options, "drift", "missing.png"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "Error: options before 'drift' are not for it: put its own behind it\n"


# ------------------------------------------------------- drift and convergence


class StubEngine:
    """An engine whose pictures are known, and whose iterations take a second each by the clock of the tests."""

    calls: ClassVar[list[dict]] = []
    now = 0.0
    noise: tuple[float, ...] = (0.9, 0.6, 0.2, 0.1, 0.05)  # after each iteration of the finest level

    def __init__(self, threads=None):
        self.calls.append({"threads": threads})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.calls.append({"closed": True})

    def synthesize(self, exemplar, *, size, seed, method, iterations=None, callback=None):
        self.calls.append({"size": size, "seed": seed, "method": method, "iterations": iterations})
        height, width = exemplar.shape[:2] if size is None else (size, size)
        tiled = np.tile(exemplar, (-(-height // exemplar.shape[0]), -(-width // exemplar.shape[1]), 1))
        tiled = tiled[:height, :width]
        recipe = SimpleNamespace(sizes=((width // 2, height // 2), (width, height)), iterations=(3, len(self.noise)))
        history: list[SimpleNamespace] = []

        def iterate(level: int, pixels: np.ndarray) -> bool:
            StubEngine.now += 1
            history.append(SimpleNamespace(level=level))
            progress = Progress(history[-1], recipe, pixels)
            if callback is not None:
                callback(progress)
            return progress.stopped

        if method == "gatys":
            recipe.sizes = recipe.sizes[1:]
            image = noisy(tiled, 0.3) + np.float32(size / 2550 if size else 0)
            for _ in range(500 if iterations is None else iterations):
                iterate(0, image)
        else:
            for _ in range(3):
                assert not iterate(0, tiled[::2, ::2])  # the exemplar itself: near, but not at the finest level
            image = tiled
            for amount in self.noise:
                image = noisy(tiled, amount)
                if iterate(1, image):
                    break
        return SimpleNamespace(image=to_uint8(image), history=history, recipe=recipe)


def noisy(image: np.ndarray, amount: float) -> np.ndarray:
    return (1 - amount) * image + np.float32(amount) * np.random.default_rng(0).random(image.shape, np.float32)


@pytest.fixture(scope="module")
def gravel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 64x64 pixels."""
    path = tmp_path_factory.mktemp("exemplars") / "gravel.png"
    with Image.open(EXAMPLES / "gravel.png") as image:
        image.convert("RGB").crop((0, 0, 64, 64)).save(path)
    return path


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StubEngine]]:
    monkeypatch.setattr(stability, "Engine", StubEngine)
    monkeypatch.setattr(stability, "time", SimpleNamespace(perf_counter=lambda: StubEngine.now))
    monkeypatch.setattr(StubEngine, "calls", [])
    return StubEngine


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "Engine", lambda **_: pytest.fail("worked first"))


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def bench(*arguments: object):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def refused(arguments: list[object], expected: str) -> None:
    result = bench(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert (result.stderr.startswith("Error: "), result.stderr.count("\n")) == (True, 1)
    assert expected in result.stderr


def test_drift_measures_both_methods_at_every_size(stub, gravel):
    runs = list(drift(gravel, [32, 128], crop=48, iterations=7, seed=3, threads=2))
    assert [(run.size, run.method) for run in runs] == [
        (32, "gatys"), (32, "histogram"), (128, "gatys"), (128, "histogram")
    ]  # fmt: skip
    assert stub.calls[0] == {"threads": 2}
    assert stub.calls[-1] == {"closed": True}
    assert stub.calls[2:4] == [
        {"size": 32, "seed": 3, "method": "histogram", "iterations": 7},
        {"size": 128, "seed": 3, "method": "gatys", "iterations": 7},
    ]
    cropped = load(gravel)[:48, :48]
    expected = compare(cropped, to_uint8(noisy(np.tile(cropped, (3, 3, 1))[:128, :128], 0.3) + np.float32(128 / 2550)))
    assert runs[2] == DriftRun(
        "gatys", 128, expected.patch_distance, expected.brightness_drift, expected.contrast_drift, 7, 7.0
    )  # fmt: skip
    assert runs[2].brightness_drift > runs[3].brightness_drift
    assert (runs[3].iterations, runs[3].seconds) == (8, 8.0)


def test_drift_comes_as_it_is_found(stub, gravel):
    runs = drift(gravel, [32, 128])
    assert next(runs).size == 32
    assert [call["size"] for call in stub.calls if "size" in call] == [32]
    runs.close()
    assert stub.calls[-1] == {"closed": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sizes": [64, 8]}, "^size 8x8: "),
        ({"sizes": [64, 10**6]}, "^size 1000000x1000000: "),
        ({"crop": 15}, "^crop=15: give 16 to 64, as the exemplar is of 64x64 pixels$"),
        ({"crop": 65}, "^crop=65: "),
        ({"crop": True}, "^crop=True: "),
        ({"iterations": -1}, "^iterations="),
        ({"seed": -1}, "^seed=-1: "),
        ({"exemplar": np.zeros((40, 15), np.uint8)}, "^exemplar of 15x40 pixels: "),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_drift_checks_everything_first(gravel, options, expected):
    with pytest.raises(PyengineError, match=expected):
        list(drift(**{"exemplar": gravel, "sizes": [64], **options}))


def test_crop_of_an_oblong_exemplar(stub):
    with pytest.raises(PyengineError, match=r"^crop=33: give 16 to 32, as the exemplar is of 48x32 pixels$"):
        list(drift(np.zeros((32, 48, 3), np.uint8), [32], crop=33))
    assert len(list(drift(np.eye(48)[:32], [32], crop=32))) == 2


def test_drift_command(stub, gravel):
    result = bench("drift", gravel, "--sizes", "32,64", "--crop", 32)
    assert (result.exit_code, result.stderr) == (0, "")
    head, *lines = result.stdout.splitlines()
    assert " ".join(head.split()) == "method size patch distance brightness drift contrast drift seconds"
    assert [line.split()[:2] for line in lines] == [
        ["gatys", "32"], ["histogram", "32"], ["gatys", "64"], ["histogram", "64"]
    ]  # fmt: skip
    assert {len(line) for line in lines} == {len(head)}
    assert {call["seed"] for call in stub.calls if "seed" in call} == {0}
    assert {call["iterations"] for call in stub.calls if "seed" in call} == {None}


def test_drift_json(stub, gravel):
    result = bench("drift", gravel, "--sizes", "32", "--iterations", 4, "--seed", 5, "--threads", 1, "--json")
    report = json.loads(result.stdout)
    assert report["exemplar"] == str(gravel)
    assert [run["method"] for run in report["runs"]] == ["gatys", "histogram"]
    assert report["runs"][0]["iterations"] == 4
    assert set(report["runs"][0]) == {
        "method", "size", "patch_distance", "brightness_drift", "contrast_drift", "iterations", "seconds"
    }  # fmt: skip
    assert "numpy" in report["versions"]
    assert stub.calls[:2] == [{"threads": 1}, {"size": 32, "seed": 5, "method": "gatys", "iterations": 4}]


def test_drift_default_sizes(stub, gravel, monkeypatch):
    monkeypatch.setattr(stability, "compare", lambda *_: Comparison(0.1, 1.0, 1.0, 1.0))
    assert len(bench("drift", gravel, "--iterations", 1).stdout.splitlines()) == 7
    assert sorted({call["size"] for call in stub.calls if "size" in call}) == [128, 256, 512]


def test_drift_plot(stub, gravel, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = bench("drift", gravel, "--sizes", "64,32", "--crop", 32, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "plot.png") as image:
        assert (image.mode, image.size) == ("RGB", (1080, 432))
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_plot_shows_every_run():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    runs = [DriftRun(method, size, 0.1, size / 64, 1.0, 5, 1.0) for size in (64, 128) for method in stability.METHODS]
    page = stability.plot(runs)
    assert (page.dtype, page.shape[2]) == (np.uint8, 3)
    assert page.flags.writeable
    assert not np.array_equal(page, stability.plot(runs[:2]))
    np.testing.assert_array_equal(page, stability.plot(runs[::-1]))


@pytest.mark.usefixtures("no_work", "without_matplotlib")
def test_plot_says_what_is_missing(gravel, tmp_path):
    expected = "--plot: matplotlib is not installed: pip install 'pyengine[plot]'"
    refused(["drift", gravel, "--plot", tmp_path / "plot.png"], expected)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PyengineError, match="pip install 'pyengine"):
        stability.plot([])


@pytest.mark.usefixtures("without_matplotlib")
def test_drift_needs_no_matplotlib_without_a_plot(stub, gravel):
    assert bench("drift", gravel, "--sizes", "32", "--crop", 32).exit_code == 0


@pytest.mark.usefixtures("no_work")
def test_drift_refuses_bad_options_first(tmp_path):
    exemplar = tmp_path / "exemplar.png"
    Image.new("RGB", (32, 32)).save(exemplar)
    content = exemplar.read_bytes()
    refused(["drift", exemplar, "--sizes", "64,"], "'64,': give pixels on a side")
    refused(["drift", exemplar, "--sizes", "64x64"], "'64x64'")
    refused(["drift", exemplar, "--sizes", "8"], "size 8x8")
    refused(["drift", exemplar, "--crop", "64"], "crop=64")
    refused(["drift", tmp_path / "missing.png"], "no such file")
    refused(["drift", exemplar, "--plot", tmp_path / "missing" / "plot.png"], "does not exist")
    refused(["drift", exemplar, "--plot", tmp_path / "plot.gif"], "cannot write this format")
    refused(["drift", exemplar, "--plot", exemplar], "is one of the images to read: write to another file")
    assert exemplar.read_bytes() == content


def test_convergence_counts_to_the_quality_of_the_baseline(stub, gravel, monkeypatch):
    exemplar = load(gravel)

    def slow(*images: np.ndarray) -> float:
        stub.now += 100  # measuring is not synthesising
        return patch_distance(*images)

    monkeypatch.setattr(stability, "patch_distance", slow)
    (found,) = convergence([exemplar], seed=3, threads=2)
    assert stub.calls == [
        {"threads": 2},
        {"size": None, "seed": 3, "method": "gatys", "iterations": 500},
        {"size": None, "seed": 3, "method": "histogram", "iterations": None},
        {"closed": True},
    ]
    assert found.size == (64, 64)
    assert found.baseline_distance == patch_distance(exemplar, load(to_uint8(noisy(exemplar, 0.3))))
    assert found.best_distance == patch_distance(exemplar, load(to_uint8(noisy(exemplar, 0.2))))
    assert (found.baseline_iterations, found.baseline_seconds) == (500, 500)
    assert found.reached
    assert (found.iterations, found.finest_iterations, found.seconds) == (6, 3, 6)
    assert found.full_size_iterations == 3 / 4 + 3
    assert (found.iterations_ratio, found.seconds_ratio) == (500 / 6, 500 / 6)
    assert found.full_size_ratio == 500 / 3.75


def test_convergence_that_is_not_reached(stub, gravel, monkeypatch):
    monkeypatch.setattr(StubEngine, "noise", (0.8, 0.4, 0.5))
    exemplar = load(gravel)
    (found,) = convergence([exemplar])
    assert not found.reached
    assert found.best_distance == patch_distance(exemplar, load(to_uint8(noisy(exemplar, 0.4))))
    assert found.best_distance > found.baseline_distance
    assert (found.seconds, found.baseline_seconds) == (6, 500)
    nothing = (found.iterations, found.finest_iterations, found.full_size_iterations)
    assert nothing == (found.iterations_ratio, found.full_size_ratio, found.seconds_ratio) == (None, None, None)


def test_convergence_where_there_is_nothing_to_do(stub, gravel, monkeypatch):
    monkeypatch.setattr(StubEngine, "noise", ())
    monkeypatch.setattr(StubEngine, "synthesize", without_iterations(StubEngine.synthesize))
    result = bench("convergence", gravel)
    assert result.exit_code == 0, result.output
    assert "default: 0.000 after 0 iterations" in result.stdout
    assert "baseline / default" not in result.stdout


def without_iterations(synthesize: Callable) -> Callable:
    def synthesized(*arguments, callback=None, **options):
        result = synthesize(*arguments, **options)
        result.history.clear()
        return result

    return synthesized


def test_convergence_of_several_exemplars(stub, gravel, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(to_uint8(load(gravel)[:40, :48])).save(other)
    result = bench("convergence", gravel, other, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    first, second = report["exemplars"]
    assert (first["exemplar"], first["size"]) == (str(gravel), [64, 64])
    assert (second["exemplar"], second["size"]) == (str(other), [48, 40])
    assert second["full_size_iterations"] == 3.75
    assert "numpy" in report["versions"]
    assert stub.calls[-1] == {"closed": True}


def test_convergence_text(stub, gravel, monkeypatch):
    result = bench("convergence", gravel, "--size", 64, "--seed", 4, "--threads", 1)
    title, baseline, ours, ratios = result.stdout.splitlines()
    assert title == f"{gravel}, 64x64 pixels:"
    assert baseline.startswith("  baseline: patch distance 0.")
    assert baseline.endswith(" after 500 iterations, 500.0 s")
    assert ours.endswith("after 6 iterations, 3 of them at the finest level, or 3.8 of the full size; 6.0 s")
    assert ratios == "  baseline / default: iterations 83.3, of the full size 133.3, seconds 83.3"
    assert stub.calls[:2] == [{"threads": 1}, {"size": 64, "seed": 4, "method": "gatys", "iterations": 500}]
    monkeypatch.setattr(StubEngine, "noise", (0.8,))
    last = bench("convergence", gravel).stdout.splitlines()[-1]
    assert last.startswith("  default: never that near; 0.")
    assert json.loads(bench("convergence", gravel, "--json").stdout)["exemplars"][0]["iterations"] is None


@pytest.mark.usefixtures("no_work")
def test_convergence_refuses_bad_options_first(gravel, tmp_path: Path):
    small = tmp_path / "small.png"
    Image.new("RGB", (15, 40)).save(small)
    refused(["convergence", gravel, tmp_path / "missing.png"], "missing.png: no such file")
    refused(["convergence", gravel, small], "15x40")
    refused(["convergence", gravel, "--size", "8"], "size 8x8")
    refused(["convergence", gravel, "--seed", "-1"], "seed=-1")
    refused(["convergence"], "Missing argument 'EXEMPLAR...'")


def test_real_drift_and_convergence(natural):
    gatys, ours = drift(natural[:48, :48], [32], iterations=2, threads=1)
    assert (gatys.iterations, ours.iterations) == (2, 2)
    assert gatys.patch_distance != ours.patch_distance
    (found,) = convergence([natural[:32, :32]], threads=1, baseline_iterations=2)
    assert (found.size, found.baseline_iterations, found.reached) == ((32, 32), 2, True)
    assert found.best_distance <= found.baseline_distance
    assert found.iterations == found.finest_iterations == found.full_size_iterations  # one level
    assert found.seconds > 0


def test_weights_are_compared_by_figures(natural, tmp_path):
    path = tmp_path / "exemplar.png"
    Image.fromarray((255 * natural[:32, :32]).astype(np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyengine.recipe.default_iterations", lambda levels: (1,) * levels)
        result = CliRunner().invoke(main, ["bench", "weights", str(path), "--content", str(path), "--json"])
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [run["scheme"] for run in runs] == list(SCHEMES)
    assert all(abs(run["layout_similarity"]) < 1.001 and run["patch_distance"] >= 0 for run in runs)
