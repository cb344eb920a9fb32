"""One run of a recipe: measure, optimise and enlarge, from the coarsest level to the finest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.images.color import with_colors_of
from pyengine.images.masks import Flags
from pyengine.level import Level
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import REFRESHED_AFTER, threshold_weights
from pyengine.measuring import measure
from pyengine.memory import Plan
from pyengine.network.graphs import Padding
from pyengine.network.pool import NetworkPool
from pyengine.objective import Objective
from pyengine.optimizers.lbfgs import minimize
from pyengine.patches import lay_out
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import Recipe
from pyengine.result import Iteration, Progress
from pyengine.stopwatch import Stopwatch

LOGGER = logging.getLogger(__name__)

Callback = Callable[[Progress], None]


class Synthesis:
    """A run of a recipe, to be run once.

    Parameters
    ----------
    recipe : Recipe
        What to make.
    losses : LossOptions
        The recipe's, on the pool's architecture.
    plans : list of Plan
        How each level is evaluated and optimised in the memory there is.
    pool : NetworkPool
        Lends networks; its kernels must be active.
    callback : callable or None
        See `Engine.run`.

    Attributes
    ----------
    history : list of Iteration
        The iterations so far.
    stopped : bool
        Whether the callback ended the run.
    """

    def __init__(
        self,
        recipe: Recipe,
        losses: LossOptions,
        plans: list[Plan],
        pool: NetworkPool,
        callback: Callback | None,
    ) -> None:
        self.history: list[Iteration] = []
        self.stopped = False
        self._recipe = recipe
        self._losses = losses
        self._plans = plans
        self._pool = pool
        self._kernels = pool.kernels
        self._callback = callback
        self._watch = Stopwatch(self._kernels)
        self._generator = np.random.default_rng(recipe.seed)
        self._start = time.perf_counter()
        self._made: Flags | None = None

    @property
    def timings(self) -> dict[str, float]:
        """See `Result.timings`."""
        return {**self._watch.seconds, "total": time.perf_counter() - self._start}

    def run(self) -> Float32:
        """Make the picture, float32 (H, W, 3)."""
        image: Float32 | None = None
        for k in range(len(self._recipe.sizes)):
            level = self._recipe.at(k)
            image = self._begin(level, image)
            if self._made is not None:
                level = level.made_where(self._made)
            image = level.keep(image)
            if not self.stopped and self._recipe.iterations[k]:
                image = self._run_level(k, level, image)
        assert image is not None
        if self._recipe.colors is not None:
            image = with_colors_of(image, self._recipe.colors)
        return image

    def _begin(self, level: Level, coarser: Float32 | None) -> Float32:
        """What a level starts from: noise, the picture that is given, or the coarser level's."""
        if coarser is None:
            if level.init is not None:
                return level.init.copy()
            if self._recipe.start == "noise":
                return white_noise(level, self._generator)
            with self._watch("start"):
                layout = lay_out(level, self._generator, self._kernels)
            self._made = layout.made
            return layout.image
        self._pool.drop_tiled()
        image: Float32 = self._kernels.download(
            self._kernels.upsample(self._kernels.upload(coarser), level.size, wrap=level.wrap)
        )
        return image if self.stopped else add_detail(image, level, self._generator)

    def _run_level(self, k: int, level: Level, image: Float32) -> Float32:
        """Measure the exemplars at a level's scale, and optimise."""
        plan, sizes = self._plans[k], self._recipe.sizes
        LOGGER.info("level %d/%d, %dx%d pixels: %s", k + 1, len(sizes), *level.size, plan)
        # An exemplar does not tile: wrapped round, its border would be an edge, and edges would be made of it.
        padding: Padding = "reflect" if self._losses.padding == "wrap" else self._losses.padding
        with self._watch("measure"):
            objective = measure(level, self._losses, self._pool, lambda _: plan, padding)
        with self._watch("optimizer"):
            image = self._optimize(k, level, objective, image)
        for stage, seconds in objective.stopwatch.seconds.items():
            self._watch.seconds[stage] += seconds
            self._watch.seconds["optimizer"] -= seconds
        return image

    def _optimize(self, k: int, level: Level, objective: Objective, start: Float32) -> Float32:
        """Optimise the image of a level; `stopped` says afterwards whether the callback has ended the run."""
        by_thresholds = self._losses.weights == "thresholds"
        planned = self._recipe.iterations[k]
        renewals = REFRESHED_AFTER if by_thresholds else (0,)
        after_iteration = self._observer(k, objective)
        with objective.evaluator(start.shape[:2]) as evaluator:  # one serves the whole level

            def function(pixels: Float32) -> tuple[Float64, Float32]:
                return objective.evaluate(pixels, evaluator)

            image = self._kernels.upload(start)
            for begin, end in pairwise((*(n for n in renewals if n < planned), planned)):
                if by_thresholds:
                    sizes = objective.gradient_sizes(image, evaluator)
                    objective.weights = threshold_weights(objective.losses, sizes, objective.factors)
                image = minimize(
                    function,
                    image,
                    end - begin,
                    self._kernels,
                    after_iteration,
                    level.free,
                    spill=self._plans[k].spill,
                )
                if self.stopped:
                    break
        optimised: Float32 = self._kernels.download(image)
        return optimised

    def _observer(self, k: int, objective: Objective) -> Callable[[Float32, list[float]], None]:
        """What follows each iteration of a level: it is noted, and the callback is asked whether to go on."""
        done = 0

        def after_iteration(pixels: Float32, terms: list[float]) -> None:
            nonlocal done
            done += 1

            def state() -> Iteration:
                named = dict(zip(objective.names, terms, strict=True))
                return Iteration(k, done, sum(terms), named, dict(objective.weights))

            self.history.append(state())
            if self._callback is None:
                return
            # What it is given is its own: it may write to it.
            progress = Progress(state(), self._recipe, np.array(self._kernels.download(pixels)))
            try:
                self._callback(progress)
            except StopIteration:  # SciPy's callbacks end a run so
                progress.stop()
            self.stopped = progress.stopped
            if self.stopped:
                raise StopIteration

        return after_iteration
