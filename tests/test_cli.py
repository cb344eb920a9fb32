"""The command line: what it writes, where it writes it, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import pyengine
from pyengine.cli import main
from pyengine.network.sessions import runtime

FAST = ("--iterations", "2", "--levels", "1", "--threads", "1")


@pytest.fixture(autouse=True)
def _no_models_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def exemplar(tmp_path: Path) -> Path:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def program(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """The real thing, in a process of its own."""
    command = [sys.executable, "-m", "pyengine", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **{**pipes, **options})  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


# ------------------------------------------------------------- synthesize


@pytest.mark.parametrize(
    ("suffix", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF"), ("TIFF", "TIFF"), ("webp", "WEBP")]
)
def test_formats(suffix: str, kind: str, exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / f"out.{suffix}"
    result = invoke("synthesize", exemplar, "-o", output, *FAST)
    assert result.exit_code == 0, result.output
    with Image.open(output) as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", (32, 32))
    assert result.stdout.startswith(f"{output}: 32x32 pixels, 2 iterations, ")
    assert result.stderr.startswith("level 1/1 (32x32), iteration 2/2: value ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exemplar.png", output.name]


def test_same_as_the_api(exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    options = ("--size", "48x33", "--seed", 5, "--levels", 2, "--iterations", "1,2", "--threads", 1)
    losses = ("--weight", "gram=0.5", "--weight", "histogram=auto", "--padding", "zeros", "--pooling", "max")
    result = invoke("synthesize", exemplar, "-o", output, *options, *losses, "--model", "vgg16", "--device", "cpu")
    assert result.exit_code == 0, result.output
    expected = pyengine.synthesize(
        exemplar, size=(48, 33), seed=5, levels=2, iterations=(1, 2), weights={"gram": 0.5, "histogram": "auto"},
        padding="zeros", pooling="max", threads=1,
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected.image)


def test_json(exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    result = invoke(
        "synthesize", exemplar, "-o", output, "--levels", 2, "--iterations", "1,2", "--threads", 1, "--json"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["output"] == str(output)
    assert (report["size"], report["seed"], report["stopped"]) == ([32, 32], 0, False)
    coarse, fine = report["levels"]
    assert (coarse["size"], coarse["iterations"]) == ([16, 16], 1)
    assert (fine["size"], fine["iterations"]) == ([32, 32], 2)
    assert sum(fine["terms"].values()) == pytest.approx(fine["value"])
    assert "gram/relu1_1" in fine["terms"]
    assert report["timings"]["total"] >= report["timings"]["forward"] > 0
    assert report["versions"]["pyengine"] == version("pyengine")
    assert "numpy" in report["versions"]


def test_json_where_there_is_nothing_to_do(exemplar: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "teal").save(exemplar)
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--json")
    (level,) = json.loads(result.stdout)["levels"]
    assert level == {"size": [16, 16], "iterations": 0, "value": None, "terms": {}, "weights": {}}
    assert Image.open(tmp_path / "out.png").getcolors() == [(256, (0, 128, 128))]


def test_progress_lines(exemplar: Path, tmp_path: Path) -> None:
    arguments = ("--size", 16, "--levels", 1, "--iterations", 21, "--weight", "gram=0", "--threads", 1)
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png", *arguments)
    iterations = [line.partition(": value")[0] for line in result.stderr.splitlines()]
    assert iterations == [f"level 1/1 (16x16), iteration {i}/21" for i in (10, 20, 21)]


# ------------------------------------------------------------- bad input


def refused(output: Path, arguments: Sequence[object], *expected: str) -> None:
    """One line, code 2, and what was at the output's place is still there."""
    existed = output.is_file() and output.read_bytes()
    result = invoke("synthesize", *arguments, "-o", output)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for text in expected:
        assert text in result.stderr
    assert (output.is_file() and output.read_bytes()) == existed


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out.png"
    path.write_bytes(b"precious")
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--size", "0"], "size 0x0"),
        (["--size", "0x64"], "size 0x64"),
        (["--size", "-64"], "size -64x-64"),
        (["--size", "1000000"], "size 1000000x1000000"),
        (["--size", "12"], "size 12x12"),
        (["--size", "axb"], "'axb'"),
        (["--size", "64x"], "'64x'"),
        (["--size", "64x64x64"], "'64x64x64'"),
        (["--size", "6.5"], "'6.5'"),
        (["--size", ""], "--size"),
        (["--seed", "-1"], "seed=-1"),
        (["--seed", "1.5"], "--seed"),
        (["--levels", "0"], "levels=0"),
        (["--levels", "9"], "levels=9"),
        (["--iterations", "-1"], "iterations="),
        (["--iterations", "1,2,3"], "iterations="),
        (["--iterations", "1,,2"], "'1,,2'"),
        (["--weight", "gram=-1"], "gram=-1.0"),
        (["--weight", "gram=nan"], "gram=nan"),
        (["--weight", "histogram=much"], "'histogram=much'"),
        (["--weight", "gram=0", "--weight", "histogram=0"], "nothing is left to match"),
        (["--padding", "mirror"], "'mirror'"),
        (["--pooling", "median"], "'median'"),
        (["--model", "nope"], "unknown model 'nope': installed are vgg16"),
        (["--model", "nope.onnx"], "nope.onnx: no such file"),
        (["--device", "tpu"], "device='tpu': choose 'auto', 'cpu', 'cuda', 'cuda:1', "),
        (["--threads", "0"], "threads=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(options: list[str], expected: str, exemplar: Path, output: Path) -> None:
    refused(output, [exemplar, *options], expected)


def test_bad_exemplars(exemplar: Path, output: Path, tmp_path: Path) -> None:
    content = exemplar.read_bytes()
    refused(output, [tmp_path / "missing.png"], "missing.png", "no such file")
    refused(output, [tmp_path], "is a folder")
    exemplar.write_bytes(b"")
    refused(output, [exemplar], str(exemplar), "empty")
    exemplar.write_bytes(content[: len(content) // 2])
    refused(output, [exemplar], str(exemplar), "truncated")
    exemplar.write_bytes(b"no picture")
    refused(output, [exemplar], str(exemplar), "not an image")
    Image.new("RGB", (15, 40)).save(exemplar)
    refused(output, [exemplar], "15x40")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing/out.png", "does not exist"),
        ("exemplar.png/out.png", "does not exist"),
        ("out.gif", "cannot write this format"),
        ("out", "cannot write this format"),
        ("folder.png", "is a folder"),
    ],
)
def test_bad_output(name: str, expected: str, exemplar: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / name, [exemplar, *FAST], expected)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(exemplar: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    refused(folder / "out.png", [exemplar, *FAST], "cannot be written")


def test_failure_while_writing(exemplar: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = invoke("synthesize", exemplar, "-o", output, *FAST)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: {output}: cannot be written (No space left on device)")
    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in output.parent.iterdir()) == ["exemplar.png", "out.png"]


def test_output_is_checked_before_the_work(exemplar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyengine, "synthesize", lambda *_, **__: pytest.fail("worked first"))
    refused(tmp_path / "missing" / "out.png", [exemplar], "does not exist")


def test_wrong_usage(exemplar: Path) -> None:
    for arguments in (["nope"], ["synthesize", exemplar, "-o", "out.png", "--nope"], ["models", "nope"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "--help" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: No such ")
    for arguments in (["synthesize"], ["synthesize", exemplar]):
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith("Error: Missing ")


# ------------------------------------------------- synthesize: every feature


@pytest.fixture
def pictures(tmp_path: Path, exemplar: Path) -> dict[str, Path]:
    """Files of 32x32 pixels, by what they are for."""
    random = np.random.default_rng(5)
    colours = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
    hole = np.zeros((32, 32), np.uint8)
    hole[8:20, 12:32] = 255
    left, right = (np.where((np.arange(32) < 16) == side, 255, 0) for side in (True, False))
    halves = np.where(np.arange(32) < 12, 1, 2)
    arrays = {
        "content": colours[0],
        "second": colours[1],
        "torn": np.dstack([colours[2], 255 - hole]),
        "hole": hole,
        "rest": 255 - hole,
        "indices": halves[None].repeat(32, axis=0),
        "layout": halves[:, None].repeat(32, axis=1),
        "left": left[None].repeat(32, axis=0),
        "right": right[None].repeat(32, axis=0),
    }
    paths = {"exemplar": exemplar, **{name: tmp_path / f"{name}.png" for name in arrays}}
    for name, array in arrays.items():
        Image.fromarray(array.astype(np.uint8)).save(paths[name])
    return paths


@dataclass
class Same:
    """What to type and what to call; a name in <> is a file."""

    line: str
    options: dict[str, Any]
    exemplars: tuple[str, ...] = ("exemplar",)


SAME = [
    Same(
        "--content <content> --content-strength 2.5 --style-scale 0.75 --preserve-color luminance "
        "--content-layers relu2_1,relu3_1 --init noise",
        {
            "content": "<content>",
            "content_strength": 2.5,
            "style_scale": 0.75,
            "preserve_color": "luminance",
            "content_layers": ("relu2_1", "relu3_1"),
            "init": "noise",
        },
    ),
    Same(
        "--content <content> --init <second> --preserve-color match",
        {"content": "<content>", "init": "<second>", "preserve_color": "match"},
    ),
    Same("--content <content> --init content", {"content": "<content>"}),
    Same("--init <second> --size 32x24", {"init": "<second>", "size": (32, 24)}),
    Same(
        "--exemplar-regions <indices> --output-regions <layout>",
        {"exemplar_regions": "<indices>", "output_regions": "<layout>"},
    ),
    Same(
        "--exemplar-regions <left> --exemplar-regions <right> --output-regions <right> --output-regions <left>",
        {"exemplar_regions": ["<left>", "<right>"], "output_regions": ["<right>", "<left>"]},
    ),
    Same("--output-regions <layout>", {"output_regions": "<layout>"}, ("exemplar", "second")),
    Same(
        "--exemplar-regions <indices> --exemplar-regions <layout> --output-regions <layout>",
        {"exemplar_regions": ["<indices>", "<layout>"], "output_regions": "<layout>"},
        ("exemplar", "second"),
    ),
    Same("--exemplar-weights 2,0.5", {"exemplar_weights": [2, 0.5]}, ("exemplar", "second")),
    Same("--size 20", {"size": 20}, ("exemplar", "second", "content")),
    Same("--keep <rest>", {"keep": "<rest>"}),
    Same("--fill <hole> --init <second>", {"fill": "<hole>", "init": "<second>"}),
    Same("--fill alpha", {"fill": "alpha"}, ("torn",)),
    Same("--seamless --structure", {"seamless": True, "structure": True}),
    Same("--method gatys", {"method": "gatys"}),
    Same("--method histogram --pooling average --padding wrap --seed 0", {}),
    Same(
        "--weight gram=0.5 --weight gram/relu1_1=0 --weight variation=2 --weight histogram=auto",
        {"weights": {"gram": 0.5, "gram/relu1_1": 0, "variation": 2, "histogram": "auto"}},
    ),
    Same(
        "--gram-layers relu2_1,relu3_1 --histogram-layers relu1_2",
        {"gram_layers": ["relu2_1", "relu3_1"], "histogram_layers": ["relu1_2"]},
    ),
]


@pytest.mark.parametrize("same", SAME, ids=[f"{same.line[:40]}-{len(same.exemplars)}" for same in SAME])
def test_every_feature_is_the_same_as_in_the_api(
    same: Same, pictures: dict[str, Path], tmp_path: Path, engine: pyengine.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is shared to save time; that the command line makes one as it is told, another test sees."""

    def shared(*, threads: int, callback: object, **options: Any) -> pyengine.Result:
        return engine.synthesize(callback=callback, **options)

    def path(text: Any) -> Any:
        return pictures[text[1:-1]] if isinstance(text, str) and text.startswith("<") else text

    output = tmp_path / "out.png"
    monkeypatch.setattr(pyengine, "synthesize", shared)
    files = [pictures[name] for name in same.exemplars]
    result = invoke("synthesize", *files, *map(path, same.line.split()), "-o", output, *FAST)
    assert result.exit_code == 0, result.output
    options = {k: list(map(path, v)) if isinstance(v, list) else path(v) for k, v in same.options.items()}
    options |= {"exemplar": files[0]} if len(files) == 1 else {"exemplars": files}
    expected = engine.synthesize(**options, iterations=2, levels=1)
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected.image)


def test_the_features_make_a_difference(
    pictures: dict[str, Path], engine: pyengine.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that the test above sees an option that is lost: no two lines mean the same."""
    seen: list[tuple[str, ...]] = []

    class Stop(Exception):
        pass

    def record(**options: Any) -> pyengine.Result:
        ignored = {"threads", "iterations", "levels", "callback"}
        seen.append(tuple(sorted(f"{k}={v}" for k, v in options.items() if k not in ignored)))
        raise Stop

    monkeypatch.setattr(pyengine, "synthesize", record)
    for same in SAME:
        words = [pictures[word[1:-1]] if word.startswith("<") else word for word in same.line.split()]
        result = invoke("synthesize", *(pictures[e] for e in same.exemplars), *words, "-o", tmp_path / "out.png", *FAST)
        assert isinstance(result.exception, Stop), result.output
        given = {word.lstrip("-").replace("-", "_") for word in same.line.split() if word.startswith("--")}
        names = {"weights" if name == "weight" else name for name in given}
        assert {entry.split("=")[0] for entry in seen[-1]} - {"exemplar", "exemplars"} == names
    assert len(set(seen)) == len(SAME)


def test_weights_in_json(pictures: dict[str, Path], tmp_path: Path) -> None:
    arguments = ("--weight", "gram=3", "--output-regions", pictures["layout"], "--weight", "histogram=0", *FAST)
    result = invoke(
        "synthesize", pictures["exemplar"], pictures["second"], "-o", tmp_path / "out.png", *arguments, "--json"
    )
    (level,) = json.loads(result.stdout)["levels"]
    assert level["weights"].keys() == level["terms"].keys()
    assert level["weights"]["gram/relu1_1/1"] == pytest.approx(3 * 12 / 32)
    assert level["weights"]["gram/relu4_1/2"] == pytest.approx(3 * 20 / 32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("content", ["--content", "<content>"]),
        ("second", ["--init", "<second>"]),
        ("hole", ["--fill", "<hole>"]),
        ("rest", ["--keep", "<rest>"]),
        ("layout", ["--output-regions", "<layout>", "--exemplar-regions", "<indices>"]),
        ("indices", ["--output-regions", "<layout>", "--exemplar-regions", "<indices>"]),
        ("right", ["--output-regions", "<left>", "--output-regions", "<right>"]),
        ("second", ["<second>"]),
        ("exemplar", []),
    ],
)
def test_no_input_is_written_over(
    name: str, options: list[str], pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever name it goes."""
    monkeypatch.setattr(pyengine, "synthesize", lambda *_, **__: pytest.fail("worked first"))
    link = tmp_path / "link.png"
    link.symlink_to(pictures[name])
    words = [pictures[word[1:-1]] if word.startswith("<") else word for word in options]
    before = {path: path.read_bytes() for path in pictures.values()}
    for output in (pictures[name], tmp_path / "." / pictures[name].name, link):
        refused(output, [pictures["exemplar"], *words], f"{output} is one of the images to read: write to another file")
    assert {path: path.read_bytes() for path in pictures.values()} == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--content", "missing.png"], "content missing.png: no such file"),
        (["--content", "<content>", "--preserve-color", "hue"], "'hue' is not one of 'luminance', 'match'"),
        (["--content", "<content>", "--content-strength", "0"], "content_strength=0.0: give a number above 0"),
        (["--content", "<content>", "--content-layers", "relu9_1"], "layer 'relu9_1': model 'vgg16' has relu1_1"),
        (["--content", "<content>", "--seamless"], "content with keep, fill or seamless"),
        (["--content-layers", "relu4_1"], "content_layers without content"),
        (["--preserve-color", "match"], "preserve_color without content"),
        (["--init", "content"], "init='content' without content"),
        (["--style-scale", "0"], "style_scale=0.0: give a number above 0"),
        (["--style-scale", "nan"], "style_scale=nan"),
        (["--style-scale", "big"], "'big' is not a valid float"),
        (["--exemplar-regions", "<indices>"], "exemplar_regions without output_regions"),
        (["--output-regions", "<layout>"], "no exemplar has region 2: there are 1"),
        (["--output-regions", "<content>"], "distinct values: paint regions in flat colours"),
        (["--output-regions", "<left>", "--output-regions", "<content>"], "output_regions[1] "),
        (["--keep", "<rest>", "--fill", "<hole>"], "keep and fill: give one of them"),
        (["--keep", "<content>"], "a mask is grey, this is in colour"),
        (["--fill", "alpha"], "fill='alpha': the picture has no transparent pixels"),
        (["--fill", "missing.png"], "fill missing.png: no such file"),
        (["--seamless", "--padding", "zeros"], "seamless=True with padding='zeros'"),
        (["--seamless", "--method", "gatys"], "seamless=True with padding='zeros'"),
        (["--method", "style"], "'style' is not one of 'histogram', 'gatys'"),
        (["<second>", "--seamless"], "keep, fill or seamless with several exemplars"),
        (["<second>", "--exemplar-weights", "1"], "exemplar_weights=[1.0]: give a list of 2"),
        (["<second>", "--exemplar-weights", "1,-1"], "exemplar_weights=[1.0, -1.0]: give numbers"),
        (["<second>", "--exemplar-weights", "1,a"], "'1,a': give numbers with commas in between"),
        (["<second>", "--exemplar-weights", ""], "give numbers with commas"),
        (["<second>", "--exemplar-regions", "<indices>", "--output-regions", "<layout>"], "give a list of 2"),
        (["missing.png"], "exemplars[1] missing.png: no such file"),
        (["--weight", "gram"], "'gram': give TERM=NUMBER"),
        (["--memory-limit", "much"], "'much': give bytes with a unit, such as 3GB"),
        (["--memory-limit", "3 XB"], "'3 XB': give bytes with a unit"),
        (["--memory-limit", "0"], "memory_limit=0: give a whole number of bytes"),
        (["--memory-limit", "5MB"], "5000000 bytes) may be used"),
        (["--memory-limit", "0.5 MiB"], "524288 bytes) may be used"),
        (["--weight", "=1"], "there is no term ''"),
        (["--weight", "content=1"], "content=1.0: there is no layer for it"),
        (["--weight", "gram/relu9_1=1"], "there is no term 'gram/relu9_1'"),
        (["--gram-layers", ""], "layer ''"),
        (["--gram-layers", "relu1_1,"], "layer ''"),
        (["--histogram-layers", "conv1_1"], "layer 'conv1_1'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_features(options: list[str], expected: str, pictures: dict[str, Path], output: Path) -> None:
    words = [pictures[word[1:-1]] if word.startswith("<") else word for word in options]
    refused(output, [pictures["exemplar"], *words, *FAST], expected)


# -------------------------------------------------------- help and info


@pytest.mark.parametrize(
    "command", [[], ["synthesize"], ["models"], ["models", "list"], ["models", "import"], ["info"]]
)
def test_help(command: list[str]) -> None:
    for flag in ("-h", "--help"):
        result = invoke(*command, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"pyengine, version {version('pyengine')}\n")


def test_info(tmp_path: Path) -> None:
    result = invoke("info", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert {"pyengine", "python", "numpy", "scipy", "onnx"} < set(report["versions"])
    assert "CPUExecutionProvider" in report["providers"]
    assert report["device"] == "cpu"
    assert report["threads"] >= 1
    assert report["simd"] in ("avx512", "avx2", "baseline")
    assert report["models"] == str(tmp_path / "models")
    text = invoke("info").stdout
    for expected in (f"pyengine {version('pyengine')}", "CPUExecutionProvider", "device: cpu", report["simd"]):
        assert expected in text


@pytest.mark.parametrize(
    ("distributions", "expected"),
    [
        ([], "not installed: pip install 'pyengine[cpu]'"),
        (["onnxruntime", "onnxruntime-gpu"], "pip uninstall -y onnxruntime onnxruntime-gpu"),
    ],
)
def test_info_without_a_runtime(
    distributions: list[str], expected: str, exemplar: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("pyengine.network.sessions.runtimes", lambda module: dict.fromkeys(distributions, "1.2"))
    runtime.cache_clear()
    result = invoke("info")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"pyengine {version('pyengine')}" in result.stdout
    assert "device: none (" in result.stdout
    assert expected in result.stdout
    assert json.loads(invoke("info", "--json").stdout)["device"] is None
    refused(output, [exemplar], expected)


# ------------------------------------------------------- real processes


def test_process_json(exemplar: Path, tmp_path: Path) -> None:
    code, stdout, stderr = finish(program("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--json"))
    assert (code, stderr) == (0, "")
    assert stdout.count("\n") == 1
    assert json.loads(stdout)["size"] == [32, 32]
    assert (tmp_path / "out.png").exists()


def test_process_error(exemplar: Path, output: Path) -> None:
    code, stdout, stderr = finish(program("synthesize", exemplar, "-o", output, "--size", "12", "--json"))
    assert (code, stdout) == (2, "")
    assert stderr == "Error: size 12x12: both sides must be 16 to 16383 pixels\n"
    assert output.read_bytes() == b"precious"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_interrupt(exemplar: Path, output: Path) -> None:
    arguments = ("--iterations", 100_000, "--levels", 1, "--size", 16, "--threads", 1)
    process = program("synthesize", exemplar, "-o", output, *arguments)
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = finish(process)
    assert first.startswith("level 1/1 (16x16), iteration 10/100000: value ")
    assert (code, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "Error: interrupted; nothing was written"
    assert "Traceback" not in stderr
    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in output.parent.iterdir()) == ["exemplar.png", "out.png"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_bar_on_a_terminal(flags: tuple[str, ...], exemplar: Path, tmp_path: Path) -> None:
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # rows and columns
    process = program("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, *flags, stderr=theirs)
    stdout = finish(process)[1]
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "2/2 [" in shown
    assert "level 1/1, value " in shown
    assert "iteration 2/2" not in shown
    assert stdout.count("\n") == 1
    if flags:
        json.loads(stdout)


def test_help_imports_nothing_slow() -> None:
    code = """if True:
        import sys
        from pyengine.cli import main
        main(["--help"], standalone_mode=False)
        print([name for name in ("numpy", "onnx", "onnxruntime", "scipy", "PIL", "tqdm") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_texture_needs_no_scipy() -> None:
    """Its import takes as long as all the others."""
    code = """if True:
        import sys, numpy, pyengine
        pyengine.synthesize(numpy.eye(16), iterations=1, threads=1)
        print([name for name in ("onnxruntime", "scipy") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['onnxruntime']\n", done.stderr


# -------------------------------------------------------------- compare


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 200, (24, 40, 3), dtype=np.uint8)).save(path)
    return path


def test_compare(exemplar: Path, image: Path) -> None:
    from pyengine.quality.measures import compare

    result = invoke("compare", exemplar, exemplar, image)
    assert (result.exit_code, result.stderr) == (0, "")
    same, other = result.stdout.splitlines()
    assert same.startswith(f"{exemplar}: patch distance 0.000, brightness drift 0.0, contrast drift 0.0, seam ratio ")
    found = compare(exemplar, image)
    assert other == (
        f"{image}: patch distance {found.patch_distance:.3f}, brightness drift {found.brightness_drift:.1f}, "
        f"contrast drift {found.contrast_drift:.1f}, seam ratio {found.seam_ratio:.2f}"
    )


def test_compare_json(exemplar: Path, image: Path) -> None:
    from pyengine.quality.measures import compare

    result = invoke("compare", exemplar, image, "--json")
    found = compare(exemplar, image)
    assert json.loads(result.stdout) == [
        {
            "image": str(image),
            "patch_distance": found.patch_distance,
            "brightness_drift": found.brightness_drift,
            "contrast_drift": found.contrast_drift,
            "seam_ratio": found.seam_ratio,
        }
    ]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_compare_picture(flags: tuple[str, ...], exemplar: Path, image: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"an older one")
    result = invoke("compare", exemplar, image, exemplar, "--picture", picture, *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == invoke("compare", exemplar, image, exemplar, *flags).stdout
    page = np.asarray(Image.open(picture))
    np.testing.assert_array_equal(page[:32, :32], np.asarray(Image.open(exemplar)))
    columns = [x for x in range(page.shape[1] - 39) if (page[:24, x : x + 40] == np.asarray(Image.open(image))).all()]
    assert len(columns) == 1
    assert page.shape[0] > 32 + 14
    assert (page[33:] < 128).all(axis=2).any()  # the labels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exemplar.png", "image.png", "picture.png"]


def test_compare_labels(exemplar: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyengine.quality.measures import compare

    seen = []
    monkeypatch.setattr(
        "pyengine.quality.sheet.sheet", lambda rows, labels: seen.append(labels) or np.zeros((1, 1, 3), "u1")
    )
    assert invoke("compare", exemplar, image, "--picture", tmp_path / "picture.png").exit_code == 0
    distance = compare(exemplar, image).patch_distance
    assert seen == [[["exemplar.png", f"image.png\npatch distance {distance:.3f}"]]]


def test_compare_checks_the_picture_before_the_work(
    exemplar: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyengine.quality.measures.compare", lambda *_: pytest.fail("worked first"))
    link = tmp_path / "link.png"
    link.symlink_to(image)
    before = exemplar.read_bytes(), image.read_bytes()
    for picture, expected in [
        (exemplar, f"{exemplar} is one of the images to read: write to another file"),
        (image, f"{image} is one of the images to read: write to another file"),
        (link, f"{link} is one of the images to read: write to another file"),
        (tmp_path / "missing" / "picture.png", "does not exist"),
        (tmp_path / "picture.gif", "cannot write this format"),
    ]:
        result = invoke("compare", exemplar, image, "--picture", picture)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr
    assert (exemplar.read_bytes(), image.read_bytes()) == before


def test_compare_bad_images(exemplar: Path, image: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (13, 40)).save(small)
    for arguments, expected in [
        ([exemplar, tmp_path / "missing.png"], f"image {tmp_path / 'missing.png'}: no such file"),
        ([tmp_path / "missing.png", image], f"exemplar {tmp_path / 'missing.png'}: no such file"),
        ([exemplar, image, small], "image of 13x40 pixels"),
        ([exemplar], "Missing argument 'IMAGE...'"),
    ]:
        result = invoke("compare", *arguments, "--picture", tmp_path / "picture.png")
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert expected in result.stderr
    assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize("command", [["compare"], ["bench"], ["bench", "convergence"], ["bench", "memory"]])
def test_help_of_what_measures(command: list[str]) -> None:
    for flag in ("-h", "--help"):
        result = invoke(*command, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")


def test_thresholds(exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--thresholds", "--json")
    assert result.exit_code == 0, result.output
    expected = pyengine.synthesize(exemplar, iterations=2, levels=1, threads=1, weights="thresholds")
    assert json.loads(result.stdout)["levels"][0]["weights"] == pytest.approx(expected.history[-1].weights)
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--thresholds", "--weight", "gram=1")
    assert (result.exit_code, result.stderr) == (2, "Error: --weight and --thresholds: give one of them\n")
