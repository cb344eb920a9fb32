"""Arguments of any kind: used, or refused in one line that names them and can be read."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyengine
from pyengine import PyengineError
from pyengine.checks import names_checked
from pyengine.errors import in_short, printable

IMAGE = np.random.default_rng(0).random((16, 20, 3))
ONES = np.ones(2)


def message_of(function: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(PyengineError) as caught:
        function(*arguments, **named)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seamless": ONES}, "seamless=array([1., 1.]): choose"),
        ({"structure": "no"}, "structure='no': give True or False"),
        ({"structure": ONES}, "structure=array([1., 1.]): give True or False"),
        ({"weights": ONES}, "weights=array([1., 1.]): give 'auto', 'thresholds', or"),
        ({"weights": {"gram": ONES}}, "gram=array([1., 1.]): give a number"),
        ({"weights": {"gram": 10**400}}, "gram=1000000000"),
        ({"weights": {"gram": 1e300}}, "gram=1e+300: give a number that is not negative, and at most 1e+15"),
        (
            {"content": IMAGE, "content_strength": 1e300},
            "content_strength=1e+300: give a number above 0, at most",
        ),
        ({"content_strength": ONES}, "content_strength without content"),
        ({"method": ONES}, "method=array([1., 1.]): choose"),
        ({"start": ONES}, "start=array([1., 1.]): choose"),
        ({"wrap": ONES}, "wrap=array([1., 1.]): choose"),
        ({"padding": ONES}, "padding=array([1., 1.]): choose"),
        ({"pooling": ONES}, "pooling=array([1., 1.]): choose"),
        ({"content": IMAGE, "preserve_color": ONES}, "preserve_color=array([1., 1.]): choose"),
        ({"iterations": np.array(3)}, "iterations=3: give one number"),
        ({"iterations": np.array([1.0])}, "iterations=[1.0]: give one number"),
        ({"levels": ONES}, "levels=array([1., 1.]): give 1 to"),
        ({"seed": 10**5000}, "seed=<int>: give a whole number"),
        ({"size": 10**5000}, "size <int>x<int>: both sides must be 16 to 16383 pixels"),
        ({"size": 10**40}, "size 1000000000"),
        ({"gram_layers": np.array(["relu1_1"])}, "gram_layers=array(['relu1_1']"),
        ({"exemplar_weights": IMAGE}, "exemplar_weights=[[["),
        ({"init": np.ma.masked_less(IMAGE, 0.5)}, "values are masked: fill them, see numpy.ma.filled"),
        ({"keep": np.ma.masked_less(IMAGE[:, :, 0], 0.5)}, "values are masked"),
        ({"output_regions": np.ma.masked_less(np.eye(20), 0.5)}, "values are masked"),
        ({"fit": ONES}, "fit=array([1., 1.]): choose"),
        ({"augment": ONES}, "augment=array([1., 1.]): give a list"),
        ({"augment": [ONES]}, "augment=[array([1., 1.])]: give a list"),
        ({"contents": IMAGE}, "there is no argument 'contents': did you mean 'content'?"),
        ({"levles": 3}, "there is no argument 'levles': did you mean 'levels'?"),
        ({"x": 3}, "there is no argument 'x': choose exemplar, "),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], expected: str, engine: pyengine.Engine) -> None:
    functions = [engine.synthesize, pyengine.Recipe.create, pyengine.synthesize]
    if "iterations" not in options and "levels" not in options:
        functions.append(engine.objective)
    for function in functions:
        assert expected in message_of(function, IMAGE, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": None}, "model=None: give a name that `pyengine models list` shows, or a file's path"),
        ({"model": ONES}, "model=array([1., 1.]): give a name"),
        ({"model": "a\0.onnx"}, "a\\x00.onnx: cannot be read"),
        ({"model": "n" * 300 + ".onnx"}, "File name too long"),
        ({"device": ONES}, "device=array([1., 1.]): choose"),
        ({"precision": ONES}, "precision=array([1., 1.]): choose"),
        ({"threads": ONES}, "threads=array([1., 1.]): give a whole number"),
        ({"memory_limit": ONES}, "memory_limit=array([1., 1.]): give a whole number"),
        ({"thread": 2}, "there is no argument 'thread': did you mean 'threads'?"),
    ],
)
def test_engines_that_are_refused(options: dict[str, Any], expected: str) -> None:
    assert expected in message_of(pyengine.Engine, **options)


@pytest.mark.parametrize("callback", [3, "print", [print], True])
def test_a_callback_is_a_function(callback: Any, engine: pyengine.Engine) -> None:
    message = message_of(engine.synthesize, IMAGE, callback=callback)
    assert message == f"callback={in_short(callback)}: give a function that takes a Progress"


def test_integers_of_numpy(engine: pyengine.Engine) -> None:
    picture = np.tile(IMAGE, (2, 2, 1))
    plain = engine.synthesize(picture, size=(40, 32), levels=2, iterations=[1, 2], seed=2**64 - 1)
    found = engine.synthesize(
        picture,
        size=(np.uint8(40), np.int64(32)),
        levels=np.uint8(2),
        iterations=np.array([1, 2], np.int8),
        seed=np.uint64(2**64 - 1),
    )
    np.testing.assert_array_equal(found.image, plain.image)
    one = engine.synthesize(IMAGE, levels=np.int64(1), iterations=np.int8(1))
    assert len(one.history) == 1


@pytest.mark.parametrize("limit", [np.int32(2**31 - 1), np.int64(2**40), np.uint8(255)])
def test_memory_limits_of_numpy(limit: Any) -> None:
    """NumPy's integers overflow, Python's do not."""
    with pyengine.Engine(threads=np.int8(1), memory_limit=limit) as engine:
        assert type(engine.budget.limit) in (int, float)
        assert engine.budget.limit == int(limit)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_and_masks_that_mask_nothing(engine: pyengine.Engine) -> None:
    plain = engine.synthesize(np.eye(16), init=np.eye(16), iterations=1, levels=1).image
    for same in (np.matrix(np.eye(16)), np.ma.masked_less(np.eye(16), -1)):
        found = engine.synthesize(same, init=same, iterations=1, levels=1)
        np.testing.assert_array_equal(found.image, plain)


def test_an_objective_takes_arrays_alone(engine: pyengine.Engine) -> None:
    objective = engine.objective(IMAGE)
    for image, expected in (
        (np.ma.masked_less(IMAGE, 0.5), "image: "),
        ([[1, 2], [3]], "image, a list: expected a float array"),
        (None, "image: expected a float array"),
        (object(), "image: expected a float array"),
    ):
        assert message_of(objective, image).startswith(expected)


@pytest.mark.parametrize("largest", [1e308, 1e-300, 1e-320])
def test_weights_of_exemplars_of_any_size(largest: float, engine: pyengine.Engine) -> None:
    """What counts are their ratios."""
    pictures = [IMAGE, IMAGE[::-1, :, ::-1] ** 2]
    options = {"iterations": 1, "levels": 1}
    expected = engine.synthesize(exemplars=pictures, exemplar_weights=[1, 1], **options)
    found = engine.synthesize(exemplars=pictures, exemplar_weights=[largest, largest], **options)
    np.testing.assert_array_equal(found.image, expected.image)


def test_the_largest_weights_are_finite(engine: pyengine.Engine) -> None:
    weights = dict.fromkeys(("gram", "histogram", "structure", "variation"), 1e15)
    for options in ({"weights": weights}, {"content": IMAGE[::-1], "content_strength": 1e6, "init": "noise"}):
        result = engine.synthesize(IMAGE, iterations=2, levels=1, **options)
        assert all(np.isfinite(state.value) for state in result.history)
        value, gradient = engine.objective(IMAGE, **{k: v for k, v in options.items() if k != "init"})(IMAGE[::-1])
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_results_are_saved_by_names_that_are_some(engine: pyengine.Engine) -> None:
    result = engine.synthesize(IMAGE, iterations=0, levels=1)
    assert message_of(result.save, "a\0.png").startswith("a\\x00.png: cannot be written (")


def test_names_that_are_not_known_suggest_one_that_is(engine: pyengine.Engine, tmp_path: Path) -> None:
    """Whatever is public and takes arguments."""
    recipe = pyengine.Recipe.create(IMAGE)
    callables: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "contents": (pyengine.synthesize, (IMAGE,)),
        "thread": (pyengine.Engine, ()),
        "seeds": (pyengine.Recipe.create, (IMAGE,)),
        "foldr": (pyengine.Recipe.from_json, ("{}",)),
        "levls": (pyengine.Recipe.from_json, ("{}",)),
        "calback": (engine.synthesize, (IMAGE,)),
        "sed": (engine.synthesize, (IMAGE,)),
        "weight": (engine.objective, (IMAGE,)),
        "checkpoints": (engine.run, (recipe,)),
        "recip": (engine.plans, ()),
        "recipes": (engine.needed_bytes, ()),
        "worker": (pyengine.run_batch, ([], tmp_path)),
        "itterations": (pyengine.run_batch, ([], tmp_path)),
        "masks": (pyengine.compare, (IMAGE, IMAGE)),
        "exemplr": (pyengine.inspect, ()),
        "nam": (pyengine.import_model, ("a.onnx",)),
        "nme": (pyengine.remove_model, ()),
    }
    for name, (function, arguments) in callables.items():
        message = message_of(function, *arguments, **{name: 1})
        assert message.startswith(f"there is no argument '{name}': did you mean '"), message
        assert message.split("'")[3] in {*inspect.signature(function).parameters, "levels"}


def test_signatures_stay() -> None:
    def function(content: int, *, init: str = "noise") -> float:
        """Explained."""
        return content / len(init)

    checked = names_checked(function)
    assert inspect.signature(checked) == inspect.signature(function)
    assert checked.__doc__ == "Explained."
    assert checked(5, init="noise") == 1
    with pytest.raises(TypeError):
        checked(1, 2)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 草", "plain é 草"),
        ("a\nb\r\nc\u2028d\x85e", "a b c d e"),
        ("\x1b[31m\x07\x7f\u202e\udcff\u200b", "\\x1b[31m\\x07\\x7f\\u202e\\udcff\\u200b"),
    ],
)
def test_what_is_shown(text: str, expected: str) -> None:
    assert printable(text) == str(PyengineError(text)) == expected


def test_values_are_shown_in_short() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert in_short(Broken()) == "<Broken>"
    assert in_short("\x1b") == "'\\x1b'"
    assert len(in_short(IMAGE)) == 80
    assert in_short(IMAGE).endswith("...")
