"""Recipes as JSON, and what pictures carry of them."""

from __future__ import annotations

import json
import shutil
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXAMPLES
from PIL import Image

import pyengine
from pyengine import PyengineError, Recipe
from pyengine.images.reading import read_metadata


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """Files of 48x32 pixels: a style, another, a content, a layout and masks."""
    generator = np.random.default_rng(0)
    layout = np.ones((32, 48), np.uint8)
    layout[:, 24:] = 2
    files = {name: generator.integers(0, 256, (32, 48, 3), np.uint8) for name in ("style", "second", "content")}
    files |= {
        "layout": layout,
        "hole": 255 * (layout == 2).astype(np.uint8),
        "rest": 255 * (layout == 1).astype(np.uint8),
    }
    for name, pixels in files.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in files}


FAST = {"start": "noise", "iterations": 1}


def every_kind(pictures: dict[str, Path]) -> dict[str, dict[str, Any]]:
    p = pictures
    return {
        "texture": {"exemplar": p["style"], "size": (64, 40), "seed": 3, "levels": 2, "iterations": [2, 1]},
        "patches": {"exemplar": p["style"], "start": "patches", "augment": ["flips"], "size": (20, 16)},
        "numbers of NumPy": {
            "exemplar": str(p["style"]),
            "size": np.int64(40),
            "iterations": np.array([1, 2]),
            "levels": 2,
            "style_scale": np.float32(1.5),
        },
        "transfer": {"exemplar": p["style"], "content": p["content"], "init": "noise", "preserve_color": "match"},
        "weights": {"exemplar": p["style"], "weights": {"gram/relu1_1": 2, "variation": "auto"}, "structure": True},
        "exemplars": {"exemplars": [p["style"], p["second"]], "exemplar_weights": (1, 2), "gram_layers": ("relu2_1",)},
        "regions": {"exemplar": p["style"], "exemplar_regions": p["layout"], "output_regions": p["layout"]},
        "soft masks": {
            "exemplars": [p["style"], p["second"]],
            "exemplar_regions": [[p["hole"], p["rest"]], p["layout"]],
            "output_regions": [p["hole"], p["rest"]],
        },
        "hole": {"exemplar": p["style"], "fill": p["hole"], "seamless": "xy", "pooling": "max"},
    }


KINDS = list(every_kind(dict.fromkeys(("style", "second", "content", "layout", "hole", "rest"), Path())))


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_goes_through_json(engine, pictures, kind):
    recipe = Recipe.create(**{**FAST, **every_kind(pictures)[kind]})
    again = Recipe.from_json(recipe.to_json())
    assert again.to_json() == recipe.to_json()
    assert again.sizes == recipe.sizes
    assert np.array_equal(engine.run(again).image, engine.run(recipe).image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_made_again_from_itself(engine, pictures, tmp_path, kind):
    """By the files' names: it says nothing of folders."""
    result = engine.synthesize(**{**FAST, **every_kind(pictures)[kind]})
    result.save(tmp_path / "made.png")
    text = read_metadata(tmp_path / "made.png")
    assert str(tmp_path) not in text
    assert json.loads(text)["pyengine"] == pyengine.__version__
    assert json.loads(text)["engine"]["model"] == "vgg16"
    again = engine.run(Recipe.from_json(text, tmp_path))
    assert np.array_equal(again.image, result.image)
    report = json.loads(json.dumps(result.report()))
    assert report["recipe"] == json.loads(text)["recipe"]
    assert np.array_equal(engine.run(Recipe.from_json(json.dumps(report), tmp_path)).image, result.image)


def test_paths_are_absolute(pictures, monkeypatch, tmp_path):
    monkeypatch.chdir(pictures["style"].parent)
    recipe = Recipe.create("style.png")
    document = json.loads(recipe.to_json())
    assert document["recipe"]["exemplar"]["file"] == str(pictures["style"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Recipe.from_json(recipe.to_json(), "nowhere").to_json() == recipe.to_json()
    assert len(document["recipe"]["exemplar"]["sha256"]) == 64
    assert "fill" not in document["recipe"]


def test_arguments_may_be_written_by_hand(pictures):
    text = json.dumps({"exemplar": "style.png", "content": "content.png", "init": "noise", "size": [48, 40]})
    recipe = Recipe.from_json(text, pictures["style"].parent)
    assert recipe.sizes[-1] == (48, 40)
    assert recipe.level.content is not None
    assert recipe.level.init is None


def test_arguments_that_are_given_count_instead(pictures):
    """And a file that they replace is not looked for."""
    text = Recipe.create(pictures["style"], size=64, seed=1).to_json()
    pictures["style"].unlink()
    recipe = Recipe.from_json(text, exemplar=pictures["second"], size=(40, 32))
    assert (recipe.sizes[-1], recipe.seed) == ((40, 32), 1)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("exemplar", np.zeros((32, 32, 3), np.uint8)),
        ("content", Image.new("RGB", (32, 32))),
        ("output_regions", [np.ones((32, 48))]),
    ],
)
def test_pictures_in_memory_are_refused_with_the_reason(pictures, name, source):
    recipe = Recipe.create(**{"exemplar": pictures["style"], name: source})
    with pytest.raises(PyengineError, match=rf"{name}.* is an? .*, in memory, which JSON can't hold: save it") as error:
        recipe.to_json()
    assert "\n" not in str(error.value)


def test_a_picture_of_one_in_memory_says_what_to_give(engine, tmp_path):
    exemplar = np.random.default_rng(0).random((32, 32, 3), np.float32)
    result = engine.synthesize(exemplar, **FAST)
    result.save(tmp_path / "made.png")
    text = read_metadata(tmp_path / "made.png")
    with pytest.raises(PyengineError, match=r"exemplar was an array of float32, \(32, 32, 3\), .*: give exemplar"):
        Recipe.from_json(text)
    assert np.array_equal(engine.run(Recipe.from_json(text, exemplar=exemplar)).image, result.image)


def test_another_picture_of_the_same_name_is_refused(pictures):
    text = Recipe.create(pictures["style"]).to_json()
    shutil.copy(pictures["second"], pictures["style"])
    with pytest.raises(PyengineError, match=r"exemplar .*style.png: another picture than the recipe's, whose sha256"):
        Recipe.from_json(text)


def test_a_recipe_of_another_version_is_warned_of(pictures):
    document = {**json.loads(Recipe.create(pictures["style"]).to_json()), "pyengine": "0.0.1"}
    with pytest.warns(UserWarning, match=r"of pyengine 0.0.1, this is .*: the picture may differ"):
        Recipe.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"recipe: this is not JSON \("),
        ("[1]", r"recipe: this JSON is no recipe"),
        ('{"recipe": 3}', r"recipe: this JSON is no recipe"),
        ('{"sizes": 3}', r"recipe: there is no argument 'sizes': did you mean 'size'\?$"),
        ('{"exemplar": "none.png"}', r"exemplar .*none.png: no such file"),
        ('{"exemplar": 3}', r"recipe: exemplar=3: give a file's path"),
        ('{"exemplar": {"path": "a.png"}}', r"recipe: exemplar: there is no map 'path': choose"),
        ('{"exemplar": {"albedo": 3}}', r"recipe: exemplar\['albedo'\]=3: give a file's path"),
        ('{"exemplars": [["a.png"]]}', r"exemplars\[0\]\[0\] .*a.png: no such file"),
    ],
)
def test_what_is_no_recipe(tmp_path, text, message):
    with pytest.raises(PyengineError, match=message) as error:
        Recipe.from_json(text, tmp_path)
    assert "\n" not in str(error.value)


def test_only_a_png_carries_a_recipe(engine, tmp_path):
    result = engine.synthesize(EXAMPLES / "ink.png", size=32, levels=1, **FAST)
    result.save(tmp_path / "made.jpg")
    assert b"ink.png" not in (tmp_path / "made.jpg").read_bytes()


def test_any_sequence_and_any_number_is_kept(engine, pictures, tmp_path):
    """A picture that is made can be saved."""
    layers = deque(["relu1_1", "relu2_1"])
    options = {"start": "noise", "iterations": range(1, 3), "gram_layers": layers, "levels": np.int8(2)}
    result = engine.synthesize(
        pictures["style"], size=64, weights={"gram": np.float32(0.5)}, seed=2**128 - 1, **options
    )
    result.save(tmp_path / "made.png")
    json.dumps(result.report())
    again = engine.run(Recipe.from_json(read_metadata(tmp_path / "made.png"), tmp_path))
    assert np.array_equal(again.image, result.image)


def test_a_run_that_was_stopped_says_so(engine, pictures, tmp_path):
    result = engine.synthesize(pictures["style"], start="noise", size=64, callback=lambda progress: progress.stop())
    result.save(tmp_path / "made.png")
    with pytest.warns(UserWarning, match="was stopped before its end"):
        Recipe.from_json(read_metadata(tmp_path / "made.png"), tmp_path)


def test_a_result_names_its_model_by_its_contents(engine, pictures):
    made_with = engine.synthesize(pictures["style"], start="noise", iterations=0).report()["engine"]
    assert made_with["model"] == "vgg16"
    assert made_with["sha256"] == engine.model.sha256
    assert len(made_with["sha256"]) == 64


@pytest.mark.parametrize("source", [None, 5, b"\xff", "[" * 100_000])
def test_no_text_of_a_recipe(source):
    with pytest.raises(PyengineError, match=r"^recipe: this is not JSON"):
        Recipe.from_json(source)


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png"])
def test_errors_are_one_line_whatever_a_recipe_holds(tmp_path, name):
    with pytest.raises(PyengineError, match=r"no such file") as error:
        Recipe.from_json(json.dumps({"exemplar": {"file": name}}), tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_none() -> None:
    with pytest.raises(PyengineError, match=r"^folder=None: give a path"):
        Recipe.from_json("{}", None)  # type: ignore[arg-type]
