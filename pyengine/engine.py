"""The engine: owns what is expensive to make, and lends it to the runs of recipes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, get_args

from pyengine.checkpoint import Checkpoint, described_run
from pyengine.checks import check_choice, is_integer, names_checked
from pyengine.devices import Precision, choose, gpus, warn_once
from pyengine.errors import PyengineError, in_short
from pyengine.inspection import hint
from pyengine.losses.options import LossOptions
from pyengine.machine import SHARE, cores, default_threads, reading_within
from pyengine.measuring import measure
from pyengine.memory import Budget, Plan, check_spilling, level_demand
from pyengine.network.modelfile import described, load
from pyengine.network.network import ModelSessions
from pyengine.network.pool import NetworkPool
from pyengine.objective import Objective
from pyengine.pictures import PictureSource
from pyengine.recipe import Options, Recipe, takes_options
from pyengine.result import Progress, Result
from pyengine.synthesis import Synthesis

if TYPE_CHECKING:
    from typing_extensions import Unpack

LOGGER = logging.getLogger(__name__)

MOST_THREADS = 1024


class Engine:
    """Network, kernels and threads, ready for any number of syntheses.

    An engine may be used from several threads at once: each run gets the result that it would get alone. Runs with the
    same arguments on the same machine give the same bits, whatever `threads` is for the losses' kernels, and as far as
    ONNX Runtime's convolutions do not depend on it.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1"}
        Where to compute. "auto" is the first GPU if it works, else the CPU; "tensorrt" is a GPU with TensorRT for the
        network. On a GPU, one run follows the other, whatever thread it is asked for from. Default: "auto".
    model : str or path
        A name that `pyengine models list` shows, or a file that `pyengine models import` wrote. Default: "vgg16".
    threads : int, optional
        Threads for the network and the losses' kernels on a CPU, 1 to 1024, but no more than there are cores that this
        process may use, by its affinity and its container's quota. Default: None, one for each of these cores, or
        OMP_NUM_THREADS where that is less.
    precision : {"float32", "tf32", "float16"}, optional
        What the network's convolutions are computed in. All else is float32 and float64, but that TF32 goes for the
        Gram losses' products too. Default: None, float32 on a CPU, which has no other, and TF32 on a GPU.
    memory_limit : int, optional
        Bytes that a run may take. An image that does not fit is evaluated in tiles, with the same result up to
        rounding. Default: None, 0.8 of what the machine, the container or `ulimit -v` allows, or of what a GPU has left
        at the start.

    Raises
    ------
    PyengineError
        An unknown device, model or precision, a device that does not work, a bad number of threads, or no ONNX Runtime.

    Examples
    --------
    >>> import numpy as np
    >>> exemplar = np.random.default_rng(0).random((32, 32, 3))
    >>> with Engine(threads=1) as engine:
    ...     result = engine.synthesize(exemplar, iterations=2, size=(64, 48))
    >>> result.image.shape, result.image.dtype
    ((48, 64, 3), dtype('uint8'))
    """

    @names_checked
    def __init__(
        self,
        device: str = "auto",
        model: str | os.PathLike[str] = "vgg16",
        threads: int | None = None,
        precision: Precision | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if memory_limit is not None and not (is_integer(memory_limit) and memory_limit > 0):
            raise PyengineError(
                f"memory_limit={in_short(memory_limit)}: give a whole number of bytes, such as 3_000_000_000"
            )
        if threads is None:
            threads = default_threads()
        elif not is_integer(threads) or not 1 <= threads <= MOST_THREADS:
            raise PyengineError(f"threads={in_short(threads)}: give a whole number from 1 to {MOST_THREADS}")
        elif threads > cores():  # more would only get in each other's way
            warn_once(f"threads={threads} are more than the cores that this process may use: computing with {cores()}")
            threads = cores()
        if not isinstance(model, (str, os.PathLike)):
            raise PyengineError(
                f"model={in_short(model)}: give a name that `pyengine models list` shows, or a file's path"
            )
        if precision is not None:
            check_choice("precision", precision, get_args(Precision))
        self.device = choose(device)
        self.precision = self.device.precision(precision)
        self.threads = int(threads)
        self.model = load(model)
        if self.precision == "float16":
            self.model.check_half()
        self.kernels = self.device.kernels(self.threads, self.precision)
        self.pool = NetworkPool(self._new_sessions)
        free = self.kernels.free_bytes()
        self.budget = Budget(
            min(int(memory_limit), sys.maxsize) if memory_limit else float("inf") if free is None else SHARE * free,
            self.model.architecture,
            self.pool.alignment,
            on_cpu=self.device.kind == "cpu",
        )
        LOGGER.info("device %s: %s; %d threads, %s", self.device, self.device.reason, self.threads, self.precision)
        LOGGER.info("model %s: %s", self.model.name, described(self.model.origin))
        LOGGER.info("memory: %.1f GB may be used", self.budget.limit / 1e9)

    def _new_sessions(self) -> ModelSessions:
        """The model's sessions, none of them made yet."""
        provider = self.device.provider(self.kernels, self.precision)
        half = self.precision == "float16"
        return ModelSessions(self.model, self.kernels, provider, threads=self.threads, half=half)

    def _on_model(self, losses: LossOptions) -> LossOptions:
        """Losses on the model's layers, which must be there."""
        return losses.on(self.model.architecture, f"model {self.model.name!r}")

    def close(self) -> None:
        """Free the networks that are kept for reuse, and their memory. The engine can still be used."""
        self.pool.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @names_checked
    def run(
        self,
        recipe: Recipe,
        callback: Callable[[Progress], None] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float | None = None,
    ) -> Result:
        """Make what a recipe describes.

        Parameters
        ----------
        recipe : Recipe
            What `Recipe.create` or `Recipe.from_json` made; it may be run again, by any engine.
        callback : callable, optional
            Called with a `Progress` after each iteration, in the thread that called `run`; `Progress.stop` ends the run
            and keeps the image. It may use the engine itself, and change what it is given without any effect. What it
            raises ends the run and comes out of `run` as it is; the engine can still be used. Default: None, nobody is
            asked.
        checkpoint : str or path, optional
            A file in which the run is kept from time to time, and when it is stopped. If the file is there, the run
            goes on from it, to the same bits as without a break; one of another run is refused. It stays when the run
            is done: remove it once the result is saved. Default: None, nothing is kept.
        checkpoint_every : float, optional
            Seconds from one checkpoint to the next; 0 is one after each iteration. Default: None, 60, or more where
            writing one takes more than a fiftieth of that.

        Returns
        -------
        Result
            The image, how it came about, and the recipe to make it again.

        Raises
        ------
        PyengineError
            Before the work begins: a layer that the model does not have, a size that memory can't hold, or a checkpoint
            of another run.

        Examples
        --------
        >>> import numpy as np
        >>> recipe = Recipe.create(np.eye(20), iterations=1)
        >>> with Engine(threads=1) as engine:
        ...     results = [engine.run(recipe) for _ in range(2)]
        >>> bool((results[0].image == results[1].image).all())
        True
        """
        if not isinstance(recipe, Recipe):
            raise PyengineError(f"recipe, a {type(recipe).__name__}: give what Recipe.create or from_json makes")
        if callback is not None and not callable(callback):
            raise PyengineError(f"callback={in_short(callback)}: give a function that takes a Progress")
        recipe = recipe.focused()
        losses = self._on_model(recipe.losses)
        plans = self.budget.plans(recipe, losses)
        check_spilling(recipe.sizes, plans)
        if LOGGER.isEnabledFor(logging.INFO):
            advice = hint(recipe)
            if advice is not None:
                LOGGER.info("%s", advice)
        made_with = {
            "model": self.model.name,
            "sha256": self.model.sha256,
            "device": self.device.kind,
            "precision": self.precision,
        }
        kept = None
        if checkpoint is not None:
            gpu = None if self.device.kind == "cpu" else gpus()[self.device.index]["name"]
            engine = {**made_with, "gpu": gpu, "threads": self.threads, "memory_limit": self.budget.limit}
            kept = Checkpoint(checkpoint, checkpoint_every, recipe, described_run(recipe, plans, engine))
        elif checkpoint_every is not None:
            raise PyengineError("checkpoint_every without checkpoint: give the file")
        with self.kernels.active():
            return Synthesis(recipe, losses, plans, self.pool, made_with, callback, kept).run()

    @names_checked
    @takes_options
    def synthesize(
        self,
        exemplar: PictureSource | None = None,
        *,
        callback: Callable[[Progress], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Synthesise an image; see `pyengine.synthesize`, which has the same arguments.

        Examples
        --------
        >>> import numpy as np
        >>> with Engine(threads=1) as engine:
        ...     results = [engine.synthesize(np.eye(20), seed=seed, iterations=1) for seed in (1, 2)]
        >>> results[0].image.shape
        (20, 20, 3)
        """
        recipe = self._read(exemplar, options)
        return self.run(recipe, callback, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _read(self, exemplar: PictureSource | None, options: Options) -> Recipe:
        """Make a recipe of pictures that fit into the memory there is."""
        with reading_within(self.budget.limit if self.device.kind == "cpu" else None):
            return Recipe.create(exemplar, **options)

    @names_checked
    def plans(self, recipe: Recipe) -> list[Plan]:
        """How each level of a synthesis is evaluated in the memory there is, coarsest first: whole or in tiles.

        Raises
        ------
        PyengineError
            A level does not fit.

        Examples
        --------
        >>> import numpy as np
        >>> recipe = Recipe.create(np.zeros((64, 64, 3), np.float32), size=2048)
        >>> with Engine(threads=1, device="cpu", memory_limit=3 * 10**9) as engine:
        ...     print(engine.plans(recipe)[-1])
        tiles of 1... pixels, the optimiser's state in a file
        """
        return self.budget.plans(recipe.focused(), self._on_model(recipe.losses))

    @names_checked
    def needed_bytes(self, recipe: Recipe) -> int:
        """Bytes of memory that a synthesis takes, of the whole process on a CPU; the errors are those of `plans`.

        Examples
        --------
        >>> import numpy as np
        >>> with Engine(threads=1, device="cpu") as engine:
        ...     small, large = (engine.needed_bytes(Recipe.create(np.eye(64), size=size)) for size in (64, 512))
        >>> 4e8 < small < large < 1.2e9
        True
        """
        return self.budget.needed(recipe.focused(), self._on_model(recipe.losses))

    @names_checked
    @takes_options
    def objective(self, exemplar: PictureSource | None = None, **options: Unpack[Options]) -> Objective:
        """The paper's objective as a function of an image, for an optimiser of your own.

        ``sum_l alpha_l ||G(O_l) - G(S_l)||_F^2 / |G_l| + gamma_l ||O_l - R(O_l)||_F^2 / |O_l| + beta_l ||O_l -
        C_l||_F^2 / |O_l|`` (Risser et al., eq. 1, 4, 8 and sec. 4.3), on feature maps of the network's own scale:
        0..255 in VGG's case. The exemplar is measured as the image is, under the same padding; `synthesize` measures
        it under reflection instead of wrapping it round, because most exemplars do not tile. Its pixels count alike,
        where in a run that starts with patches they count by what the layout has used.

        Parameters
        ----------
        exemplar : path, PIL image or array
            The exemplar of `pyengine.synthesize`. It is measured at its own size, or with `content` at the size that it
            has there. Default: None, where `exemplars` are given.
        **options
            Those of `pyengine.synthesize` that say what is matched: exemplars, content, regions, layers, padding,
            pooling and so on; but all weights are 1 by default, `alpha` is "mask", and `start` is "noise": what the
            paper does not have, correlations, is left out unless it is named.

        Returns
        -------
        Objective
            From an image to value and gradient.

        Raises
        ------
        PyengineError
            Input that can't be used; the message names it and the remedy.

        Examples
        --------
        >>> import numpy as np
        >>> with Engine(threads=1) as engine:
        ...     objective = engine.objective(np.eye(32), weights={"histogram": 0})
        ...     value, gradient = objective(np.zeros((32, 32, 3), np.float32))
        >>> value > 0, gradient.shape
        (True, (32, 32, 3))
        """
        weights = options.get("weights")
        if isinstance(weights, str) and weights == "thresholds":
            raise PyengineError("weights='thresholds' change while an image is optimised: give 'auto' or numbers")
        if options.get("start") is None:  # where an image comes from is its optimiser's matter
            options["start"] = "noise"
        if options.get("alpha") is None:  # images are pictures, but for materials
            options["alpha"] = "mask"
        recipe = self._read(exemplar, options)
        plain = weights is None or isinstance(weights, Mapping)
        losses = self._on_model(replace(recipe.losses, unnamed=1.0) if plain else recipe.losses)
        level = recipe.level
        self.budget.check_exemplars(level, losses)
        pixels = sum(exemplar.size[0] * exemplar.size[1] for exemplar in level.exemplars)
        demand = level_demand(level, losses, self.model.architecture, pixels)

        def plan_of(size: tuple[int, int]) -> Plan:
            return self.budget.plan(size, demand, losses)

        with self.kernels.active():
            return measure(level, losses, self.pool, plan_of, losses.output_padding)
