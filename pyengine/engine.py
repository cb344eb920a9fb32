"""The engine: owns what is expensive to make, and runs recipes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.checks import is_integer
from pyengine.color import with_colors_of
from pyengine.devices import Precision, choose
from pyengine.errors import PyengineError
from pyengine.images import Source, to_uint8
from pyengine.level import Level
from pyengine.losses import Loss
from pyengine.losses.content import ContentLoss
from pyengine.losses.gram import GramLoss
from pyengine.losses.histogram import HistogramLoss
from pyengine.losses.options import LossOptions
from pyengine.losses.structure import StructureLoss
from pyengine.losses.variation import VariationLoss
from pyengine.memory import SHARE, Demand, Plan, check_whole, network_bytes
from pyengine.network.graphs import Padding, Pooling
from pyengine.network.modelfile import load as load_model
from pyengine.network.network import ModelSessions, Network
from pyengine.network.sessions import release_memory
from pyengine.network.tiles import TiledNetwork, Tiling
from pyengine.objective import Objective, Stopwatch
from pyengine.optimizers.lbfgs import STATE, minimize
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import Options, Recipe
from pyengine.result import Iteration, Progress, Result
from pyengine.tuning import GRAM_LAYERS, METHODS, REFRESHED_AFTER, auto_weight, threshold_weights

if TYPE_CHECKING:
    from typing_extensions import Unpack

MOST_THREADS = 1024

IDLE_BYTES = 2**28
"""Networks of other kinds than the last one used are kept for the next run while all hold no more than this."""

Lent = TypeVar("Lent", Network, TiledNetwork)


class Engine:
    """Network, kernels and threads, ready for any number of syntheses.

    May be used from several threads at once: each run gets the result that it would get alone. Runs with the same
    arguments on the same machine give the same bits, whatever `threads` is for the losses' kernels, and as far as ONNX
    Runtime's convolutions do not depend on it.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1"}
        "auto" is the first GPU if it works, else the CPU; "tensorrt" is a GPU with TensorRT for the network. On a GPU,
        one run follows the other, whatever thread it is asked for from.
    model : str or path
        A name that `pyengine models list` shows, or a file that `pyengine models import` wrote.
    threads : int, optional
        For the network and the losses' kernels on a CPU; by default one for every core that this process may use.
    precision : {"float32", "tf32", "float16"}, optional
        What the network's convolutions are computed in; by default float32 on a CPU, which has no other, and TF32 on a
        GPU. All else is float32 and float64, but that TF32 goes for the Gram losses' products too.
    memory_limit : int, optional
        Bytes that a run may take; by default most of what the machine has, or what a GPU has left at the start. An
        image that does not fit is evaluated in tiles, with the same result up to rounding.

    Raises
    ------
    PyengineError
        An unknown device, model or precision, a device that does not work, a bad number of threads, or no ONNX Runtime.

    Examples
    --------
    >>> exemplar = np.random.default_rng(0).random((32, 32, 3))
    >>> with Engine(threads=1) as engine:
    ...     result = engine.synthesize(exemplar, iterations=2, size=(64, 48))
    >>> result.image.shape, result.image.dtype
    ((48, 64, 3), dtype('uint8'))
    """

    def __init__(
        self,
        device: str = "auto",
        model: str | os.PathLike[str] = "vgg16",
        threads: int | None = None,
        precision: Precision | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if memory_limit is not None and not (is_integer(memory_limit) and memory_limit > 0):
            raise PyengineError(f"memory_limit={memory_limit!r}: give a whole number of bytes, such as 3_000_000_000")
        if threads is None:
            threads = usable_cores()
        elif not is_integer(threads) or not 1 <= threads <= MOST_THREADS:
            raise PyengineError(f"threads={threads!r}: give a whole number from 1 to {MOST_THREADS}")
        self.device = choose(device)
        self.precision = self.device.precision(precision)
        self.threads = int(threads)
        self.model = load_model(model)
        if self.precision == "float16":
            self.model.check_half()
        self.kernels = self.device.kernels(self.threads, self.precision)
        free = self.kernels.free_bytes()
        self.memory_limit = memory_limit or (float("inf") if free is None else SHARE * free)
        self._sessions = self._new_sessions()
        self._idle: list[tuple[Any, Any]] = []  # least recently used first
        self._lock = Lock()

    def _new_sessions(self) -> ModelSessions:
        """The model's sessions, none of them made yet."""
        provider = self.device.provider(self.kernels, self.precision)
        half = self.precision == "float16"
        return ModelSessions(self.model, self.kernels, provider, threads=self.threads, half=half)

    def close(self) -> None:
        """Free the networks that are kept for reuse, and their memory. The engine can still be used."""
        with self._lock:
            self._idle.clear()
            self._sessions = self._new_sessions()
        self._release_memory()

    def _release_memory(self) -> None:
        if self.device.kind == "cpu":
            release_memory()
        self.kernels.release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def synthesize(
        self,
        exemplar: Source | None = None,
        *,
        callback: Callable[[Progress], None] | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Synthesise an image; see `pyengine.synthesize`, which has the same arguments.

        Examples
        --------
        >>> with Engine(threads=1) as engine:
        ...     results = [engine.synthesize(np.eye(20), seed=seed, iterations=1) for seed in (1, 2)]
        >>> results[0].image.shape
        (20, 20, 3)
        """
        recipe = Recipe.create(exemplar, **options)
        self.model.check_layers(recipe.losses.layers)
        return self._run(recipe, callback)

    def objective(self, exemplar: Source | None = None, **options: Unpack[Options]) -> Objective:
        """The paper's objective as a function of an image, for an optimiser of your own.

        ``sum_l alpha_l ||G(O_l) - G(S_l)||_F^2 / |G_l| + gamma_l ||O_l - R(O_l)||_F^2 / |O_l| + beta_l ||O_l -
        C_l||_F^2 / |O_l|`` (Risser et al., eq. 1, 4, 8 and sec. 4.3), on feature maps of the network's own scale:
        0..255 in VGG's case. The exemplar is measured as the image is, under the same padding; `synthesize` measures
        it under reflection instead of wrapping it round, because most exemplars do not tile.

        Parameters
        ----------
        exemplar : path, PIL image or array
            As in `pyengine.synthesize`; measured at its own size, or with `content` at the size that is for it there.
        **options
            Those of `pyengine.synthesize` that say what is matched: exemplars, content, regions, layers, padding,
            pooling and so on; but all weights are 1 by default.

        Returns
        -------
        Objective

        Raises
        ------
        PyengineError
            Input that can't be used; the message names it and the remedy.

        Examples
        --------
        >>> with Engine(threads=1) as engine:
        ...     objective = engine.objective(np.eye(32), weights={"histogram": 0})
        ...     value, gradient = objective(np.zeros((32, 32, 3), np.float32))
        >>> value > 0, gradient.shape
        (True, (32, 32, 3))
        """
        weights = options.get("weights")
        if weights == "thresholds":
            raise PyengineError("weights='thresholds' change while an image is optimised: give 'auto' or numbers")
        if weights is None or isinstance(weights, Mapping):
            used = {"gram": True, "histogram": True, "structure": options.get("structure")}
            used["content"] = options.get("content") is not None
            own = METHODS[options["method"]].weights if options.get("method") in METHODS else {}
            ones = {kind: 1.0 for kind, is_used in used.items() if is_used}
            options["weights"] = {**ones, **own, **(weights or {})}
        recipe = Recipe.create(exemplar, **options)
        self.model.check_layers(recipe.losses.layers)
        with self.kernels.active():
            return self._objective(recipe.level, recipe.losses, recipe.losses.padding)

    def _objective(self, level: Level, options: LossOptions, exemplar_padding: Padding) -> Objective:
        """Measure exemplars and content at a level."""
        wrap = options.padding == "wrap"
        demand = self._demand(level, options)
        plan = self._plan(level.size[::-1], demand)
        lend = partial(self.network, pooling=options.pooling)
        maps = []  # of each exemplar; the arrays outlive their networks
        for exemplar in level.exemplars:
            with lend(exemplar.image.shape[:2], options.style_layers, padding=exemplar_padding) as network:
                network.forward(self.kernels.upload(exemplar.image))
                maps.append(network.features)

        losses: list[Loss] = []
        kinds: list[tuple[str, Callable[..., Loss]]] = [
            ("histogram", HistogramLoss.measure),
            ("gram", GramLoss.measure),
            ("structure", partial(StructureLoss.measure, wrap=wrap)),
        ]
        pools = {layer: self.model.architecture.pools(layer) for layer in options.style_layers}
        regions = level.loss_regions(pools, self.kernels, wrap=wrap)
        for kind, measure in kinds:
            for layer in options.used(kind):
                for k, region in enumerate(regions):
                    samples = [
                        e.sample(k, m[layer], pools[layer], self.kernels)
                        for e, m in zip(level.exemplars, maps, strict=True)
                    ]
                    if region.has_pixels(layer) and any(sample.mass > 0 for sample in samples):
                        losses.append(measure(layer, samples, self.kernels, region))
        del maps

        if level.content is not None and options.used("content"):
            content = self.kernels.upload(level.content)
            if plan.side is None:
                with lend(content.shape[:2], options.used("content"), padding=options.padding) as network:
                    network.forward(content)
                    shown = network.features
            else:
                shown = TiledNetwork(
                    self._sessions,
                    content.shape[:2],
                    plan.side,
                    dict.fromkeys(options.used("content"), 0),
                    padding=options.padding,
                    pooling=options.pooling,
                    gradient=False,
                ).maps(content)
            losses.extend(ContentLoss.measure(layer, features, self.kernels) for layer, features in shown.items())
            del shown
        variation = None
        if options.weight("variation"):
            own = self.kernels.xp.empty(len(level.exemplars), np.float64)
            for k, exemplar in enumerate(level.exemplars):
                self.kernels.variation(self.kernels.upload(exemplar.image), 1.0, None, own[k, ...], wrap=False)
            masses = [exemplar.factor * exemplar.size[0] * exemplar.size[1] for exemplar in level.exemplars]
            variation = VariationLoss(float(np.average(self.kernels.fetch([own]), weights=masses)), wrap)
        self._release_memory()  # a level begins: what the last one needed, and the measuring, is not in use any more

        magnitudes = {loss.name: loss.magnitude for loss in losses}
        if variation is not None:
            magnitudes[variation.name] = variation.magnitude
        factors = dict.fromkeys(magnitudes, 1.0)  # a region's pixels count as much as any others
        for loss in losses:
            factors[loss.name] = loss.region.share * (options.content_strength if isinstance(loss, ContentLoss) else 1)
        weights = {}
        for name, magnitude in magnitudes.items():
            _, *parts = name.split("/")
            weight = options.weight(*name.split("/")[:2])
            before = self.model.architecture.pools(parts[0]) if parts else None
            weights[name] = factors[name] * (auto_weight(name, magnitude, before) if weight == "auto" else weight)
        lease = partial(self._network_of, options=options, demand=demand)
        size = level.size if level.fixes_size else None
        return Objective(lease, losses, variation, weights, factors, self.kernels, size)

    @contextmanager
    def network(
        self,
        size: tuple[int, int],
        layers: tuple[str, ...] = GRAM_LAYERS,
        *,
        padding: Padding = "wrap",
        pooling: Pooling = "average",
        gradient: bool = False,
    ) -> Iterator[Network]:
        """Lend a network to one caller: an idle one of this size and setting, or a new one.

        Parameters
        ----------
        size : (height, width)
        layers, padding, pooling, gradient
            As in `Network`.
        """
        key = (size, layers, padding, pooling, gradient)
        make = partial(Network, self._sessions, size, layers, padding=padding, pooling=pooling, gradient=gradient)
        self.check_memory("an image", size, layers, gradient=gradient)
        each = network_bytes(self.model.architecture, layers, self._sessions.alignment(size), gradient=gradient)
        with self._lend(key, make, each * size[0] * size[1], keep=gradient) as network:
            yield network

    @contextmanager
    def _network_of(
        self, size: tuple[int, int], options: LossOptions, demand: Demand
    ) -> Iterator[Network | TiledNetwork]:
        """Lend a network for the losses on an image of some (height, width), whole or in tiles."""
        plan = self._plan(size, demand)
        if plan.side is None:
            with self.network(
                size, options.layers, padding=options.padding, pooling=options.pooling, gradient=True
            ) as whole:
                yield whole
            return
        key = (size, plan, tuple(demand.reaches.items()), options.padding, options.pooling)

        def make() -> TiledNetwork:
            assert plan.side is not None
            return TiledNetwork(
                self._sessions,
                size,
                plan.side,
                demand.reaches,
                padding=options.padding,
                pooling=options.pooling,
                channels=plan.channels,
            )

        with self._lock:  # memory is short: nothing else is kept
            self._idle = [entry for entry in self._idle if entry[0] == key]
        with self._lend(key, make, 0, keep=True) as tiled:
            yield tiled

    def plan(self, recipe: Recipe) -> Plan:
        """How the finest level of a synthesis is evaluated in the memory there is: whole or in tiles.

        Raises
        ------
        PyengineError
            It does not fit.

        Examples
        --------
        >>> recipe = Recipe.create(np.zeros((64, 64, 3), np.float32), size=2048)
        >>> with Engine(threads=1, device="cpu", memory_limit=3 * 10**9) as engine:
        ...     engine.plan(recipe).side is None
        False
        """
        return self._plan(recipe.sizes[-1][::-1], self._demand(recipe.level, recipe.losses))

    def _plan(self, size: tuple[int, int], demand: Demand) -> Plan:
        return demand.plan(
            size,
            self.model.architecture,
            self.memory_limit,
            STATE,
            grain=self._sessions.alignment(size),
            on_cpu=self.device.kind == "cpu",
        )

    def _check_size(self, size: tuple[int, int], demand: Demand, options: LossOptions) -> None:
        """Raise PyengineError, before the work begins, for a (height, width) that can't be made in this memory."""
        side = self._plan(size, demand).side
        if side is not None:
            if options.weights == "thresholds":
                raise PyengineError(
                    "weights='thresholds' need the whole image in memory: give 'auto', or more memory_limit"
                )
            wrap = options.padding == "wrap"
            Tiling(
                size, side, self.model.architecture, demand.reaches, wrap=wrap, alignment=self._sessions.alignment(size)
            )

    @contextmanager
    def _lend(self, key: Any, make: Callable[[], Lent], nbytes: float, *, keep: bool) -> Iterator[Lent]:
        """An idle network of a kind, or one that `make` makes, of about so many bytes."""
        with self._lock:
            found = next((k for k, (idle_key, _) in enumerate(self._idle) if idle_key == key), None)
            network = None if found is None else self._idle.pop(found)[1]
            if keep:
                self._drop_idle(key, nbytes)
        if network is None:
            network = make()
        try:
            yield network
        finally:
            if keep:  # one that has measured an exemplar is not asked for again soon
                with self._lock:
                    self._idle.append((key, network))
                    self._drop_idle(key, 0)

    def _drop_idle(self, keep: Any, lent: float) -> None:
        """Drop the networks not used for longest, other than those of one kind, until few enough bytes are held.

        `lent` bytes are those of one that is not idle.
        """
        others = [entry for entry in self._idle if entry[0] != keep]
        while others and lent + sum(network.nbytes for _, network in self._idle) > IDLE_BYTES:
            self._idle.remove(others.pop(0))

    def _run(self, recipe: Recipe, callback: Callable[[Progress], None] | None) -> Result:
        """Coarse to fine: measure the exemplar at each level's scale, optimise, enlarge."""
        with self.kernels.active():
            for exemplar in recipe.level.exemplars:
                shape = exemplar.image.shape[:2]
                self.check_memory("exemplar of", shape, recipe.losses.style_layers, gradient=False)
            for size in reversed(recipe.sizes):  # the one that was asked for first
                self._check_size(size[::-1], self._demand(recipe.level, recipe.losses), recipe.losses)
            return self._run_levels(recipe, callback)

    def _run_levels(self, recipe: Recipe, callback: Callable[[Progress], None] | None) -> Result:
        start = time.perf_counter()
        watch = Stopwatch(self.kernels)
        history: list[Iteration] = []
        generator = np.random.default_rng(recipe.seed)
        stopped = False
        # An exemplar does not tile: wrapped round, its border would be an edge, and edges would be made of it.
        padding: Padding = "reflect" if recipe.losses.padding == "wrap" else recipe.losses.padding
        for k, size in enumerate(recipe.sizes):
            level = recipe.at(k)
            if k == 0:
                image = white_noise(level, generator) if level.init is None else level.init.copy()
            else:
                with self._lock:  # one for tiles takes what memory there is, and this level wants another
                    self._idle = [entry for entry in self._idle if not isinstance(entry[1], TiledNetwork)]
                image = self.kernels.download(self.kernels.upsample(self.kernels.upload(image), size))
                if not stopped:
                    image = add_detail(image, level, generator)
            image = level.keep(image)
            if not stopped:
                image, stopped = self._run_level(recipe, k, level, padding, image, watch, history, callback)
        if recipe.colors is not None:
            image = with_colors_of(image, recipe.colors)
        timings = {**watch.seconds, "total": time.perf_counter() - start}
        return Result(to_uint8(image), history, timings, recipe, stopped)

    def _run_level(
        self,
        recipe: Recipe,
        k: int,
        level: Level,
        exemplar_padding: Padding,
        image: Float32,
        watch: Stopwatch,
        history: list[Iteration],
        callback: Callable[[Progress], None] | None,
    ) -> tuple[Float32, bool]:
        """Measure the exemplars and optimise; as `_optimize`."""
        with watch("measure"):
            objective = self._objective(level, recipe.losses, exemplar_padding)
        with watch("optimizer"):
            image, stopped = self._optimize(recipe, k, objective, image, level.free, history, callback)
        for stage, seconds in objective.stopwatch.seconds.items():
            watch.seconds[stage] += seconds
            watch.seconds["optimizer"] -= seconds
        return image, stopped

    def _optimize(
        self,
        recipe: Recipe,
        level: int,
        objective: Objective,
        start: Float32,
        free: npt.NDArray[np.bool_] | None,
        history: list[Iteration],
        callback: Callable[[Progress], None] | None,
    ) -> tuple[Float32, bool]:
        """One level: the optimised image, and whether the callback ended the run. Appends to `history`."""
        stopped = False
        done = 0

        def after_iteration(pixels: Float32, terms: list[float]) -> None:
            nonlocal stopped, done
            done += 1
            named = dict(zip(objective.names, terms, strict=True))
            history.append(Iteration(level, done, sum(terms), named, objective.weights))
            if callback is not None:
                progress = Progress(history[-1], recipe, np.array(self.kernels.download(pixels)))
                try:
                    callback(progress)
                except StopIteration:  # as SciPy's callbacks end a run
                    progress.stop()
                stopped = progress.stopped
                if stopped:
                    raise StopIteration

        spill = self._plan(start.shape[:2], self._demand(recipe.level, recipe.losses)).spill
        with objective.network(start.shape[:2]) as network:  # one for the whole level

            def function(pixels: Float32) -> tuple[Float64, Float32]:
                return objective.evaluate(pixels, network)

            image, planned = self.kernels.upload(start), recipe.iterations[level]
            renewals = REFRESHED_AFTER if recipe.losses.weights == "thresholds" else (0,)
            for begin, end in pairwise((*(k for k in renewals if k < planned), planned)):
                if recipe.losses.weights == "thresholds":
                    objective.weights = threshold_weights(objective.gradient_sizes(image, network), objective.factors)
                image = minimize(function, image, end - begin, self.kernels, after_iteration, free, spill=spill)
                if stopped:
                    break
        return self.kernels.download(image), stopped

    def check_memory(
        self, what: str, size: tuple[int, int], layers: tuple[str, ...] = GRAM_LAYERS, *, gradient: bool
    ) -> None:
        """Raise PyengineError, before the work begins, for a (height, width) that the device's memory can't hold."""
        check_whole(
            what,
            size,
            self.model.architecture,
            layers,
            self.memory_limit,
            grain=self._sessions.alignment(size),
            gradient=gradient,
            on_cpu=self.device.kind == "cpu",
        )

    def _demand(self, level: Level, options: LossOptions) -> Demand:
        pixels = sum(exemplar.size[0] * exemplar.size[1] for exemplar in level.exemplars)
        regions = 0 if level.masks is None and level.free is None else len(level.regions)
        pictures = [level.init, level.content, level.picture, level.free]  # of the last, where the gradient counts
        kept = sum(picture is not None for picture in pictures)
        return Demand.of(options, self.model.architecture, pixels, regions, kept)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
