"""The engine: owns what is expensive to make, and runs recipes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.images import Source, load, resize, to_uint8, upsample_circular
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses import Loss
from pyengine.losses.gram import GramLoss
from pyengine.losses.histogram import HistogramLoss
from pyengine.network.graphs import Padding, Pooling
from pyengine.network.sessions import Network, release_memory, runtime
from pyengine.network.weights import load as load_weights
from pyengine.objective import Evaluation, Objective, Stopwatch
from pyengine.optimizers.lbfgsb import minimize
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import LossOptions, Recipe, is_integer
from pyengine.result import Iteration, Progress, Result
from pyengine.tuning import GRAM_LAYERS, HISTOGRAM_LAYERS, Weight, loss_weights

DEVICES = ("auto", "cpu")

SYNTHESIS_BYTES, EVALUATION_BYTES, MEASURING_BYTES = 5000, 4000, 1500
"""Peak memory for each pixel: of the output of a synthesis, of the image of an objective, of an exemplar
(docs/performance.md)."""

MOST_THREADS = 1024

IDLE_BYTES = 2**28
"""Networks of other kinds than the last one used are kept for the next run while all hold no more than this."""


class Engine:
    """Network, kernels and threads, ready for any number of syntheses.

    May be used from several threads at once: each run gets the result that it would get alone. Runs with the same
    arguments on the same machine give the same bits, whatever `threads` is for the losses' kernels, and as far as ONNX
    Runtime's convolutions do not depend on it.

    Parameters
    ----------
    device : {"auto", "cpu"}
    model : str or path
        A name that `pyengine models list` shows, or a file that `pyengine models import` wrote.
    threads : int, optional
        For the network and the losses' kernels; by default one for every core that this process may use.

    Raises
    ------
    PyengineError
        An unknown device or model, a bad number of threads, or no ONNX Runtime.

    Examples
    --------
    >>> exemplar = np.random.default_rng(0).random((32, 32, 3))
    >>> with Engine(threads=1) as engine:
    ...     result = engine.synthesize(exemplar, iterations=2, size=(64, 48))
    >>> result.image.shape, result.image.dtype
    ((48, 64, 3), dtype('uint8'))
    """

    def __init__(
        self, device: str = "auto", model: str | os.PathLike[str] = "vgg16", threads: int | None = None
    ) -> None:
        if device not in DEVICES:
            raise PyengineError(f"device={device!r}: choose {' or '.join(map(repr, DEVICES))}")
        if threads is None:
            threads = usable_cores()
        elif not is_integer(threads) or not 1 <= threads <= MOST_THREADS:
            raise PyengineError(f"threads={threads!r}: give a whole number from 1 to {MOST_THREADS}")
        runtime()
        self.device = "cpu"
        self.threads = int(threads)
        self.weights = load_weights(model)
        self._kernels = CpuKernels(self.threads)
        self._idle: list[tuple[Any, Network]] = []  # least recently used first
        self._lock = Lock()

    def close(self) -> None:
        """Free the networks that are kept for reuse, and their memory. The engine can still be used."""
        with self._lock:
            self._idle.clear()
        release_memory()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def synthesize(
        self,
        exemplar: Source,
        *,
        size: tuple[int, int] | int | None = None,
        seed: int = 0,
        levels: int | None = None,
        iterations: int | Sequence[int] | None = None,
        gram: Weight = "auto",
        histogram: Weight = "auto",
        gram_layers: Sequence[str] = GRAM_LAYERS,
        histogram_layers: Sequence[str] = HISTOGRAM_LAYERS,
        padding: Padding = "wrap",
        pooling: Pooling = "average",
        callback: Callable[[Progress], None] | None = None,
    ) -> Result:
        """Synthesise a texture; see `pyengine.synthesize`, which has the same arguments.

        Examples
        --------
        >>> with Engine(threads=1) as engine:
        ...     results = [engine.synthesize(np.eye(20), seed=seed, iterations=1) for seed in (1, 2)]
        >>> results[0].image.shape
        (20, 20, 3)
        """
        losses = LossOptions(gram, histogram, gram_layers, histogram_layers, padding, pooling)
        recipe = Recipe.create(exemplar, losses, size=size, seed=seed, levels=levels, iterations=iterations)
        self.weights.check_layers(losses.layers)
        return self._run(recipe, callback)

    def objective(
        self,
        exemplar: Source,
        *,
        gram: Weight = 1.0,
        histogram: Weight = 1.0,
        gram_layers: Sequence[str] = GRAM_LAYERS,
        histogram_layers: Sequence[str] = HISTOGRAM_LAYERS,
        padding: Padding = "wrap",
        pooling: Pooling = "average",
    ) -> Objective:
        """The paper's objective as a function of an image, for an optimiser of your own.

        ``gram * sum_l ||G(O_l) - G(S_l)||_F^2 / |G_l| + histogram * sum_l ||O_l - R(O_l)||_F^2 / |O_l|`` (Risser et
        al., eq. 1 and sec. 4.3), on feature maps of the network's own scale: 0..255 in VGG's case. The exemplar is
        measured as the image is, under the same padding; `synthesize` measures it under reflection instead of
        wrapping it round, because most exemplars do not tile.

        Parameters
        ----------
        exemplar : path, PIL image or array
            As in `pyengine.synthesize`; measured at its own size.
        gram, histogram : float or "auto"
            Weight of every layer's loss; "auto" as in `pyengine.synthesize`.
        gram_layers, histogram_layers, padding, pooling
            As in `pyengine.synthesize`.

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
        ...     objective = engine.objective(np.eye(32), histogram=0)
        ...     value, gradient = objective(np.zeros((32, 32, 3), np.float32))
        >>> value > 0, gradient.shape
        (True, (32, 32, 3))
        """
        losses = LossOptions(gram, histogram, gram_layers, histogram_layers, padding, pooling)
        self.weights.check_layers(losses.layers)
        return self._objective(load(exemplar), losses, losses.padding)

    def _objective(self, exemplar: Float32, options: LossOptions, exemplar_padding: Padding) -> Objective:
        measured: list[Loss] = []
        lend = partial(self.network, layers=options.layers, pooling=options.pooling)
        with lend(exemplar.shape[:2], padding=exemplar_padding, gradient=False) as network:
            network.forward(exemplar)
            # Histograms first: they scatter their gradients, which costs less into a map that need not be read.
            for layer in options.histogram_layers if options.histogram else ():
                measured.append(HistogramLoss.measure(layer, network.features[layer], self._kernels))
            for layer in options.gram_layers if options.gram else ():
                measured.append(GramLoss.measure(layer, network.features[layer], self._kernels))
        release_memory()  # a level begins: what the last one needed, and the measuring, is not in use any more
        weights = loss_weights(measured, {"gram": options.gram, "histogram": options.histogram})
        lease = partial(lend, padding=options.padding, gradient=True)
        return Objective(lease, measured, weights, self._kernels)

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
        with self._lock:
            found = next((k for k, (idle_key, _) in enumerate(self._idle) if idle_key == key), None)
            network = None if found is None else self._idle.pop(found)[1]
        if network is None:
            _check_memory("an image", size, EVALUATION_BYTES if gradient else MEASURING_BYTES)
            network = Network(
                self.weights,
                size,
                layers,
                padding=padding,
                pooling=pooling,
                threads=self.threads,
                gradient=gradient,
            )
        try:
            yield network
        finally:
            if gradient:  # one without has measured an exemplar, and is not asked for again soon
                with self._lock:
                    self._idle.append((key, network))
                    self._drop_idle(keep=key)

    def _drop_idle(self, keep: Any) -> None:
        """Drop the networks not used for longest, other than those of one kind, until few enough bytes are held."""
        others = [entry for entry in self._idle if entry[0] != keep]
        while others and sum(network.nbytes for _, network in self._idle) > IDLE_BYTES:
            self._idle.remove(others.pop(0))

    def _run(self, recipe: Recipe, callback: Callable[[Progress], None] | None) -> Result:
        """Coarse to fine: measure the exemplar at each level's scale, optimise, enlarge."""
        _check_memory("size", recipe.sizes[-1][::-1], SYNTHESIS_BYTES)
        _check_memory("exemplar of", recipe.exemplar.shape[:2], MEASURING_BYTES)
        start = time.perf_counter()
        watch = Stopwatch()
        history: list[Iteration] = []
        generator = np.random.default_rng(recipe.seed)
        stopped = False
        # An exemplar does not tile: wrapped round, its border would be an edge, and edges would be made of it.
        padding: Padding = "reflect" if recipe.losses.padding == "wrap" else recipe.losses.padding
        for level, size in enumerate(recipe.sizes):
            exemplar = resize(recipe.exemplar, recipe.exemplar_size(level))
            if level == 0:
                image = white_noise(exemplar, size, generator)
            elif stopped:
                image = upsample_circular(image, size)
            else:
                image = add_detail(upsample_circular(image, size), exemplar, generator)
            if not stopped:
                with watch("measure"):
                    objective = self._objective(exemplar, recipe.losses, padding)
                with watch("optimizer"):
                    image, stopped = _optimize(recipe, level, objective, image, history, callback)
                for stage, seconds in objective.stopwatch.seconds.items():
                    watch.seconds[stage] += seconds
                    watch.seconds["optimizer"] -= seconds
        watch.seconds["total"] = time.perf_counter() - start
        return Result(to_uint8(image), history, dict(watch.seconds), recipe, stopped)


def _optimize(
    recipe: Recipe,
    level: int,
    objective: Objective,
    start: Float32,
    history: list[Iteration],
    callback: Callable[[Progress], None] | None,
) -> tuple[Float32, bool]:
    """One level: the optimised image, and whether the callback ended the run. Appends to `history`."""
    stopped = False
    done = 0
    last: list[Evaluation] = []

    def after_iteration(pixels: Float32) -> None:
        nonlocal stopped, done
        done += 1
        # An iteration ends with the evaluation that its line search accepted.
        history.append(Iteration(level, done, last[0].value, last[0].terms))
        if callback is not None:
            progress = Progress(history[-1], recipe, pixels)
            try:
                callback(progress)
            except StopIteration:  # as SciPy's callbacks end a run
                progress.stop()
            stopped = progress.stopped
            if stopped:
                raise StopIteration

    with objective.network(start.shape[:2]) as network:  # one for the whole level

        def function(pixels: Float32) -> tuple[float, Float32]:
            last[:] = [objective.evaluate(pixels, network)]
            return last[0].value, last[0].gradient

        image = minimize(function, start, recipe.iterations[level], after_iteration)
    return image, stopped


def _check_memory(what: str, size: tuple[int, int], bytes_per_pixel: int) -> None:
    """Raise PyengineError, before the work begins, for a (height, width) that this machine's memory can't hold."""
    if not hasattr(os, "sysconf"):
        return
    height, width = size
    needed = height * width * bytes_per_pixel
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise PyengineError(
            f"{what} {width}x{height} pixels needs about {needed / 1e9:.0f} GB, and this machine has "
            f"{memory / 1e9:.0f} GB: at most {int((memory / bytes_per_pixel) ** 0.5)} pixels on a side fit"
        )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
