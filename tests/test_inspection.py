"""What is said of an exemplar before the work begins."""

import logging

import numpy as np
import pytest
from pictures import CONTENT, EXEMPLAR, halves, mask

import pyengine
from pyengine import PyengineError
from pyengine.inspection import hint
from pyengine.recipe import Recipe

BOARD = np.kron(np.indices((8, 8)).sum(0) % 2, np.full((9, 9), 200)).astype(np.uint8)  # a period of 18 pixels


def test_a_regular_exemplar():
    found = pyengine.inspect(BOARD[:, :63])
    assert found.size == (63, 72)
    assert found.periods == pytest.approx((162**0.5, 162**0.5), abs=0.1)
    assert found.angles == pytest.approx((45, -45), abs=1)
    assert found.regularity > 0.9
    assert found.sizes[:2] in (((54, 72), (126, 144)), ((72, 72), (126, 144)))
    assert Recipe.create(BOARD, **found.settings)


def test_an_irregular_exemplar():
    found = pyengine.inspect(EXEMPLAR)
    assert found == pyengine.Inspection((64, 48), (), (), 0.0, ((64, 48), (128, 96), (256, 192)), found.light, {})
    assert 0 < found.light < 0.5


def test_an_exemplar_that_can_not_be_read():
    with pytest.raises(PyengineError, match=r"^exemplar of 72x12 pixels"):
        pyengine.inspect(BOARD[:12])


def test_a_hint_where_the_size_does_not_fit():
    text = hint(Recipe.create(BOARD, size=(81, 72)))
    assert "18" not in text
    for size, wrap, fitting in (((83, 72), "xy", "90x72"), ((81, 83), "y", "81x90")):
        advice = f"fit='size' makes it {fitting}, fit='scale' scales the exemplar"
        assert hint(Recipe.create(BOARD, size=size, wrap=wrap)).endswith(advice)
    assert hint(Recipe.create(BOARD, size=(28, 72))).endswith(" fit='size' makes it 36x72")  # that would be too much
    assert text.startswith("the exemplar repeats itself every 12.7 and 12.7 pixels, which do not fit into 81x72: ")
    assert "\n" not in text
    for options in (
        {"size": (90, 72)},
        {"size": (83, 72), "fit": "scale"},
        {"size": (81, 72), "wrap": "none"},
        {"size": (81, 72), "init": EXEMPLAR},
        {"seamless": "x"},
        {"fill": mask(72, 72)},
        {"output_regions": np.ones((81, 81), int)},
        CONTENT,
    ):
        assert hint(Recipe.create(BOARD, **options)) is None, options
    assert hint(Recipe.create(EXEMPLAR, size=81)) is None


def test_no_hint_where_a_fit_is_as_good_as_it_gets():
    """No small size tiles with what is askew."""
    y, x = np.indices((96, 96))
    (cos, sin), period = np.array([5, 2]) / 29**0.5, 16 / (2 * np.pi)
    askew = (np.cos((x * cos + y * sin) / period) + np.cos((y * cos - x * sin) / period) + 2) / 4
    recipe = Recipe.create(askew, size=40, fit="size")
    assert hint(recipe) is None
    assert hint(Recipe.create(askew, size=recipe.sizes[-1]))


def test_the_first_exemplar_with_a_period_counts():
    assert hint(Recipe.create(exemplars=[EXEMPLAR, BOARD], size=81))
    assert hint(Recipe.create(exemplars=[EXEMPLAR, BOARD], size=90)) is None


def test_a_hint_is_of_the_exemplar_at_its_scale():
    assert hint(Recipe.create(BOARD, size=81, style_scale=1.5)) is None
    assert hint(Recipe.create(BOARD, size=90, style_scale=1.5))


def test_the_engine_logs_the_hint(engine, caplog):
    with caplog.at_level(logging.INFO, "pyengine.engine"):
        engine.run(Recipe.create(BOARD, size=81, iterations=0))
        engine.run(Recipe.create(BOARD, size=90, iterations=0))
    assert sum("repeats itself" in message for message in caplog.messages) == 1


def test_regions_get_no_hint():
    assert hint(Recipe.create(BOARD, exemplar_regions=halves(72, 72), output_regions=halves(81, 81))) is None
