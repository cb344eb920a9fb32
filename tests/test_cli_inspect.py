"""`pyengine inspect`, and the hint of `pyengine synthesize`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from command_line import FAST, invoke
from PIL import Image

import pyengine


@pytest.fixture
def board(tmp_path: Path) -> Path:
    path = tmp_path / "board.png"
    Image.fromarray(np.kron(np.indices((8, 8)).sum(0) % 2, np.full((9, 9), 200)).astype(np.uint8)).save(path)
    return path


def test_inspect(board: Path) -> None:
    result = invoke("inspect", board)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{board}: 72x72 pixels",
        "period: 12.7 pixels at 45 degrees",
        "period: 12.7 pixels at -45 degrees",
        "regularity: 1.00",
        "sizes that tile: 72x72, 144x144, 288x288",
        "suggested: --fit size",
        f"light: varies by {pyengine.inspect(board).light:.0%} of its mean",
    ]


def test_inspect_without_periods(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)).save(path)
    assert invoke("inspect", path).stdout.splitlines() == [
        f"{path}: 50x40 pixels",
        "no periods: every size can tile",
        f"light: varies by {pyengine.inspect(path).light:.0%} of its mean",
    ]


def test_inspect_json(board: Path) -> None:
    result = invoke("inspect", board, "--json")
    document = {"exemplar": str(board), **asdict(pyengine.inspect(board))}
    assert json.loads(result.stdout) == json.loads(json.dumps(document))
    assert invoke("inspect", board, "--quiet").stdout == ""


def test_inspect_refuses_in_one_line(tmp_path: Path) -> None:
    result = invoke("inspect", tmp_path / "missing.png")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_synthesize_gives_a_hint_unless_told_not_to(board: Path, tmp_path: Path) -> None:
    def hints(*options: object) -> int:
        result = invoke("synthesize", board, "-o", tmp_path / "out.png", *FAST, *options)
        assert result.exit_code == 0, result.output
        return result.stderr.count("the exemplar repeats itself every")

    assert [hints("--size", 81), hints("--size", 90), hints("--size", 81, "--fit", "size")] == [1, 0, 0]
    assert [hints("--size", 81, flag) for flag in ("--quiet", "--json", "--verbose")] == [0, 0, 1]


def test_synthesize_fits(board: Path, tmp_path: Path) -> None:
    for fit, size in (("size", (90, 72)), ("scale", (87, 75))):
        output = tmp_path / f"{fit}.png"
        assert invoke("synthesize", board, "-o", output, "--size", "87x75", "--fit", fit, *FAST).exit_code == 0
        with Image.open(output) as image:
            assert image.size == size


def test_no_hint_where_memory_is_short(board: Path, tmp_path: Path) -> None:
    result = invoke("synthesize", board, "-o", tmp_path / "out.png", *FAST, "--size", 81, "--memory-limit", "300MB")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "this memory holds it in tiles only" in result.stderr
