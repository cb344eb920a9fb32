"""`pyengine synthesize`: what it writes, where it writes it, and how it ends."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from command_line import FAST, finish, invoke, program
from deep_pictures import LEVELS, WIDE, profile_attribute, raw, stored
from PIL import Image

import pyengine
from pyengine import Engine
from pyengine.images.encoding import Depth, Encoding
from pyengine.images.reading import load, read_metadata
from pyengine.images.writing import save
from pyengine.memory import Plan
from pyengine.recipe import Recipe


@pytest.fixture(autouse=True)
def _no_models_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def exemplar(tmp_path: Path) -> Path:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


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
    options = ("--size", "48x33", "--seed", 5, "--levels", 2, "--iterations", "1,2", "--threads", 1, "--wrap", "x")
    losses = ("--weight", "gram=0.5", "--weight", "histogram=auto", "--padding", "zeros", "--pooling", "max")
    result = invoke("synthesize", exemplar, "-o", output, *options, *losses, "--model", "vgg16", "--device", "cpu")
    assert result.exit_code == 0, result.output
    expected = pyengine.synthesize(
        exemplar, size=(48, 33), seed=5, levels=2, iterations=(1, 2), weights={"gram": 0.5, "histogram": "auto"},
        padding="zeros", wrap="x", pooling="max", threads=1,
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


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read or made."""

    @wraps(Recipe.create)
    def fail(**_: Any) -> Recipe:
        pytest.fail("worked first")

    monkeypatch.setattr(Recipe, "create", fail)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made."""
    monkeypatch.setattr(Engine, "run", lambda *_, **__: pytest.fail("worked first"))


@pytest.mark.usefixtures("no_work")
def test_output_is_checked_before_the_work(exemplar: Path, tmp_path: Path) -> None:
    refused(tmp_path / "missing" / "out.png", [exemplar], "does not exist")


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
        "board": np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((8, 8)))[:, :, None] * [200, 100, 50],
        "ramp": np.arange(0, 256, 8)[None].repeat(32, axis=0),
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
    Same("--palette keep --size 24", {"palette": "keep", "size": 24}, ("board",)),
    Same("--augment flips,turns", {"augment": ["flips", "turns"]}),
    Same("--augment turns --start patches", {"augment": ["turns"], "start": "patches"}),
    Same("--size 20", {"size": 20}, ("exemplar", "second", "content")),
    Same("--keep <rest>", {"keep": "<rest>"}),
    Same("--fill <hole> --init <second>", {"fill": "<hole>", "init": "<second>"}),
    Same("--fill <ramp> --mask-threshold 0.75", {"fill": "<ramp>", "mask_threshold": 0.75}),
    Same("--sample-mask <rest>", {"sample_mask": "<rest>"}),
    Same("--sample-mask <left> --sample-mask <rest>", {"sample_mask": ["<left>", "<rest>"]}, ("exemplar", "second")),
    Same(
        "--exemplar-regions <layout> --output-regions <indices> --regions 2",
        {"exemplar_regions": "<layout>", "output_regions": "<indices>", "regions": 2},
    ),
    Same("--fill alpha", {"fill": "alpha"}, ("torn",)),
    Same("--seamless x --structure", {"seamless": "x", "structure": True}),
    Same("--start patches", {"start": "patches"}, ("exemplar", "second")),
    Same("--method gatys", {"method": "gatys"}),
    Same("--flatten-light", {"flatten_light": True}),
    Same("--method histogram --pooling average --wrap xy --padding reflect --seed 0", {}),
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
    """The engine is shared to save time; that the command line makes one as it is told, other tests see."""

    class Shared(Engine):
        @wraps(Engine.__init__)
        def __init__(self, **_: Any) -> None:
            self.model = engine.model

        def plans(self, recipe: Recipe) -> list[Plan]:
            return engine.plans(recipe)

        def run(self, recipe: Recipe, *, callback: object = None) -> pyengine.Result:
            return engine.run(recipe)

        def close(self) -> None:
            pass

    def path(text: Any) -> Any:
        return pictures[text[1:-1]] if isinstance(text, str) and text.startswith("<") else text

    output = tmp_path / "out.png"
    monkeypatch.setattr("pyengine.engine.Engine", Shared)
    files = [pictures[name] for name in same.exemplars]
    result = invoke("synthesize", *files, "-o", output, *FAST, *map(path, same.line.split()))
    assert result.exit_code == 0, result.output
    options = {k: list(map(path, v)) if isinstance(v, list) else path(v) for k, v in same.options.items()}
    options |= {"exemplar": files[0]} if len(files) == 1 else {"exemplars": files}
    expected = engine.synthesize(**{"start": "noise", "iterations": 2, "levels": 1, **options})
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected.image)


def test_the_features_make_a_difference(
    pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that the test above sees an option that is lost: no two lines mean the same."""
    seen: list[tuple[str, ...]] = []

    class Stop(SystemExit):  # no error, of which there would be a line
        pass

    @wraps(Recipe.create)
    def record(**options: Any) -> Recipe:
        seen.append(tuple(sorted(f"{k}={v}" for k, v in options.items() if k not in ("iterations", "levels"))))
        raise Stop(1)

    monkeypatch.setattr(Recipe, "create", record)
    for same in SAME:
        words = [pictures[word[1:-1]] if word.startswith("<") else word for word in same.line.split()]
        result = invoke("synthesize", *(pictures[e] for e in same.exemplars), "-o", tmp_path / "out.png", *FAST, *words)
        assert isinstance(result.exception, Stop), result.output
        given = {word.lstrip("-").replace("-", "_") for word in same.line.split() if word.startswith("--")}
        names = {"weights" if name == "weight" else name for name in given}
        assert {entry.split("=")[0] for entry in seen[-1]} - {"exemplar", "exemplars"} == names | {"start"}
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
        (
            "right",
            [w for side in ("exemplar", "output") for m in ("<left>", "<right>") for w in (f"--{side}-regions", m)],
        ),
        ("second", ["<second>"]),
        ("exemplar", []),
    ],
)
@pytest.mark.usefixtures("no_engine")
def test_no_input_is_written_over(name: str, options: list[str], pictures: dict[str, Path], tmp_path: Path) -> None:
    """By whatever name it goes."""
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
        (["--content", "<content>", "--seamless", "xy"], "content with keep, fill or seamless"),
        (["--content-layers", "relu4_1"], "content_layers without content"),
        (["--preserve-color", "match"], "preserve_color without content"),
        (["--init", "content"], "init='content' without content"),
        (["--style-scale", "0"], "style_scale=0.0: give a number above 0"),
        (["--style-scale", "nan"], "style_scale=nan"),
        (["--style-scale", "big"], "'big' is not a valid float"),
        (["--exemplar-regions", "<indices>"], "exemplar_regions without output_regions"),
        (["--output-regions", "<layout>"], "no exemplar has region 2: there are 1"),
        (["--output-regions", "<content>"], "distinct values, and it is not clear which ones are meant"),
        (["--output-regions", "<left>", "--output-regions", "<content>"], "output_regions[1] "),
        (["--keep", "<rest>", "--fill", "<hole>"], "keep and fill: give one of them"),
        (["--keep", "<content>"], "a mask is grey, this is in colour"),
        (["--fill", "alpha"], "fill='alpha': the picture has no transparent pixels"),
        (["--fill", "missing.png"], "fill missing.png: no such file"),
        (["--seamless", "y", "--wrap", "x"], "seamless='y' with wrap='x'"),
        (["--method", "style"], "'style' is not one of 'histogram', 'gatys'"),
        (["<second>", "--seamless", "xy"], "keep, fill or seamless with several exemplars"),
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
        (["--weight", "content=1"], "content=1.0: there is no content; give one, or leave it out"),
        (["--weight", "gram/relu9_1=1"], "there is no term 'gram/relu9_1'"),
        (["--gram-layers", ""], "layer ''"),
        (["--gram-layers", "image"], "layer 'image': model 'vgg16' has relu1_1"),
        (["--content", "<content>", "--content-layers", "relu4_1,image"], "layer 'image': model 'vgg16' has relu1_1"),
        (["--gram-layers", "relu1_1,"], "layer ''"),
        (["--histogram-layers", "conv1_1"], "layer 'conv1_1'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_features(options: list[str], expected: str, pictures: dict[str, Path], output: Path) -> None:
    words = [pictures[word[1:-1]] if word.startswith("<") else word for word in options]
    refused(output, [pictures["exemplar"], *words, *FAST], expected)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", [(), ("--mask-threshold", "0.5")])
def test_how_a_mask_was_read_is_told(words: tuple[str, ...], exemplar: Path, tmp_path: Path) -> None:
    hole = Image.new("L", (64, 64))
    hole.paste(255, (20, 20, 41, 41))
    hole.resize((32, 32), Image.Resampling.BOX).save(tmp_path / "hole.jpg")
    result = invoke(
        "synthesize", exemplar, "-o", tmp_path / "out.png", "--fill", tmp_path / "hole.jpg", *FAST, "--quiet", *words
    )
    assert result.exit_code == 0, result.output
    told = re.fullmatch(r"Warning: fill .*hole\.jpg: \d+ pixels are not black or white: .*\n", result.stderr)
    assert bool(told) == (not words)
    assert bool(result.stderr) == (not words)


def test_thresholds(exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--thresholds", "--json")
    assert result.exit_code == 0, result.output
    expected = pyengine.synthesize(exemplar, start="noise", iterations=2, levels=1, threads=1, weights="thresholds")
    assert json.loads(result.stdout)["levels"][0]["weights"] == pytest.approx(expected.history[-1].weights)
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--thresholds", "--weight", "gram=1")
    assert (result.exit_code, result.stderr) == (2, "Error: --weight and --thresholds: give one of them\n")


# --------------------------------------------------------------- the recipe


class Recorded(Engine):
    """An engine of which the tests see how it was asked for."""

    asked: ClassVar[list[dict[str, Any]]] = []

    @wraps(Engine.__init__)
    def __init__(self, **options: Any) -> None:
        self.asked.append(options)
        super().__init__(threads=1)


@pytest.fixture
def asked(exemplar: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """How recipes are read, and engines asked for."""
    read: list[tuple[str, Path, dict[str, Any]]] = []

    def from_json(text: str, folder: Path, **overrides: Any) -> Recipe:
        read.append((text, folder, overrides))
        return Recipe.create(exemplar, start="noise", iterations=1, levels=1)

    monkeypatch.setattr(Recipe, "from_json", from_json)
    monkeypatch.setattr(Recorded, "asked", [])
    monkeypatch.setattr("pyengine.engine.Engine", Recorded)
    return {"recipes": read, "engines": Recorded.asked}


DOCUMENT = json.dumps({"recipe": {"seed": 3}, "engine": {"model": "vgg16", "precision": "float32", "threads": 7}})


@pytest.mark.parametrize("suffix", [".json", ".png"])
def test_a_recipe_is_read(suffix: str, tmp_path: Path, asked: dict[str, list[Any]]) -> None:
    """With the model and the precision that it names; the threads are this machine's."""
    file = tmp_path / "folder" / f"recipe{suffix}"
    file.parent.mkdir()
    if suffix == ".json":
        file.write_text(DOCUMENT)
    else:
        save(np.zeros((16, 16, 3), np.uint8), file, metadata=DOCUMENT)
    result = invoke("synthesize", "--recipe", file, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert asked["recipes"] == [(DOCUMENT, file.parent, {})]
    assert asked["engines"] == [{"model": "vgg16", "precision": "float32"}]
    assert (tmp_path / "out.png").exists()


def test_what_is_typed_takes_the_place_of_the_recipes(
    exemplar: Path, tmp_path: Path, asked: dict[str, list[Any]]
) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(DOCUMENT)
    typed = ("--seed", 0, "--no-structure", "--weight", "gram=2", "--model", "other", "--threads", 1)
    result = invoke("synthesize", exemplar, "--recipe", file, "-o", tmp_path / "out.png", *typed)
    assert result.exit_code == 0, result.output
    exemplars = {"exemplar": exemplar, "exemplars": None}
    assert asked["recipes"][0][2] == {**exemplars, "seed": 0, "structure": False, "weights": {"gram": 2.0}}
    assert asked["engines"] == [{"model": "other", "precision": "float32", "threads": 1}]
    invoke("synthesize", exemplar, exemplar, "--recipe", file, "-o", tmp_path / "out.png")
    assert asked["recipes"][1][2] == {"exemplar": None, "exemplars": [exemplar, exemplar]}


@pytest.mark.usefixtures("asked")
def test_a_recipe_that_is_none(exemplar: Path, output: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    for content in (b"{", b"[1]", b"\xff\xfe", b'{"engine": 3}', b"[" * 100_000, exemplar.read_bytes()):
        file.write_bytes(content)
        refused(output, ["--recipe", file], f"recipe {file}: there is none in it: give a PNG that pyengine wrote")
    refused(output, ["--recipe", tmp_path / "missing.json"], f"recipe {tmp_path / 'missing.json'}: no such file")
    save(np.zeros((16, 16, 3), np.uint8), output, metadata=DOCUMENT)
    refused(output, ["--recipe", output], "is one of the images to read")


def test_a_picture_is_made_again_from_itself(pictures: dict[str, Path], tmp_path: Path) -> None:
    first, second, changed = (tmp_path / f"{name}.png" for name in ("first", "again", "changed"))
    features = ("--output-regions", pictures["layout"], "--weight", "gram=2", "--seed", 3)
    result = invoke("synthesize", pictures["exemplar"], pictures["second"], "-o", first, *features, *FAST, "--json")
    assert result.exit_code == 0, result.output
    report = tmp_path / "report.json"
    report.write_text(result.stdout)
    for source in (first, report):
        result = invoke("synthesize", "--recipe", source, "-o", second, "--threads", 1)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
    assert invoke("synthesize", "--recipe", first, "-o", changed, "--seed", 4, "--threads", 1).exit_code == 0
    assert not np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(changed)))


def test_a_picture_is_made_again_with_its_own_model(
    exemplar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known by its file's contents; under its name there may be another by now, or none."""
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))
    (shipped,) = (model.path for model in pyengine.list_models() if model.shipped)
    pyengine.import_model(shipped, "short", deepest="relu2_1")
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    assert invoke("synthesize", exemplar, "-o", first, "--model", "short", *FAST).exit_code == 0
    assert invoke("synthesize", "--recipe", first, "-o", again).exit_code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
    pyengine.import_model(shipped, "short", deepest="relu2_1", preprocessing="torchvision", force=True)
    result = invoke("synthesize", "--recipe", first, "-o", again)
    assert (result.exit_code, "model 'short' is another than it was made with" in result.stderr) == (2, True)
    assert invoke("synthesize", "--recipe", first, "-o", again, "--model", "short").exit_code == 0
    pyengine.remove_model("short")
    result = invoke("synthesize", "--recipe", first, "-o", again)
    assert (result.exit_code, "made with the model 'short', not installed: give" in result.stderr) == (2, True)


# -------------------------------------------------------- words and silence


def test_quiet(exemplar: Path, tmp_path: Path) -> None:
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "out.png").exists()
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png", *FAST, "--quiet", "--json")
    assert (result.stderr, json.loads(result.stdout)["size"]) == ("", [32, 32])
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png", "--size", 8, "--quiet")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_verbose(flags: tuple[str, ...], exemplar: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--verbose", *flags)
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == f"read exemplar {exemplar}"
    assert lines[-2].startswith("level 1/1 (32x32), iteration 2/2: value ")
    assert lines[-1] == f"wrote {output}"
    assert result.stdout.count("\n") == 1


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
    assert stderr.splitlines()[-1] == "Error: interrupted"
    assert "Traceback" not in stderr
    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in output.parent.iterdir()) == ["exemplar.png", "out.png"]


LONG = ("--start", "noise", "--iterations", "4,60", "--levels", 2, "--threads", 1)


def line(process: subprocess.Popen[str], beginning: str) -> None:
    """Wait until a line of what happens begins so."""
    assert process.stderr is not None
    while not process.stderr.readline().startswith(beginning):
        assert process.poll() is None


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_the_first_interrupt_keeps_what_there_is(exemplar: Path, output: Path) -> None:
    """Enlarged; the same command goes on from the checkpoint."""
    kept = output.with_name("run.checkpoint")
    command = ("synthesize", exemplar, "-o", output, *LONG, "--keep-on-interrupt", "--checkpoint", kept)
    process = program(*command, "--json", "--verbose")
    line(process, "level 2/2 (32x32), iteration 10/60")
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = finish(process)
    report = json.loads(stdout)
    coarse, fine = report["levels"]
    assert (code, report["stopped"], coarse["iterations"]) == (130, True, 4)
    assert 10 <= fine["iterations"] < 60
    assert "Interrupted: the picture so far is kept after this iteration; Ctrl-C once more ends at once.\n" in stderr
    assert stderr.splitlines()[-1] == "Error: interrupted"
    with Image.open(output) as image:
        assert (image.size, json.loads(image.info["pyengine"])["stopped"]) == ((32, 32), True)
    result = invoke(*command)
    assert (result.exit_code, result.stderr.startswith("level 2/2 (32x32), iteration ")) == (0, True)
    assert sorted(path.name for path in output.parent.iterdir()) == ["exemplar.png", "out.png"]
    expected = output.with_name("expected.png")
    invoke("synthesize", exemplar, "-o", expected, *LONG)
    assert output.read_bytes() == expected.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_the_second_interrupt_ends_at_once(exemplar: Path, output: Path) -> None:
    """Both within one iteration, in what follows it."""
    code = """if True:
        import signal, sys
        from pyengine.cli import progress
        from pyengine.__main__ import main

        count = int(sys.argv.pop())

        def interrupt(text):
            for _ in range(count):
                signal.raise_signal(signal.SIGINT)

        progress.tell = interrupt
        main()
    """
    for count, pictures in (("2", False), ("1", True)):
        command = ["synthesize", exemplar, "-o", output, "--iterations", 20, "--keep-on-interrupt", count]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "Error: interrupted")
        assert (output.read_bytes() != b"precious") == pictures
        assert done.stdout.startswith(f"{output}: 32x32 pixels, stopped after 10 iterations, ") == pictures


def terminal() -> tuple[int, int]:
    """Its two ends: ours, and that of a program."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # rows and columns
    return ours, theirs


@pytest.mark.parametrize("flags", [(), ("--no-keep-on-interrupt",)])
def test_a_terminal_keeps_what_there_is(flags: tuple[str, ...], exemplar: Path, output: Path) -> None:
    ours, theirs = terminal()
    process = program("synthesize", exemplar, "-o", output, "--iterations", 1000, "--levels", 1, *flags, stderr=theirs)
    os.close(theirs)
    shown = ""
    while "value" not in shown:
        shown += os.read(ours, 65536).decode()
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    os.close(ours)
    assert (output.read_bytes() == b"precious") == bool(flags)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_to_the_same_bits(number: signal.Signals, exemplar: Path, output: Path) -> None:
    """Killed at random moments, of which the last may come too late."""
    rng = random.Random(int(number))
    kept, expected = output.with_name("run.checkpoint"), output.with_name("expected.png")
    command = ("synthesize", exemplar, "-o", output, *LONG, "--checkpoint", kept, "--checkpoint-every", 0.05)
    for iteration in (10, 30):
        process = program(*command)
        line(process, f"level 2/2 (32x32), iteration {iteration}/60")
        time.sleep(rng.random() / 5)
        process.send_signal(number)
        code = finish(process)[0]
        assert code in ({-9} if number == signal.SIGKILL else {143}) or not kept.exists()
    assert output.read_bytes() == b"precious" or not kept.exists()
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert not kept.exists()
    invoke("synthesize", exemplar, "-o", expected, *LONG)
    assert output.read_bytes() == expected.read_bytes()
    if number == signal.SIGTERM:
        assert sorted(path.name for path in output.parent.iterdir()) == ["exemplar.png", "expected.png", "out.png"]


def test_the_picture_so_far_is_written(
    exemplar: Path, output: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over what was there, at the full size, with a note that it is not the last."""
    seen: list[tuple[int, int, bool]] = []

    def saved(image: np.ndarray, path: Path, encoding: Encoding, *, depth: Depth | None, metadata: str) -> None:
        save(image, path, encoding, depth=depth, metadata=metadata)
        assert path == output
        seen.append((*image.shape[1::-1], json.loads(metadata).get("stopped", False)))

    monkeypatch.setattr("pyengine.result.save", saved)
    options = ("--start", "noise", "--levels", 2, "--iterations", "3,2", "--threads", 1)
    result = invoke("synthesize", exemplar, "-o", output, *options, "--save-every", 2, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert seen == [(32, 32, True), (32, 32, True), (32, 32, False)]
    with Image.open(output) as image:
        expected = engine.synthesize(exemplar, start="noise", levels=2, iterations=(3, 2)).image
        assert np.array_equal(np.asarray(image), expected)


def test_a_picture_so_far_that_cannot_be_written(exemplar: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = invoke("synthesize", exemplar, "-o", output, *FAST, "--save-every", 1, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"Warning: {output}: cannot be written (No space left on device): ")
    assert result.stderr.endswith("; the run goes on\n")


def test_a_checkpoint_is_another_file_than_the_picture(exemplar: Path, output: Path) -> None:
    output.unlink()
    link = output.with_name("link.png")
    link.symlink_to(output)
    for path in (output, link):
        expected = f"checkpoint {path}: the picture is written there: name another file"
        refused(output, [exemplar, *FAST, "--checkpoint", path], expected)
    refused(output, [exemplar, *FAST, "--checkpoint", exemplar], f"checkpoint {exemplar}: not a checkpoint")
    assert load(exemplar).shape == (32, 32, 3)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_bar_on_a_terminal(flags: tuple[str, ...], exemplar: Path, tmp_path: Path) -> None:
    ours, theirs = terminal()
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


# ------------------------------------------------------------------ depth


def test_depth(exemplar: Path, output: Path) -> None:
    for depth, name, dtype in (("16", "out.png", "uint16"), ("half", "out.exr", "float16"), ("8", "out.tif", "uint8")):
        path = output.with_name(name)
        result = invoke("synthesize", exemplar, "-o", path, "--depth", depth, "--iterations", 0, "--quiet")
        assert (result.exit_code, result.output) == (0, "")
        assert raw(path).dtype == dtype
    assert result_of_metadata(output.with_name("out.png"))


def result_of_metadata(path: Path) -> bool:
    """Whether a picture carries its recipe."""
    return json.loads(read_metadata(path) or "{}").get("recipe", {}).get("iterations") == 0


def test_depths_are_refused_before_the_work(exemplar: Path, output: Path) -> None:
    for options, message in (
        (["-o", output.with_suffix(".jpg"), "--depth", "16"], "JPEG does not hold depth=16: give 8, or a file in .png"),
        (["-o", output, "--depth", "float"], "PNG does not hold depth=float"),
        (["-o", output, "--depth", "12"], "depth='12': choose 8, 16, 'half' or 'float'"),
        (["-o", "-", "--depth", "half"], "PNG does not hold depth=half"),
    ):
        result = invoke("synthesize", exemplar, *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def said_of(*options: object) -> str:
    """What a program of its own says on standard error, where warnings are no errors."""
    status, _, stderr = finish(program("synthesize", *options, "--iterations", 0, "--quiet"))
    assert status == 0
    return stderr


def test_a_word_where_a_format_is_not_as_deep(output: Path) -> None:
    deep = stored(output.with_name("deep.png"), LEVELS[:, :, :3])
    said = said_of(deep, "-o", output.with_suffix(".jpg"))
    assert said.startswith("Warning: ")
    assert said.endswith(": JPEG does not hold 16 bits, which the picture has: written in 8 bits\n")
    assert said_of(deep, "-o", output) == ""
    assert raw(output).dtype == "uint16"


def test_profiles(output: Path) -> None:
    wide = stored(output.with_name("wide.png"), LEVELS[:, :, :3], ICCProfile=profile_attribute(WIDE))
    assert "of its pixels are outside sRGB" in said_of(wide, "-o", output)
    assert said_of(wide, "-o", output, "--profile", "keep") == ""
    with Image.open(output) as image:
        assert image.info["icc_profile"] == WIDE
