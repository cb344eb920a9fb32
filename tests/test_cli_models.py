"""`pyengine models`: what it prints and removes; what can be imported, test_models.py tests."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from command_line import invoke


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def shipped() -> Path:
    return Path(str(files("pyengine.models"))) / "vgg16.onnx"


@pytest.fixture
def mine(models: Path, shipped: Path) -> Path:
    models.mkdir()
    return Path(shutil.copy(shipped, models / "mine.onnx"))


def test_import_prints(models: Path, shipped: Path) -> None:
    target = models / "mine.onnx"
    result = invoke("models", "import", shipped, "--name", "mine", "--deepest", "relu1_2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{target}: vgg16, relu1_1 ... relu1_2\n"
    result = invoke("models", "import", shipped, "--name", "mine", "--deepest", "relu1_2", "--force", "--json")
    assert json.loads(result.stdout) == {
        "path": str(target),
        "architecture": "vgg16",
        "layers": ["relu1_1", "relu1_2"],
    }
    result = invoke("models", "import", shipped, "--name", "other", "--deepest", "relu1_2", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (models / "other.onnx").exists()


def test_remove(mine: Path, models: Path) -> None:
    result = invoke("models", "remove", "mine")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{mine}: removed\n"
    assert list(models.iterdir()) == []


def test_remove_as_json(mine: Path) -> None:
    assert json.loads(invoke("models", "remove", "mine", "--json").stdout) == {"removed": str(mine)}


@pytest.mark.parametrize("name", ["vgg16", "nope", "../mine"])
def test_what_is_not_removed(name: str, mine: Path, shipped: Path) -> None:
    result = invoke("models", "remove", name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"model {name!r}" in result.stderr
    assert mine.exists()
    assert shipped.exists()
