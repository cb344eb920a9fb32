"""What histograms buy: the drift of Gram matrices alone at larger outputs, and the iterations they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pyengine.arrays import Float32
from pyengine.bench import load_torch_baseline
from pyengine.checks import is_integer
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.figures import label_by_size, new_figure, pixels_of
from pyengine.images.reading import Source, load
from pyengine.images.writing import ByteImage, to_uint8
from pyengine.methods import Method
from pyengine.network.graphs import LEAST_SIDE
from pyengine.quality import distributions
from pyengine.quality.distributions import patch_distance
from pyengine.recipe import Recipe
from pyengine.result import Progress

COMPARED: tuple[Method, ...] = ("gatys", "histogram")
"""The methods, in the order of their years."""

BASELINE_ITERATIONS = 500
"""How many iterations the Gatys baseline gets, before its quality is measured."""


@dataclass(frozen=True)
class DriftRun:
    """One synthesis of `drift`, and its figures.

    Attributes
    ----------
    method : {"gatys", "histogram"}
        The method of the synthesis.
    size : int
        Pixels on a side of the output.
    patch_distance, brightness_drift, contrast_drift : float
        See `pyengine.Comparison`.
    iterations : int
        How many iterations all levels had together.
    seconds : float
        Time of the synthesis.
    """

    method: Method
    size: int
    patch_distance: float
    brightness_drift: float
    contrast_drift: float
    iterations: int
    seconds: float


def drift(
    exemplar: Source,
    sizes: Sequence[int],
    *,
    crop: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Iterator[DriftRun]:
    """Synthesise at growing sizes with and without histograms, and measure how brightness and contrast wander.

    It shows the instability of Gram matrices alone (Risser et al., sec. 4.2): the larger the output against the
    exemplar, the more ways there are to have the right sums with the wrong values.

    Parameters
    ----------
    exemplar : path, PIL image, or array
        The picture to look like.
    sizes : sequence of int
        Pixels on a side of the outputs, which are square.
    crop : int, optional
        Use only so many pixels on a side of the exemplar, at its top left, so that an output several times larger is
        affordable. Default: None, all of it.
    iterations : int, optional
        How many iterations every level gets. Default: None, the method's own.
    seed : int
        See `pyengine.synthesize`. Default: 0.
    threads : int, optional
        See `Engine`. Default: None.

    Yields
    ------
    DriftRun
        One for each size and method in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Before the first synthesis: input that can't be used.

    Examples
    --------
    >>> list(drift(np.eye(32), [48], crop=64))
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: crop=64: give 16 to 32, as the exemplar is of 32x32 pixels
    """
    image = _cropped(load(exemplar), crop)
    recipes = [  # all are made first: what is wrong with one would end a long run
        (method, size, Recipe.create(image, size=size, seed=seed, start="noise", method=method, iterations=iterations))
        for size in sizes
        for method in COMPARED
    ]
    with Engine(threads=threads) as engine:
        for method, size, recipe in recipes:
            start = time.perf_counter()
            result = engine.run(recipe)
            seconds = time.perf_counter() - start
            found = load(result.image)
            brightness, contrast = distributions.drift(image, found)
            distance = patch_distance(image, found)
            yield DriftRun(method, size, distance, brightness, contrast, len(result.history), seconds)


def _cropped(image: Float32, crop: int | None) -> Float32:
    if crop is None:
        return image
    height, width = image.shape[:2]
    if not is_integer(crop) or not LEAST_SIDE <= crop <= min(height, width):
        most = min(height, width)
        raise PyengineError(
            f"crop={crop!r}: give {LEAST_SIDE} to {most}, as the exemplar is of {width}x{height} pixels"
        )
    return np.ascontiguousarray(image[:crop, :crop])


def plot(runs: Sequence[DriftRun]) -> ByteImage:
    """Draw drift against output size, for both methods: brightness on the left, contrast on the right.

    Parameters
    ----------
    runs : sequence of DriftRun
        The syntheses, in any order.

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    PyengineError
        There is no matplotlib.
    """
    figure = new_figure(9, 3.6)
    for panel, kind in zip(figure.subplots(1, 2, sharex=True), ("brightness", "contrast"), strict=True):
        for method, style in zip(COMPARED, ("o--", "s-"), strict=True):
            points = sorted((run.size, getattr(run, f"{kind}_drift")) for run in runs if run.method == method)
            panel.plot([x for x, _ in points], [y for _, y in points], style, label=method)
        label_by_size(panel, [run.size for run in runs], f"{kind} drift, levels of 255")
    return pixels_of(figure)


@dataclass(frozen=True)
class Convergence:
    """What the Gatys baseline reaches, and what it takes the default method to reach the same.

    Iterations in units of the full size are those of each level times its share of the output's pixels: about what they
    cost. Ratios are the baseline's to ours. What counts iterations of ours, and the ratios, is None where the default
    method ended before it was as good.

    Attributes
    ----------
    size : (width, height)
        The output's size in pixels.
    baseline_distance : float
        Patch distance of the baseline's result.
    baseline_iterations : int
        How many iterations the baseline had, all of the full size.
    baseline_seconds : float
        Time of the baseline.
    best_distance : float
        The least patch distance of ours: where the baseline's is reached, the first that is not above it.
    iterations, finest_iterations : int or None
        How many iterations ours had, at all levels and at the finest.
    full_size_iterations : float or None
        Our iterations of all levels, in units of the full size.
    seconds : float
        Our time, up to there or to the end, without what measuring the distance took.
    iterations_ratio, full_size_ratio, seconds_ratio : float or None
        The baseline's iterations to ours, to ours in units of the full size, and its seconds to ours.
    """

    size: tuple[int, int]
    baseline_distance: float
    baseline_iterations: int
    baseline_seconds: float
    best_distance: float
    iterations: int | None
    finest_iterations: int | None
    full_size_iterations: float | None
    seconds: float
    iterations_ratio: float | None
    full_size_ratio: float | None
    seconds_ratio: float | None

    @property
    def reached(self) -> bool:
        """Whether the default method got as near as the baseline."""
        return self.iterations is not None


def convergence(
    exemplars: Sequence[Source],
    *,
    size: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    baseline_iterations: int = BASELINE_ITERATIONS,
    against: str | None = None,
) -> Iterator[Convergence]:
    """Count the iterations that the default method needs to be as good as the Gatys baseline, by patch distance.

    The distance is measured after every iteration of the finest level; the run is stopped as soon as it is not above
    the baseline's.

    Parameters
    ----------
    exemplars : sequence of path, PIL image, or array
        The pictures to look like.
    size : int, optional
        Pixels on a side of the outputs. Default: None, the exemplars' own sizes.
    seed : int
        See `pyengine.synthesize`. Default: 0.
    threads : int, optional
        See `Engine`. Default: None.
    baseline_iterations : int
        How many iterations the baseline gets. Default: 500.
    against : {"torch"}, optional
        Let the baseline be the same method written plainly in PyTorch. Default: None, our own.

    Yields
    ------
    Convergence
        One for each exemplar in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Before the first synthesis: input that can't be used.

    Examples
    --------
    >>> list(convergence([np.eye(8)]))
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: exemplar of 8x8 pixels: both sides must be at least 16; enlarge it first
    """
    recipes = [Recipe.create(load(exemplar), size=size, seed=seed, start="noise") for exemplar in exemplars]
    baselines = [
        Recipe.create(load(exemplar), size=size, seed=seed, method="gatys", iterations=baseline_iterations)
        for exemplar in exemplars
    ]
    if against:
        load_torch_baseline()  # raises now what it would raise after the first run
    baseline = _torch_texture if against else _own_texture
    with Engine(threads=threads) as engine:
        for recipe, against_it in zip(recipes, baselines, strict=True):
            yield _converge(engine, recipe, partial(baseline, engine, against_it))


def _own_texture(engine: Engine, recipe: Recipe) -> tuple[ByteImage, int]:
    result = engine.run(recipe)
    return result.image, len(result.history)


def _torch_texture(engine: Engine, recipe: Recipe) -> tuple[ByteImage, int]:
    image, done = load_torch_baseline().texture(recipe, engine.model, engine.threads)
    return to_uint8(image), done


def _converge(engine: Engine, recipe: Recipe, baseline: Callable[[], tuple[ByteImage, int]]) -> Convergence:
    exemplar = recipe.level.exemplars[0].image
    start = time.perf_counter()
    image, baseline_iterations = baseline()
    baseline_seconds = time.perf_counter() - start
    target = patch_distance(exemplar, load(image))
    distances: list[float] = []
    measuring = 0.0

    def measure(progress: Progress) -> None:
        nonlocal measuring
        if progress.state.level < len(progress.recipe.sizes) - 1:
            return
        begin = time.perf_counter()
        # The image is rounded to 8 bits, as the baseline's result is.
        distances.append(patch_distance(exemplar, load(progress.image)))
        if distances[-1] <= target:
            progress.stop()
        measuring += time.perf_counter() - begin

    start = time.perf_counter()
    result = engine.run(recipe, measure)
    seconds = time.perf_counter() - start - measuring
    if not distances:  # there was nothing to optimise, as where the exemplar is of one colour
        distances.append(patch_distance(exemplar, load(result.image)))
    *_, (width, height) = sizes = result.recipe.sizes
    reached = min(distances) <= target
    levels = [state.level for state in result.history]
    iterations = len(levels) if reached else None
    full_size = sum(sizes[level][0] * sizes[level][1] for level in levels) / (width * height) if reached else None
    return Convergence(
        size=(width, height),
        baseline_distance=target,
        baseline_iterations=baseline_iterations,
        baseline_seconds=baseline_seconds,
        best_distance=min(distances),
        iterations=iterations,
        finest_iterations=levels.count(len(sizes) - 1) if reached else None,
        full_size_iterations=full_size,
        seconds=seconds,
        iterations_ratio=baseline_iterations / iterations if iterations else None,
        full_size_ratio=baseline_iterations / full_size if full_size else None,
        seconds_ratio=baseline_seconds / seconds if reached else None,
    )
