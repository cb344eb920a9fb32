"""One run of a recipe: measure, optimise and enlarge, from the coarsest level to the finest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.checkpoint import Checkpoint, Moment
from pyengine.images.color import with_colors_of, without_cast
from pyengine.images.masks import Flags
from pyengine.level import Level
from pyengine.losses.options import LossOptions
from pyengine.losses.weighting import REFRESHED_AFTER, threshold_weights
from pyengine.maps import PICTURE
from pyengine.measuring import measure
from pyengine.memory import Plan
from pyengine.network.pool import NetworkPool
from pyengine.objective import Objective
from pyengine.optimizers.lbfgs import Descent
from pyengine.patches import lay_out
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import Recipe
from pyengine.result import Iteration, Progress, Result
from pyengine.stopwatch import Stopwatch

LOGGER = logging.getLogger(__name__)

FULL = 0.9
"""The span of values from which on pictures are taken as they are. Of less, they are stretched to all there is while an
output is made: the network knows pictures of usual contrast, and sees little in others."""

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
    made_with : dict of str to str
        See `Result`.
    callback : callable or None
        See `Engine.run`.
    checkpoint : Checkpoint or None
        Where the run is kept, and gone on from if it is there.
    """

    def __init__(
        self,
        recipe: Recipe,
        losses: LossOptions,
        plans: list[Plan],
        pool: NetworkPool,
        made_with: dict[str, str],
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._recipe = recipe
        self._losses = losses
        self._plans = plans
        self._pool = pool
        self._kernels = pool.kernels
        self._made_with = made_with
        self._callback = callback
        self._checkpoint = checkpoint
        self._watch = Stopwatch(self._kernels)
        self._generator = np.random.default_rng(recipe.seed)
        self._start = time.perf_counter()
        self._history: list[Iteration] = []
        self._made: Flags | None = None
        self._used: tuple[Float32, ...] = ()
        self._stopped = False
        self._grey = recipe.level.grey
        low, width = recipe.level.span
        narrow = (width > 0) & (width < FULL)
        self._span = (np.where(narrow, low, 0), np.where(narrow, width, 1)) if narrow.any() else None

    def run(self) -> Result:
        """Make the picture."""
        begun = None if self._checkpoint is None else self._checkpoint.read()
        if begun is None:
            image = self._begin()
        else:
            LOGGER.info("going on at level %d/%d", begun.level + 1, len(self._recipe.sizes))
            self._history, self._made, self._used = begun.history, begun.made, begun.used
            self._generator.bit_generator.state = begun.generator
            width, height = self._recipe.sizes[begun.level]
            image = np.zeros((height, width, self._recipe.level.channels), np.float32)  # it is among the vectors
        first = 0 if begun is None else begun.level
        for k in range(first, len(self._recipe.sizes)):
            level = self._stretched(self._level(k))
            if k > first:
                self._pool.drop_tiled()
                image = add_detail(self._enlarged(image, level), level, self._generator)
            image = level.keep(self._greyed(image))
            if self._recipe.iterations[k]:
                image = self._run_level(k, level, image, begun if k == first else None)
            if self._stopped:
                break
        return self._result(k, self._natural(image), self._history, stopped=self._stopped)

    def _begin(self) -> Float32:
        """What the coarsest level starts from: the picture that is given, noise, or a layout."""
        level = self._stretched(self._level(0))
        if level.init is not None:
            return level.init.copy()
        if self._recipe.start == "noise":
            return white_noise(level, self._generator)
        with self._watch("start"):
            layout = lay_out(level, self._generator, self._kernels)
        self._made, self._used = layout.made, layout.used
        return layout.image

    def _greyed(self, image: Float32) -> Float32:
        """An image or a gradient with the mean of its channels in each of them, if the output is to be grey."""
        if self._grey:
            image[...] = image.mean(axis=2, keepdims=True)
        return image

    def _level(self, k: int) -> Level:
        level = self._recipe.at(k)
        return level if self._made is None else level.made_where(self._made)

    def _stretched(self, level: Level) -> Level:
        return level if self._span is None else level.stretched(*self._span)

    def _natural(self, image: Float32) -> Float32:
        """An image as it is where nothing is stretched."""
        if self._span is None:
            return image
        low, width = self._span
        return image * width + low

    def _enlarged(self, image: Float32, level: Level) -> Float32:
        enlarged = self._kernels.upsample(self._kernels.upload(image), level.size, wrap=level.wrap)
        return np.asarray(self._kernels.download(enlarged))

    def _result(self, k: int, image: Float32, history: list[Iteration], *, stopped: bool) -> Result:
        """What comes of the natural image of a level without any more iterations."""
        if self._span is not None:
            image = self._level(k).keep(image)  # to the last bit
        for finer in range(k + 1, len(self._recipe.sizes)):
            level = self._level(finer)
            image = level.keep(self._enlarged(image, level))
        colors = self._recipe.colors
        if colors is not None and self._recipe.preserve_color == "luminance":
            image = with_colors_of(image, colors)
        elif colors is not None and not self._grey:
            image = self._level(len(self._recipe.sizes) - 1).keep(without_cast(image, colors))
        if self._recipe.level.maps != PICTURE:
            image = self._level(len(self._recipe.sizes) - 1).keep(self._recipe.within_limits(image))
        if self._recipe.palette is not None:
            image = self._recipe.palette.applied(image, self._level(len(self._recipe.sizes) - 1), self._kernels)
        if self._recipe.frame is not None:
            image = self._recipe.frame.around(image)
        timings = {**self._watch.seconds, "total": time.perf_counter() - self._start}
        return Result(self._recipe.finished(image), history, timings, self._recipe, stopped, self._made_with)

    def _run_level(self, k: int, level: Level, image: Float32, begun: Moment | None) -> Float32:
        """Measure the exemplars at a level's scale, and optimise."""
        plan, sizes = self._plans[k], self._recipe.sizes
        LOGGER.info("level %d/%d, %dx%d pixels: %s", k + 1, len(sizes), *level.size, plan)
        if self._used:
            level = level.used_as(self._used)
        with self._watch("measure"):
            objective = measure(level, self._losses, self._pool, lambda _: plan, self._losses.exemplar_padding)
        with self._watch("optimizer"):
            image = self._optimize(k, level, objective, image, begun)
        for stage, seconds in objective.stopwatch.seconds.items():
            self._watch.seconds[stage] += seconds
            self._watch.seconds["optimizer"] -= seconds
        return image

    def _optimize(self, k: int, level: Level, objective: Objective, start: Float32, begun: Moment | None) -> Float32:
        """Optimise the image of a level; `begun` is where in it to go on, and None at its begin."""
        if begun and self._checkpoint and [*self._history[-1].terms] != [*objective.names]:
            raise self._checkpoint.damaged("terms that the level does not have")
        planned, spill = self._recipe.iterations[k], self._plans[k].spill
        by_thresholds = self._losses.weights == "thresholds"
        renewals = REFRESHED_AFTER if by_thresholds else (0,)
        stretches = [end - begin for begin, end in pairwise((*(n for n in renewals if n < planned), planned))]
        with objective.evaluator(start.shape[:2]) as evaluator:  # one serves the whole level

            def function(pixels: Float32) -> tuple[Float64, Float32]:
                terms, gradient = objective.evaluate(pixels, evaluator)
                return terms, self._greyed(gradient)

            image = self._kernels.upload(start)
            for stretch in range(begun.stretch if begun else 0, len(stretches)):
                done, state = (begun.done, begun.optimizer) if begun else (0, None)
                if begun:
                    objective.weights = self._history[-1].weights
                elif by_thresholds:
                    sizes = objective.gradient_sizes(image, evaluator)
                    objective.weights = threshold_weights(objective.losses, sizes, objective.factors)
                begun = None
                descent = Descent(function, image, self._kernels, level.free, spill=spill, state=state)
                while not self._stopped and done < stretches[stretch] and descent.step():
                    done += 1
                    self._note(k, objective, descent)
                    if self._checkpoint and (self._stopped or self._checkpoint.is_due()):
                        with objective.stopwatch("checkpoint"):
                            self._checkpoint.write(self._moment(k, stretch, done, descent))
                if self._stopped:
                    break
        optimised: Float32 = self._kernels.download(image)
        return optimised

    def _note(self, k: int, objective: Objective, descent: Descent) -> None:
        """Note an iteration, and ask the callback whether to go on."""
        last = self._history[-1] if self._history else None
        done = last.iteration + 1 if last and last.level == k else 1

        def iteration() -> Iteration:
            named = dict(zip(objective.names, descent.terms, strict=True))
            return Iteration(k, done, sum(descent.terms), named, dict(objective.weights))

        self._history.append(iteration())
        if self._callback is None:
            return
        count = len(self._history)

        def result(progress: Progress) -> Result:
            with self._kernels.active():
                return self._result(k, progress.pixels, self._history[:count], stopped=True)

        # What it is given is its own: it may write to it.
        pixels = np.array(self._natural(self._kernels.download(descent.image)))
        progress = Progress(iteration(), self._recipe, pixels, result)
        try:
            self._callback(progress)
        except StopIteration:  # SciPy's callbacks end a run so
            progress.stop()
        self._stopped = progress.stopped

    def _moment(self, k: int, stretch: int, done: int, descent: Descent) -> Moment:
        generator = self._generator.bit_generator.state
        return Moment(k, stretch, done, generator, self._made, self._used, self._history, descent.state)
