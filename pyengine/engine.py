"""The engine: owns what is expensive to make, and runs recipes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine.errors import PyengineError
from pyengine.images import Source, load, resize, to_uint8, upsample_circular
from pyengine.kernels import Float32
from pyengine.kernels.cpu import CpuKernels
from pyengine.losses import Loss
from pyengine.losses.gram import GramLoss
from pyengine.losses.histogram import HistogramLoss
from pyengine.network.graphs import Padding, Pooling
from pyengine.network.sessions import Network, runtime
from pyengine.network.weights import load as load_weights
from pyengine.objective import Evaluation, Objective, Stopwatch
from pyengine.optimizers.lbfgsb import minimize
from pyengine.pyramid import add_detail, white_noise
from pyengine.recipe import LossOptions, Options, Recipe
from pyengine.result import Iteration, Progress, Result
from pyengine.tuning import GRAM_LAYERS, loss_weights

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEVICES = ("auto", "cpu")

BYTES_PER_PIXEL = 5000
"""Peak memory of a synthesis for each pixel of the output (docs/performance.md)."""

IDLE_BYTES = 2**28
"""Networks of other sizes are kept for the next run while they hold no more than this, and always the last one used."""


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
        elif isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
            raise PyengineError(f"threads={threads!r}: give a whole number of at least 1")
        runtime()
        self.device = "cpu"
        self.threads = int(threads)
        self.weights = load_weights(model)
        self._kernels = CpuKernels(self.threads)
        self._idle: list[tuple[Any, Network]] = []  # least recently used first
        self._lock = Lock()

    def close(self) -> None:
        """Free the networks that are kept for reuse. The engine can still be used."""
        with self._lock:
            self._idle.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def synthesize(
        self, exemplar: Source, *, callback: Callable[[Progress], None] | None = None, **options: Unpack[Options]
    ) -> Result:
        """Synthesise a texture; the arguments are those of `pyengine.synthesize`."""
        recipe = Recipe.create(exemplar, **options)
        self.weights.check_layers(recipe.losses.layers)
        return self._run(recipe, callback)

    def objective(
        self,
        exemplar: Source,
        *,
        gram: float = 1.0,
        histogram: float = 1.0,
        **options: Any,
    ) -> Objective:
        """The function that a synthesis minimises, for an optimiser of your own.

        ``gram * sum_l ||G(O_l) - G(S_l)||_F^2 / |G_l| + histogram * sum_l ||O_l - R(O_l)||_F^2 / |O_l|`` (Risser et
        al., eq. 1 and sec. 4.3), on feature maps of the network's own scale: 0..255 in VGG's case.

        Parameters
        ----------
        exemplar : path, PIL image or array
            Measured at its own size, under the same padding as the image.
        gram, histogram : float or "auto"
            Weight of every layer's loss; "auto" as in `pyengine.synthesize`.
        gram_layers, histogram_layers, padding, pooling
            As in `pyengine.synthesize`.
        """
        losses = LossOptions(gram=gram, histogram=histogram, **options)
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
                    while len(self._idle) > 1 and sum(idle.nbytes for _, idle in self._idle) > IDLE_BYTES:
                        del self._idle[0]

    def _run(self, recipe: Recipe, callback: Callable[[Progress], None] | None) -> Result:
        """Coarse to fine: measure the exemplar at each level's scale, optimise, enlarge."""
        _check_memory(recipe)
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
    evaluations: list[Evaluation] = []
    stopped = False
    done = 0

    def function(pixels: Float32) -> tuple[float, Float32]:
        evaluations[:] = [objective.evaluate(pixels)]
        return evaluations[0].value, evaluations[0].gradient

    def after_iteration(pixels: Float32) -> None:
        nonlocal stopped, done
        done += 1
        # An iteration ends with the evaluation that its line search accepted.
        history.append(Iteration(level, done, evaluations[0].value, evaluations[0].terms))
        if callback is not None:
            progress = Progress(history[-1], recipe, pixels)
            callback(progress)
            stopped = progress.stopped
            if stopped:
                raise StopIteration

    image = minimize(function, start, recipe.iterations[level], after_iteration)
    return image, stopped


def _check_memory(recipe: Recipe) -> None:
    """Raise PyengineError, before hours of work, for a size that this machine's memory can't hold."""
    if not hasattr(os, "sysconf"):
        return
    width, height = recipe.sizes[-1]
    needed = width * height * BYTES_PER_PIXEL / 1e9
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if needed > memory:
        raise PyengineError(
            f"size {width}x{height} needs about {needed:.0f} GB, and this machine has {memory:.0f} GB; "
            f"the largest square that fits has {int((memory * 1e9 / BYTES_PER_PIXEL) ** 0.5)} pixels on a side"
        )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
