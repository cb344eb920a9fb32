"""The benchmark measures what it says it does."""

import json

import pytest
from click.testing import CliRunner
from conftest import relative_error

from pyengine import Engine
from pyengine.cli import main


def test_command():
    result = CliRunner().invoke(main, ["bench", "--size", "32", "--threads", "1", "--repeats", "2", "--json"])
    report = json.loads(result.stdout)
    assert set(report["seconds"]) == {"forward", "losses", "backward", "evaluation"}
    assert report["over_networks"] > 1
    text = CliRunner().invoke(main, ["bench", "--size", "32", "--threads", "1", "--repeats", "1"]).stdout
    assert "evaluation / (forward + backward)" in text


def test_against_torch_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
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
