"""The benchmarks measure what they say they do."""

import copy
import json
import mmap
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import emulation
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import EXAMPLES, relative_error
from PIL import Image

from pyengine import Engine, PyengineError
from pyengine.bench import cold, gpu, memory, stability, suite
from pyengine.bench import optimizers as optimizer_bench
from pyengine.bench.memory import Footprint
from pyengine.bench.report import lines
from pyengine.bench.stability import DriftRun, convergence, drift
from pyengine.bench.weights import SCHEMES
from pyengine.cli import main
from pyengine.devices import Device
from pyengine.images.reading import load
from pyengine.images.writing import save, to_uint8
from pyengine.kernels.cpu import CpuKernels
from pyengine.maps import PICTURE
from pyengine.network.sessions import Provider
from pyengine.network.vgg import vgg
from pyengine.objective import Objective
from pyengine.optimizers.lbfgs import PAIRS, minimize
from pyengine.quality import distributions
from pyengine.quality.distributions import patch_distance
from pyengine.recipe import Recipe
from pyengine.result import Progress

KERNELS = CpuKernels(threads=1)

STAGES = [
    "forward", "losses", "histogram/relu1_1", "histogram/relu4_1", "gram/relu1_1", "gram/relu2_1", "gram/relu3_1",
    "gram/relu4_1", "backward", "evaluation", "optimizer", "first evaluation",
]  # fmt: skip


def bench(*arguments: object):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def refused(arguments: list[object], expected: str) -> None:
    result = bench(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert (result.stderr.startswith("Error: "), result.stderr.count("\n")) == (True, 1)
    assert expected in result.stderr


# ------------------------------------------------------------------- the suite


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A real one, as printed; the file says the same."""
    file = tmp_path_factory.mktemp("reports") / "report.json"
    file.write_text("an older one")
    result = bench("--sizes", "48,32,48", "--threads", 1, "--repeats", 1, "--json", "-o", file)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert file.read_text() == result.stdout
    assert list(file.parent.iterdir()) == [file]
    return json.loads(result.stdout)


@pytest.fixture
def measured(report, monkeypatch) -> dict:
    """What the command finds to have been measured: a copy of the real report, to change."""
    found = copy.deepcopy(report)
    monkeypatch.setattr(suite, "measure", lambda *_: {k: v for k, v in found.items() if k != "versions"})
    return found


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def no_ceilings(monkeypatch) -> None:
    """An evaluation is all that is measured."""
    monkeypatch.setattr(suite, "gemm", lambda threads: lambda: 100.0)
    monkeypatch.setattr(suite, "copy_gb_per_second", lambda threads: 10.0)
    monkeypatch.setattr(suite, "import_seconds", lambda: 0.5)
    monkeypatch.setattr(suite, "first_evaluation", lambda size, threads: (2.5, 300.0))


def test_report(report):
    assert [row["size"] for row in report["sizes"]] == [32, 48]
    assert (report["threads"], report["repeats"], report["versions"]["numpy"]) == (1, 1, np.__version__)
    assert report["cpu"]
    assert report["cores"] >= 1
    assert 0 < report["import_s"] < min(row["seconds"]["first evaluation"] for row in report["sizes"])
    for row in report["sizes"]:
        seconds = row["seconds"]
        assert list(seconds) == STAGES
        assert min(seconds.values()) > 0
        assert sum(seconds[stage] for stage in STAGES if "/" in stage) <= seconds["losses"]
        networks = seconds["forward"] + seconds["backward"]
        assert networks + seconds["losses"] <= seconds["evaluation"] < seconds["first evaluation"]
        assert row["over_networks"] == pytest.approx(seconds["evaluation"] / networks)
        assert row["gflops"] == pytest.approx(row["gflop"] / networks)
        assert row["share_of_gemm"] == pytest.approx(row["gflops"] / row["gemm_gflops"])
        floor = row["gflop"] / row["gemm_gflops"]
        assert row["over_floor"] == pytest.approx(seconds["evaluation"] / floor)
        assert row["peak_mb"] > row["network_mb"] > 0
        assert row["page_faults"] >= 0
        assert "torch_over_ours" not in row


def test_table(measured):
    measured["sizes"][1]["seconds"]["gram/relu2_1"] = 1.2345
    measured |= {"cpu": "Slide rule", "copy_gb_per_s": 3.44, "import_s": 0.0056}
    result = bench()
    assert result.exit_code == 0, result.output
    machine, _, once, sizes, *rows = result.stdout.splitlines()
    assert machine.startswith("Slide rule, ")
    assert once == "copy 3.4 GB/s, import pyengine 5.6 ms"
    assert sizes.split() == ["pixels", "on", "a", "side", "32", "48"]
    assert [row.strip().partition(", ms")[0] for row in rows[: len(STAGES)]] == STAGES
    assert next(row for row in rows if "gram/relu2_1" in row).endswith(" 1234.5")
    assert {len(row) for row in rows} == {len(sizes)}
    assert any(row.startswith("share of that ") and row.endswith("%") for row in rows)
    assert not any("PyTorch" in row for row in rows)


def test_table_where_the_system_keeps_to_itself(measured):
    measured["memory_gb"] = measured["sizes"][0]["peak_mb"] = measured["sizes"][1]["peak_mb"] = None
    result = bench()
    assert result.exit_code == 0, result.output
    assert "peak" not in result.stdout


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_arithmetic_of_the_convolutions(engine, size):
    expected, (h, w) = 0, size
    for layer in vgg("vgg16").layers:
        if layer.name in ("relu2_1", "relu3_1", "relu4_1"):
            h, w = -(-h // 2), -(-w // 2)
        expected += 2 * 2 * 9 * layer.channels * layer.inputs * h * w  # additions and multiplications, there and back
        if layer.name == "relu4_1":
            break
    assert suite.convolution_gflop(engine.model, size, ("relu1_1", "relu4_1")) == pytest.approx(expected / 1e9)


def test_the_optimisers_own_time(monkeypatch):
    """By a clock that ticks when it is read, an iteration takes two ticks more than what is its own."""
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1
        return now

    def minimize(function, start, iterations, kernels, callback):
        nonlocal now
        for k in range(iterations):
            now += 1000 if k < PAIRS else 10 * k  # while the pairs are filled, it is another time
            for _ in range(k):
                function(start)
            callback(start, [])

    monkeypatch.setattr(suite, "time", SimpleNamespace(perf_counter=tick))
    monkeypatch.setattr(suite, "minimize", minimize)
    iterations = [10 * k + k + 1 for k in range(PAIRS, PAIRS + 3)]  # an evaluation's second tick is not its own
    assert suite.optimizer_seconds(16, 3, KERNELS) == iterations[1]


def test_the_sum_of_squares_fills_the_pairs(monkeypatch):
    seen = []

    def watched(function, start, iterations, kernels, callback):
        minimize(function, start, iterations, kernels, lambda *given: (seen.append(given), callback(*given)))

    monkeypatch.setattr(suite, "minimize", watched)
    suite.optimizer_seconds(32, 4, KERNELS)
    assert len(seen) == PAIRS + 4


def test_terms_are_timed_by_name(engine, rng):
    image = rng.random((24, 24, 3), np.float32)
    objective = engine.objective(image, weights={"variation": 1})
    objective(image)
    names = {loss.name for loss in objective.losses} | {"variation"}
    assert set(objective.term_stopwatch.seconds) == names
    assert set(objective.stopwatch.seconds) == {"forward", "losses", "backward"}
    assert sum(objective.term_stopwatch.seconds.values()) <= objective.stopwatch.seconds["losses"]


def test_page_faults_are_of_fresh_memory():
    pytest.importorskip("resource")
    before = suite.page_faults()
    fresh = mmap.mmap(-1, 64 * mmap.PAGESIZE)
    for page in range(64):
        fresh[page * mmap.PAGESIZE] = 1
    assert suite.page_faults() - before >= 64


def test_cold_processes_run_this_pyengine(tmp_path, monkeypatch):
    (tmp_path / "pyengine").mkdir()
    (tmp_path / "pyengine" / "__init__.py").write_text("raise SystemExit('another pyengine')")
    monkeypatch.chdir(tmp_path)
    assert cold.import_seconds() > 0
    held = np.ones(2**27, np.float32)  # half a gigabyte, which is not the other process's
    _, megabytes = cold.first_evaluation(16, 1)
    assert 50 < megabytes < held.nbytes / 1e6


def test_memory_of_a_synthesis(tmp_path):
    """In a process of its own, and an error of that is ours."""
    exemplar = tmp_path / "noise.png"
    Image.effect_noise((32, 32), 80).save(exemplar)
    held = np.ones(2**27, np.float32)
    (run,) = memory.footprints(exemplar, [48], threads=1)
    assert (run.size, run.tile, run.spilled) == (48, None, False)
    assert 50 < run.megabytes < held.nbytes / 1e6
    assert run.seconds > 0
    with pytest.raises(PyengineError, match=r"0\.0 GB"):
        list(memory.footprints(exemplar, [48], memory_limit=1000, threads=1))
    with pytest.raises(PyengineError, match=r"^size 8x8: "):
        next(memory.footprints(exemplar, [48, 8]))


def test_memory_command(monkeypatch, gravel, tmp_path):
    runs = [Footprint(512, 1234.5, None, False, 7.0), Footprint(4096, None, 480, True, 150.0)]
    asked = []
    monkeypatch.setattr(memory, "footprints", lambda *given, **options: asked.append((given, options)) or iter(runs))
    arguments = ["memory", gravel, "--sizes", "512,4096", "--memory-limit", "3GB"]
    result = bench(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert asked == [((gravel, [512, 4096]), {"memory_limit": 3 * 10**9})]
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["512", "1234", "whole", "in", "memory", "7.0"],
        ["4096", "unknown", "480", "in", "a", "file", "150.0"],
    ]
    assert json.loads(bench(*arguments, "--json").stdout)["runs"] == [asdict(run) for run in runs]
    pytest.importorskip("matplotlib")
    picture = tmp_path / "memory.png"
    assert bench(*arguments, "--plot", picture).exit_code == 0
    assert load(picture).shape[2] == 3


@pytest.mark.usefixtures("no_ceilings")
def test_against_alternates(monkeypatch):
    calls = []

    def baseline(exemplar, image, weights, threads):
        calls.append((exemplar.shape, image.shape, threads))
        return lambda: calls.append("theirs")

    evaluate = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", lambda *arguments: calls.append("ours") or evaluate(*arguments))
    monkeypatch.setattr(suite, "load_torch_baseline", lambda: SimpleNamespace(evaluation=baseline))
    (row,) = suite.measure([16], 1, 3, "torch")["sizes"]
    assert calls == ["ours", ((16, 16, 3), (16, 16, 3), 1), "theirs", *["ours", "theirs"] * 3]
    assert row["seconds"]["torch"] > 0
    assert row["torch_over_ours"] > 0
    report = {**suite.measure([16], 1, 1, "torch"), "versions": {}}
    assert "PyTorch / evaluation" in "\n".join(lines(report))


@pytest.mark.usefixtures("no_ceilings")
def test_ratios_are_medians_of_ratios(monkeypatch):
    """Three runs after the first; the ratios of the medians would be other numbers."""
    now, ours, theirs, networks = 0.0, iter([9, 1, 2, 6]), iter([9, 8, 5, 6]), iter([9, 2, 1, 3])

    def evaluate(objective, _):
        nonlocal now
        now += next(ours)
        objective.stopwatch.seconds.update(forward=next(networks) - 0.5, losses=0.0, backward=0.5)

    def other():
        nonlocal now
        now += next(theirs)

    monkeypatch.setattr(Objective, "__call__", evaluate)
    monkeypatch.setattr(suite, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(suite, "optimizer_seconds", lambda size, repeats, kernels: 7.0)
    monkeypatch.setattr(suite, "load_torch_baseline", lambda: SimpleNamespace(evaluation=lambda *_: other))
    monkeypatch.setattr(suite, "gemm", lambda threads: iter([100.0, 300.0, 200.0]).__next__)
    (row,) = suite.measure([16], 1, 3, "torch")["sizes"]
    assert (row["seconds"]["evaluation"], row["seconds"]["torch"], row["seconds"]["optimizer"]) == (2, 6, 7)
    assert (row["seconds"]["first evaluation"], row["peak_mb"]) == (2.5, 300)
    assert (row["over_networks"], row["torch_over_ours"]) == (2, 2.5)
    assert row["over_floor"] == pytest.approx(600 / row["gflop"])  # of 100, 600 and 1200
    assert row["share_of_gemm"] == pytest.approx(row["gflop"] / 300)  # of 1/200, 1/300 and 1/600
    assert row["gemm_gflops"] == 200


def test_against_torch_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(suite, "Engine", lambda **_: pytest.fail("worked first"))
    refused(["--against", "torch"], "pip install torch")


def test_the_pytorch_version_computes_the_same(natural, rng):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from pyengine.bench.torch_baseline import evaluation

    image = rng.random((64, 64, 3), "float32")
    with Engine(threads=1) as engine:
        value, gradient = engine.objective(natural[:64, :64])(image)
        expected_value, expected_gradient = evaluation(natural[:64, :64], image, engine.model, threads=1)()
    assert value == pytest.approx(expected_value, rel=1e-4)
    assert relative_error(gradient.transpose(2, 0, 1), expected_gradient.numpy()) < 1e-3


def test_a_texture_by_pytorch(natural):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from pyengine.bench.torch_baseline import texture

    exemplar = natural[:32, :48]
    with Engine(threads=1) as engine:
        recipe = Recipe.create(exemplar, method="gatys", iterations=40)
        image, done = texture(recipe, engine.model, 1)
    assert (image.shape, done) == ((32, 48, 3), 40)
    assert patch_distance(exemplar, image) < patch_distance(
        exemplar, np.random.default_rng(0).random((32, 48, 3), "f4")
    )


def test_convergence_against_pytorch(monkeypatch, natural):
    given = {}

    def texture(recipe, model, threads):
        given.update(size=recipe.sizes[-1], iterations=recipe.iterations, seed=recipe.seed)
        return np.random.default_rng(0).random((24, 32, 3), np.float32), 7

    monkeypatch.setattr(stability, "load_torch_baseline", lambda: SimpleNamespace(texture=texture))
    exemplar = np.ascontiguousarray(natural[:24, :32])
    (found,) = convergence([exemplar], seed=3, threads=1, baseline_iterations=9, against="torch")
    assert given == {"size": (32, 24), "iterations": (9,), "seed": 3}
    assert (found.baseline_iterations, found.reached) == (7, True)  # noise is as good as soon as it begins
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "pyengine.bench.torch_baseline", raising=False)
    refused(["convergence", str(EXAMPLES / "gravel.png"), "--against", "torch"], "pip install torch")


def test_options_before_a_subcommand_are_not_dropped():
    for options in (["--sizes", "64"], ["--json"], ["--threads", "1"], ["--compare", "old.json"]):
        result = CliRunner().invoke(main, ["bench", *options, "drift", "missing.png"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "Error: options before 'drift' are not for it: put its own behind it\n"


# ------------------------------------------------- reports, old and new


def test_compare(measured, report, tmp_path):
    """Everything takes twice as long as it did, and the machine is half as fast."""
    old = copy.deepcopy(report)
    old["threads"] = 3
    old["import_s"] /= 2
    old["copy_gb_per_s"] *= 2
    for row in old["sizes"]:
        row["seconds"] = {stage: seconds / 2 for stage, seconds in row["seconds"].items()}
        row["gemm_gflops"] *= 2
    old["sizes"][0]["size"] = 64  # 32 is in the new one only
    del old["sizes"][1]["seconds"]["losses"]
    measured["sizes"][1]["seconds"]["torch"] = 1.0
    file = tmp_path / "old.json"
    file.write_text(json.dumps(old))
    found = json.loads(bench("--compare", file, "--json").stdout)
    both = [f"48/{stage}" for stage in [*STAGES, "GEMM"] if stage != "losses"]
    assert found["ratios"] == pytest.approx(dict.fromkeys(["import", "copy", *both], 2))
    assert found["differences"] == ["threads 1, was 3", "sizes 32,48, was 64,48"]
    text = bench("--compare", file).stdout.partition("\n\n")[2].splitlines()
    assert text[:3] == [f"{file}:", "new / old: import 2.00, copy 2.00", "differs: threads 1, was 3"]
    assert text[4].split() == ["pixels", "on", "a", "side", "48"]
    assert [line.split()[-1] for line in text[5:]] == ["2.00"] * len(both)
    assert bench("--compare", file, "-o", file).exit_code == 0
    again = json.loads(bench("--compare", file, "--json").stdout)
    assert set(again["ratios"].values()) == {1}
    assert again["differences"] == []


def test_compare_with_nothing_in_common(measured, report, tmp_path):
    file = tmp_path / "old.json"
    file.write_text(json.dumps({**report, "sizes": []}))
    result = bench("--compare", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("\nnew / old: import 1.00, copy 1.00\ndiffers: sizes 32,48, was \n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda report: [report], "is not a JSON object"),
        (lambda report: {"size": 512, "seconds": {"forward": 1.0}}, "has no 'cpu'"),
        (lambda report: {k: v for k, v in report.items() if k != "sizes"}, "has no 'sizes'"),
        (lambda report: report | {"versions": []}, "'versions' is not a JSON object"),
        (lambda report: report | {"sizes": {"32": {}}}, "'sizes' is not a list"),
        (lambda report: report | {"sizes": [{"size": 32}]}, "'sizes' holds something without 'size' and 'seconds'"),
        (lambda report: report | {"sizes": [32]}, "'sizes' holds something without 'size' and 'seconds'"),
        (lambda report: report | {"import_s": 0}, "'import_s' is not a positive number"),
        (lambda report: report | {"copy_gb_per_s": "fast"}, "'copy_gb_per_s' is not a positive number"),
        (lambda report: report | {"import_s": 10**400}, "'import_s' is not a positive number"),
        (
            lambda report: report | {"sizes": [{"size": 32, "seconds": {"forward": float("nan")}}]},
            "'32/forward' is not a positive number",
        ),
        (lambda report: report | {"sizes": [{"size": 32, "seconds": {}}]}, "'32/gemm_gflops' is not a positive number"),
    ],
)
def test_compare_names_what_is_wrong(change, expected, report, tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("worked first"))
    file = tmp_path / "old.json"
    file.write_text(json.dumps(change(copy.deepcopy(report))))
    refused(["--compare", file], f"{file}: {expected}: give a file that `pyengine bench --output` wrote\n")


def test_compare_with_no_report_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("worked first"))
    refused(["--compare", tmp_path / "old.json"], "old.json: cannot be read (No such file or directory): give a file")
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "old.json").write_bytes(content)
        refused(["--compare", tmp_path / "old.json"], "old.json: is not JSON: give a file")


def test_suite_plot(measured, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pages = []
    for slower in (1, 3):
        measured["sizes"][0]["seconds"]["backward"] *= slower
        assert bench("--plot", tmp_path / "plot.png").exit_code == 0
        pages.append(load(tmp_path / "plot.png"))
    assert pages[0].shape == pages[1].shape == (480, 840, 3)
    assert not np.array_equal(*pages)
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_suite_refuses_bad_options_first(tmp_path, monkeypatch):
    for work in ("import_seconds", "gemm", "copy_gb_per_second", "first_evaluation"):
        monkeypatch.setattr(suite, work, lambda *_: pytest.fail("worked first"))
    refused(["--sizes", "64,"], "'64,': give pixels on a side")
    refused(["--sizes", "64,15"], "size 15x15: both sides must be at least 16")
    refused(["--sizes", "64,1000000"], "1000000x1000000 pixels needs about")
    refused(["--threads", "0"], "threads=0: ")
    refused(["--repeats", "0"], "--repeats")
    refused(["-o", tmp_path / "report.txt"], "report.txt: end the name in .json")
    refused(["-o", tmp_path / "missing" / "report.json"], "does not exist")
    refused(["--plot", tmp_path / "plot.gif"], "cannot write this format")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_matplotlib")
def test_suite_plot_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "measure", lambda *_: pytest.fail("worked first"))
    refused(["--plot", tmp_path / "plot.png"], "pip install 'pyengine[plot]'")


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

    def run(self, recipe, callback=None):
        given = {name: recipe.arguments.get(name) for name in ("size", "seed", "method", "iterations")}
        self.calls.append(given)
        size, method, iterations = (given[name] for name in ("size", "method", "iterations"))
        exemplar = recipe.level.exemplars[0].image
        height, width = exemplar.shape[:2] if size is None else (size, size)
        tiled = np.tile(exemplar, (-(-height // exemplar.shape[0]), -(-width // exemplar.shape[1]), 1))
        tiled = tiled[:height, :width]
        sizes = ((width // 2, height // 2), (width, height))
        level = SimpleNamespace(maps=PICTURE)
        recipe = SimpleNamespace(sizes=sizes, iterations=(3, len(self.noise)), level=level)
        history: list[SimpleNamespace] = []

        def iterate(level: int, pixels: np.ndarray) -> bool:
            StubEngine.now += 1
            history.append(SimpleNamespace(level=level))
            progress = Progress(history[-1], recipe, pixels, finish=pytest.fail)
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
    image = load(to_uint8(noisy(np.tile(cropped, (3, 3, 1))[:128, :128], 0.3) + np.float32(128 / 2550)))
    wandered = distributions.drift(cropped, image)
    assert runs[2] == DriftRun("gatys", 128, patch_distance(cropped, image), *wandered, 7, 7.0)
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
    monkeypatch.setattr(stability, "patch_distance", lambda *_: 0.1)
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
    monkeypatch.setattr(StubEngine, "run", without_iterations(StubEngine.run))
    result = bench("convergence", gravel)
    assert result.exit_code == 0, result.output
    assert "default: 0.000 after 0 iterations" in result.stdout
    assert "baseline / default" not in result.stdout


def without_iterations(run: Callable) -> Callable:
    def ran(engine, recipe, callback=None):
        result = run(engine, recipe)
        result.history.clear()
        return result

    return ran


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
        patch.setattr("pyengine.recipe.default_iterations", lambda levels, start: (1,) * levels)
        result = CliRunner().invoke(main, ["bench", "weights", str(path), "--content", str(path), "--json"])
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [run["scheme"] for run in runs] == list(SCHEMES)
    assert all(abs(run["layout_similarity"]) < 1.001 and run["patch_distance"] >= 0 for run in runs)


# ----------------------------------------------------------- optimisers and GPUs


def test_optimizers(tmp_path, rng):
    picture = tmp_path / "noise.png"
    save(to_uint8(rng.random((16, 16, 3), np.float32)), picture)
    report = json.loads(bench("optimizers", picture, "--evaluations", 12, "--threads", 1, "--json").stdout)
    (run,) = report["runs"]
    assert run["evaluations"] == 12
    assert max(run["value"], run["scipy_value"]) < run["start"] / 2
    assert run["needed"] is None or run["needed"] <= 24
    assert "in 12 evaluations, SciPy to" in bench("optimizers", picture, "--evaluations", 12, "--threads", 1).stdout
    refused(["optimizers", picture, "--evaluations", 1], "evaluations=1: give at least 2")


def test_evaluations_needed_are_counted_to_the_first_as_low(monkeypatch, rng):
    image = rng.random((16, 16, 3), np.float32)
    monkeypatch.setattr(optimizer_bench, "our_values", lambda *_: [9.0, 5.0, 3.0, 2.0, 1.0, 0.5])
    for theirs, needed in (([9.0, 2.0, 4.0], 4), ([9.0, 5.0], 2), ([0.1], None)):
        monkeypatch.setattr(optimizer_bench, "scipy_values", lambda *_, theirs=theirs: theirs)
        (run,) = optimizer_bench.optimizers([image], evaluations=3, threads=1)
        assert (run.needed, run.value, run.scipy_value) == (needed, 3.0, min(theirs))


def test_batch(tmp_path, rng):
    picture = tmp_path / "noise.png"
    save(to_uint8(rng.random((20, 20, 3), np.float32)), picture)
    report = json.loads(bench("batch", picture, "--sizes", 16, "--jobs", 2, "--json").stdout)
    (run,) = report["runs"]
    assert (run["size"], run["jobs"]) == (16, 2)
    assert min(run["loop"], run["workers"], run["threads"]) > 0
    assert sorted(tmp_path.iterdir()) == [picture]
    refused(["batch", picture, "--jobs", 0], "jobs=0: give at least 1")


def test_a_gpu_is_measured(monkeypatch):
    """In the emulation, where times say nothing."""
    if emulation.unavailable():
        pytest.skip(emulation.unavailable())
    emulation.install(monkeypatch)
    monkeypatch.setattr("pyengine.devices.problem_with", lambda kind, index: "")
    monkeypatch.setattr(Device, "provider", lambda *_: Provider())
    monkeypatch.setattr(Engine, "synthesize", lambda *_, **__: None)
    for name, value in {"SIDE": 8, "COPIED": 64, "AGREEMENT_SIZE": 16, "PRECISIONS": ("float32",)}.items():
        monkeypatch.setattr(gpu, name, value)
    report = gpu.measure("cuda", [16], 1)
    assert report["device"] == "cuda:0"
    assert max(report["agreement"]["float32"]) < 1e-5
    (row,) = report["evaluations"]
    assert list(row["ms"]) == ["evaluation", "forward", "losses", "backward", "optimizer"]
    assert row["bytes"] == 8 * (6 + 3)
    table = list(gpu.lines(report))
    widths = {line.count("|") for line in table if line.startswith("| size") or line.startswith("| 16")}
    assert len(widths) == 1
    assert table[table.index(next(line for line in table if line.startswith("| size"))) + 1].count("|") in widths


def test_a_cpu_is_no_gpu():
    refused(["gpu", "--device", "cpu"], "device='cpu': this measures GPUs")
