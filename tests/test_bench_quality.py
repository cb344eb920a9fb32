"""`pyengine bench quality`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import invoke
from conftest import EXAMPLES
from PIL import Image

from pyengine import PyengineError
from pyengine.bench import quality
from pyengine.bench.quality import QualityRun, contact_sheet, pictures_of
from pyengine.cli.commands.synthesize import arguments
from pyengine.images.reading import load
from pyengine.images.writing import to_uint8
from pyengine.quality.measures import Comparison, compare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, and what is none."""
    folder = tmp_path / "exemplars"
    folder.mkdir()
    for name, suffix, box in [("gravel", ".png", (0, 0, 32, 32)), ("brick", ".JPG", (0, 0, 40, 24))]:
        with Image.open(EXAMPLES / f"{name}.png") as image:
            image.convert("RGB").crop(box).save(folder / f"{name}{suffix}")
    (folder / "README.md").write_text("no picture")
    return folder


class StubEngine:
    """Gives the exemplar back, darker by its seed, or noise where that is asked for by iterations."""

    calls: list[dict] = []  # noqa: RUF012

    def __init__(self, threads: int | None = None) -> None:
        self.calls.append({"threads": threads})

    def __enter__(self) -> StubEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append({"closed": True})

    def run(self, recipe) -> SimpleNamespace:
        self.calls.append({"size": recipe.sizes[-1], "seed": recipe.seed, "iterations": recipe.iterations[-1]})
        if recipe.iterations[-1] == 1:
            width, height = recipe.sizes[-1]
            return SimpleNamespace(image=np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
        return SimpleNamespace(image=to_uint8(recipe.level.exemplars[0].image - np.float32(recipe.seed / 255)))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StubEngine]]:
    monkeypatch.setattr(quality, "Engine", StubEngine)
    monkeypatch.setattr(StubEngine, "calls", [])
    return StubEngine


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "Engine", lambda **_: pytest.fail("worked first"))


def test_table(stub, folder):
    result = invoke("bench", "quality", folder, "--seeds", "0,4", "--variant", "--iterations 1", "--threads", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()]
    assert head == [
        "picture", "variant", "patch distance", "brightness drift", "contrast drift", "realism", "left out", "order",
        "copied", "copied layout", "seam ratio x", "seam ratio y", "seconds",
    ]  # fmt: skip
    assert rule == ["---"] * len(head)
    assert [row[:2] for row in rows] == [
        ["brick", "default"], ["brick", "--iterations 1"], ["gravel", "default"], ["gravel", "--iterations 1"],
        ["mean", "default"], ["mean", "--iterations 1"],
    ]  # fmt: skip
    figures = dict(zip(head, rows[2], strict=True))
    assert (figures["brightness drift"], figures["realism"], figures["copied"]) == ("2.0", "2.0", "50.0%")
    means = dict(zip(head, rows[-2], strict=True))
    assert float(means["realism"]) == pytest.approx(np.mean([float(rows[k][5]) for k in (0, 2)]), abs=0.051)
    assert (stub.calls[0], stub.calls[-1], len(stub.calls)) == ({"threads": 1}, {"closed": True}, 10)
    assert [call["seed"] for call in stub.calls[1:-1]] == [0, 4] * 4


def test_json(stub, folder):
    result = invoke("bench", "quality", folder / "gravel.png", "--seeds", "3", "--size", 48, "--json")
    report = json.loads(result.stdout)
    (run,) = report["runs"]
    exemplar = load(folder / "gravel.png")
    found = compare(exemplar, to_uint8(exemplar - np.float32(3 / 255)))
    assert stub.calls[1]["size"] == (48, 48)
    assert run == {
        **run,
        "exemplar": "gravel",
        "variant": "default",
        "seed": 3,
        "realism": found.realism,
        "order": None,
    }
    assert run["seconds"] >= 0
    assert "image" not in run
    assert "numpy" in report["versions"]


def test_pictures(stub, folder, tmp_path):
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    arguments = ["bench", "quality", folder, "--variant", "--iterations 1", "--seeds", "0,9", "--pictures", sheets]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in sheets.iterdir()) == ["brick.png", "gravel.png"]
    page = np.asarray(Image.open(sheets / "gravel.png"))
    exemplar = to_uint8(load(folder / "gravel.png"))
    np.testing.assert_array_equal(page[:32, :32], exemplar)
    shown = [page[:32, x : x + 32] for x in range(32, page.shape[1] - 31)]
    assert sum(np.array_equal(picture, exemplar) for picture in shown) == 1  # the default's of seed 0
    darker = to_uint8(load(folder / "gravel.png") - np.float32(9 / 255))
    below = np.lib.stride_tricks.sliding_window_view(page[40:], (32, 32, 3)).reshape(-1, 32, 32, 3)
    assert any(np.array_equal(picture, darker) for picture in below)


def run_of(variant: str, seed: int) -> QualityRun:
    figures = Comparison(0.1, 1.0, 1.0, 10.0, 10.0, None, 0.0, None, 0.9, 0.9, None)
    return QualityRun("gravel", variant, seed, figures, 1.0, np.zeros((20, 20, 3), np.uint8))


def test_a_sheet_has_a_column_for_each_variant_and_a_row_for_each_seed(folder):
    one = contact_sheet(folder / "gravel.png", [run_of("default", 0)])
    two = contact_sheet(folder / "gravel.png", [run_of("default", 0), run_of("G'MIC", 0)])
    rows = contact_sheet(folder / "gravel.png", [run_of("default", 0), run_of("default", 1), run_of("G'MIC", 0)])
    assert one.shape[0] == two.shape[0] < rows.shape[0]
    assert one.shape[1] < two.shape[1] == rows.shape[1]


def test_means_are_of_the_figures_that_there_are():
    one = Comparison(0.1, 2.0, 3.0, 4.0, 5.0, None, 0.0, 0.5, 0.75, 0.5, None)
    other = replace(one, patch_distance=0.3, order=0.5, copied_layout=None)
    found = quality.mean([one, other])
    assert (found.patch_distance, found.order, found.copied_layout, found.edge_ratio) == (0.2, 0.5, 0.5, None)


def test_folders_and_files(folder, tmp_path):
    assert pictures_of([folder]) == [folder / "brick.JPG", folder / "gravel.png"]
    other = tmp_path / "other.tif"
    assert pictures_of([other, folder])[0] == other
    with pytest.raises(PyengineError, match="would both be called gravel: rename one"):
        pictures_of([folder, tmp_path / "gravel.jpg"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PyengineError, match="no pictures in this folder"):
        pictures_of([empty])


@pytest.mark.usefixtures("no_work")
def test_bad_options_are_refused_first(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = folder / "gravel.png"
    for words, expected in [
        ([tmp_path / "missing.png"], "missing.png: no such file"),
        ([picture, "--size", "8"], "size 8x8"),
        ([picture, "--seeds", "1,"], "'1,': give whole numbers"),
        ([picture, "--seeds", "-1"], "seed=-1"),
        ([picture, "--variant", "--strat x"], "--variant '--strat x': No such option '--strat'"),
        ([picture, "--variant", "--levels x"], "--variant '--levels x': Invalid value for '--levels'"),
        ([picture, "--variant", "--threads 1"], "--threads says nothing of a recipe: leave it out"),
        ([picture, "--variant", "--json"], "--json says nothing of a recipe: leave it out"),
        ([picture, "--variant", "other.png"], "it has other.png besides options: leave it out"),
        ([picture, "--variant", "--start 'x"], "No closing quotation"),
        ([picture, "--variant", "--levels 99"], "levels=99"),
        ([picture, "--against", "gmic"], "G'MIC is not installed"),
        ([picture, "--pictures", tmp_path / "missing"], "does not exist: create it"),
        ([picture, "--pictures", folder], "is one of the images to read: write to another file"),
    ]:
        result = invoke("bench", "quality", *words)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.output
        assert expected in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="a script stands for G'MIC")
def test_against_another_tool(stub, folder, tmp_path, monkeypatch):
    """What it is asked for, and what becomes of its picture; and that it fails."""
    tool = tmp_path / "gmic"
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nfrom PIL import Image\n_, given, name, size, output, made = sys.argv\n"
        "assert (name, output) == ('syntexturize_matchpatch', 'output')\n"
        "Image.open(given).resize(tuple(map(int, size.split(',')))).save(made)\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke("bench", "quality", folder, "--against", "gmic", "--json")
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [(run["exemplar"], run["variant"]) for run in runs] == [
        ("brick", "default"), ("brick", "G'MIC"), ("gravel", "default"), ("gravel", "G'MIC")
    ]  # fmt: skip
    assert (runs[3]["realism"], runs[3]["seconds"] > 0) == (0, True)
    tool.write_text("#!/bin/sh\necho reading >&2\necho out of paper >&2\nexit 3\n")
    result = invoke("bench", "quality", folder, "--against", "gmic", "--quiet")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: --against gmic: G'MIC failed (out of paper): run it by itself\n"


@pytest.mark.skipif(shutil.which("gmic") is None, reason="G'MIC is not installed")
def test_against_gmic(stub, folder):
    result = invoke("bench", "quality", folder / "gravel.png", "--size", 48, "--against", "gmic", "--json")
    assert result.exit_code == 0, result.output
    assert [run["variant"] for run in json.loads(result.stdout)["runs"]] == ["default", "G'MIC"]


def test_real_textures(folder):
    short = "--start noise --iterations 1"
    result = invoke("bench", "quality", folder / "gravel.png", "--variant", short, "--json")
    assert result.exit_code == 0, result.output
    default, short = json.loads(result.stdout)["runs"]
    assert default["patch_distance"] < short["patch_distance"]


def test_a_variant_leaves_the_commands_help_as_it_is():
    with pytest.raises(PyengineError, match=r"^'--help': No such option"):
        arguments("--help")
    assert arguments("--start noise") == {"start": "noise"}
    for flag in ("-h", "--help"):
        assert invoke("synthesize", flag).exit_code == 0
