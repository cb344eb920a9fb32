"""What the automatic weights are worth: against the paper's thresholds, and against numbers that stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyengine.engine import Engine
from pyengine.images.reading import Source, load
from pyengine.losses.options import Weights
from pyengine.quality.measures import compare, layout_similarity
from pyengine.recipe import Recipe

SCHEMES: dict[str, Weights] = {
    "auto": "auto",
    "thresholds": "thresholds",
    "gram 1, histogram 1e4": {"gram": 1.0, "histogram": 1e4, "content": 1e4},
    "gram 100:1:1:1, histogram 1e5": {"gram/relu1_1": 1e2, "gram": 1.0, "histogram": 1e5, "content": 1e4},
}
"""Weights to compare: the automatic ones, and numbers that fit natural images of average contrast."""


@dataclass(frozen=True)
class WeightsRun:
    """One synthesis of `schemes`, and its figures.

    Attributes
    ----------
    exemplar : int
        Which of those given.
    scheme : str
        A key of `SCHEMES`.
    patch_distance, brightness_drift, contrast_drift : float
        As in `pyengine.Comparison`.
    layout_similarity : float or None
        To the content, if there is one.
    """

    exemplar: int
    scheme: str
    patch_distance: float
    brightness_drift: float
    contrast_drift: float
    layout_similarity: float | None


def schemes(
    exemplars: Sequence[Source],
    *,
    content: Source | None = None,
    size: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Iterator[WeightsRun]:
    """Synthesise from every exemplar with every kind of weights, and measure the results.

    Parameters
    ----------
    exemplars : sequence of path, PIL image, or array
    content : path, PIL image, or array, optional
        For style transfers.
    size : int, optional
        Pixels on a side of the outputs; by default the exemplars' own sizes.
    seed, threads
        As in `pyengine.synthesize`.

    Yields
    ------
    WeightsRun
        At once when it is done: exemplar by exemplar, all weights for each.

    Raises
    ------
    PyengineError
        Input that can't be used; before the first synthesis.

    Examples
    --------
    >>> next(schemes([]), None) is None
    True
    """
    shown = None if content is None else load(content, "content")
    recipes = []  # all of them first: what is wrong with one would end a long run
    for k, exemplar in enumerate(exemplars):
        image = load(exemplar)
        for scheme, weights in SCHEMES.items():
            if shown is None and isinstance(weights, dict):
                weights = {term: weight for term, weight in weights.items() if term != "content"}
            recipe = Recipe.create(image, content=shown, size=size, seed=seed, weights=weights)
            recipes.append((k, scheme, recipe))
    with Engine(threads=threads) as engine:
        for k, scheme, recipe in recipes:
            result = engine.run(recipe)
            found = compare(recipe.level.exemplars[0].image, result.image)
            similarity = None if shown is None else layout_similarity(shown, load(result.image))
            yield WeightsRun(k, scheme, found.patch_distance, found.brightness_drift, found.contrast_drift, similarity)
