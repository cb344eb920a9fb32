"""What the automatic weights are worth: against the paper's thresholds, and against numbers that stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyengine.engine import Engine
from pyengine.images.reading import Source, load
from pyengine.losses.options import Weights
from pyengine.quality.distributions import drift, patch_distance
from pyengine.quality.layouts import layout_similarity
from pyengine.recipe import Recipe

SCHEMES: dict[str, Weights] = {
    "auto": "auto",
    "thresholds": "thresholds",
    "gram 1, histogram 1e4": {"gram": 1.0, "histogram": 1e4, "content": 1e4},
    "gram 100:1:1:1, histogram 1e5": {"gram/relu1_1": 1e2, "gram": 1.0, "histogram": 1e5, "content": 1e4},
}
"""The weights to compare: automatic ones, the paper's, and numbers that fit natural images of average contrast."""


@dataclass(frozen=True)
class WeightsRun:
    """One synthesis of `schemes`, and its figures.

    Attributes
    ----------
    exemplar : int
        The exemplar's number, from 0.
    scheme : str
        A key of `SCHEMES`.
    patch_distance, brightness_drift, contrast_drift : float
        See `pyengine.Comparison`.
    layout_similarity : float or None
        How much of the content's layout is left, at most 1, if there is a content.
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
        The pictures to look like.
    content : path, PIL image, or array, optional
        The picture that style transfers show. Default: None, textures are made.
    size : int, optional
        Pixels on a side of the outputs. Default: None, the exemplars' own sizes, or the content's.
    seed : int
        See `pyengine.synthesize`. Default: 0.
    threads : int, optional
        See `Engine`. Default: None.

    Yields
    ------
    WeightsRun
        One for each exemplar and kind of weights in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Before the first synthesis: input that can't be used.

    Examples
    --------
    >>> next(schemes([]), None) is None
    True
    """
    shown = None if content is None else load(content, "content")
    recipes = []  # all are made first: what is wrong with one would end a long run
    for k, exemplar in enumerate(exemplars):
        image = load(exemplar)
        for scheme, weights in SCHEMES.items():
            if shown is None and isinstance(weights, dict):
                weights = {term: weight for term, weight in weights.items() if term != "content"}
            recipe = Recipe.create(image, content=shown, size=size, seed=seed, start="noise", weights=weights)
            recipes.append((k, scheme, recipe))
    with Engine(threads=threads) as engine:
        for k, scheme, recipe in recipes:
            expected, found = recipe.level.exemplars[0].image, load(engine.run(recipe).image)
            similarity = None if shown is None else layout_similarity(shown, found)
            yield WeightsRun(k, scheme, patch_distance(expected, found), *drift(expected, found), similarity)
