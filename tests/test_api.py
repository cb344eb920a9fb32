"""The one function, and the same arguments wherever they are."""

from __future__ import annotations

import inspect
import re
from importlib import metadata

import numpy as np
import pytest
from PIL import Image

import pyengine
from pyengine import Engine, PyengineError, api
from pyengine.recipe import Options, Recipe


def test_sources_of_every_kind_give_the_same_picture(engine, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (32, 40, 3), np.uint8)
    path = tmp_path / "exemplar.png"
    Image.fromarray(pixels).save(path)
    sources = [path, str(path), Image.fromarray(pixels), pixels, pixels / 255, (pixels / 255).astype(np.float32)]
    images = [engine.synthesize(source, iterations=1).image for source in sources]
    assert all(np.array_equal(images[0], image) for image in images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"size 0x0: both sides must be 16 to"),
        ({"size": (-5, 64)}, r"size -5x64"),
        ({"size": 10**6}, r"size 1000000x1000000"),
        ({"size": (64, 64, 3)}, r"give \(width, height\)"),
        ({"size": 64.5}, r"size=64.5"),
        ({"size": "64x64"}, r"size='64x64'"),
        ({"seed": -1}, r"seed=-1"),
        ({"seed": 1.5}, r"seed=1.5"),
        ({"levels": 0}, r"levels=0: give 1 to 2"),
        ({"levels": 9}, r"levels=9: give 1 to 2"),
        ({"iterations": -1}, r"iterations=\(-1,\)"),
        ({"iterations": (1, 2, 3)}, r"give one number, or 1 of them"),
        ({"iterations": "many"}, r"iterations='many'"),
        ({"iterations": 5.5}, r"iterations=5.5"),
        ({"gram_layers": 5}, r"gram_layers=5: give a sequence of names"),
        ({"gram_layers": (["relu1_1"],)}, r"gram_layers="),
        ({"weights": {"gram": "much"}}, r"gram='much'"),
        ({"histogram_layers": ["conv1_1"]}, r"layer 'conv1_1'"),
    ],
)
def test_bad_options(engine, natural, options, message):
    with pytest.raises(PyengineError, match=message) as error:
        engine.synthesize(natural[:40, :40], **options)
    assert "\n" not in str(error.value)


def test_an_exemplar_too_small_is_refused(engine):
    with pytest.raises(PyengineError, match=r"exemplar of 20x15 pixels: both sides must be at least 16"):
        engine.synthesize(np.zeros((15, 20, 3), np.uint8))


def test_the_version_is_the_distributions():
    assert pyengine.__version__ == metadata.version("pyengine")


def test_the_options_for_type_checkers_are_the_arguments_of_a_recipe():
    parameters = inspect.signature(Recipe.create).parameters
    keywords = [name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    assert [*parameters] == ["exemplar", *keywords]
    assert list(Options.__annotations__) == keywords
    assert not Options.__required_keys__
    assert {name: hint.__forward_arg__ for name, hint in Options.__annotations__.items()} == {
        name: parameters[name].annotation for name in keywords
    }


def test_every_option_is_explained():
    section = inspect.getdoc(pyengine.synthesize).partition("Parameters\n")[2].partition("\nReturns\n")[0]
    documented = re.findall(r"^(\w[\w, ]+) : ", section, re.MULTILINE)
    names = [name for line in documented for name in line.split(", ")]
    assert sorted(names) == sorted(inspect.signature(pyengine.synthesize).parameters)
    explained = re.split(r"^\w[\w, ]+ : ", section, flags=re.MULTILINE)[1:]
    assert all("Default: " in text for text in explained)


def test_synthesize_has_the_arguments_of_a_recipe_and_of_an_engine():
    """By name, annotation and default."""
    recipe, engine = (inspect.signature(f).parameters for f in (Recipe.create, pyengine.Engine))
    found = dict(inspect.signature(pyengine.synthesize).parameters)
    of_a_run = dict([*inspect.signature(Engine.run).parameters.items()][2:])
    for name, parameter in of_a_run.items():
        given = found.pop(name)
        assert (given.annotation, given.default) == (parameter.annotation, parameter.default), name
    assert [*found] == [*recipe, *engine]
    for name, parameter in {**recipe, **engine}.items():
        assert found[name].annotation == parameter.annotation, name
        assert found[name].default == parameter.default, name


@pytest.mark.parametrize("method", ["synthesize", "objective"])
def test_an_engine_shows_every_option_with_its_default(method):
    found = inspect.signature(getattr(pyengine.Engine, method)).parameters
    for name, parameter in inspect.signature(Recipe.create).parameters.items():
        assert found[name].default == parameter.default, name
    assert "options" not in found


def test_every_argument_is_passed_on(monkeypatch):
    """Each to where it belongs: to the engine, or to what it is asked for."""
    passed = {}

    class Recorder:
        def __init__(self, *arguments):
            passed.update(zip(inspect.signature(Engine).parameters, arguments, strict=True))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def synthesize(self, exemplar, **options):
            passed.update(exemplar=exemplar, **options)

    monkeypatch.setattr(api, "Engine", Recorder)
    given = {name: object() for name in inspect.signature(pyengine.synthesize).parameters}
    pyengine.synthesize(**given)
    assert passed == given
