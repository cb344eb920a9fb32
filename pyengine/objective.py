"""The function that a synthesis minimises."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32
from pyengine.errors import PyengineError
from pyengine.kernels import Kernels
from pyengine.losses import Loss
from pyengine.network.sessions import Network


class Stopwatch:
    """Adds up seconds by stage.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> with watch("forward"):
    ...     pass
    >>> list(watch.seconds)
    ['forward']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block as part of `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Value of an objective at an image, the weighted terms that it is the sum of, and its gradient (H, W, 3)."""

    value: float
    terms: dict[str, float]
    gradient: Float32


class Objective:
    """A weighted sum of losses, as a function of an image. Made by `Engine.objective`.

    May be called from several threads at once, with images of any size of at least 16x16.

    Attributes
    ----------
    losses : tuple of Loss
    weights : tuple of float
        One a loss.
    stopwatch : Stopwatch
        Seconds spent in forward, losses and backward, over all evaluations; exact while one thread evaluates.

    Examples
    --------
    >>> import pyengine
    >>> exemplar = np.random.default_rng(0).random((32, 32, 3), np.float32)
    >>> with pyengine.Engine(threads=1) as engine:
    ...     objective = engine.objective(exemplar)
    ...     value, gradient = objective(np.full((32, 48, 3), 0.5, np.float32))
    ...     at_exemplar = objective.terms(exemplar)
    >>> value > 0, gradient.shape, at_exemplar["histogram/relu4_1"]
    (True, (32, 48, 3), 0.0)
    """

    def __init__(
        self,
        lease: Callable[[tuple[int, int]], AbstractContextManager[Network]],
        losses: Sequence[Loss],
        weights: Sequence[float],
        kernels: Kernels,
    ) -> None:
        self._lease = lease
        self._kernels = kernels
        self.losses = tuple(losses)
        self.weights = tuple(weights)
        self.stopwatch = Stopwatch()

    def __call__(self, image: npt.NDArray[np.floating]) -> tuple[float, Float32]:
        """Value and gradient.

        Parameters
        ----------
        image : float32 (H, W, 3)
            RGB in [0, 1]; values beyond are evaluated as they are.

        Returns
        -------
        value : float
        gradient : float32 (H, W, 3)
            With respect to `image`.

        Raises
        ------
        PyengineError
            An array of another shape, smaller than 16x16, or with values that are not finite.
        """
        evaluation = self.evaluate(image)
        return evaluation.value, evaluation.gradient

    def terms(self, image: npt.NDArray[np.floating]) -> dict[str, float]:
        """Each term by name, such as "gram/relu1_1", times its weight: they add up to the value."""
        checked = _checked(image)
        with self.network(checked.shape[:2]) as network:
            return self._terms(network, checked, gradient=False)

    def network(self, size: tuple[int, int]) -> AbstractContextManager[Network]:
        """Lend a network for images of this (height, width), to pass to `evaluate` again and again."""
        return self._lease(size)

    def evaluate(self, image: npt.NDArray[np.floating], network: Network | None = None) -> Evaluation:
        """Value, terms and gradient of one evaluation; arguments and errors as for a call."""
        checked = _checked(image)
        with self.network(checked.shape[:2]) if network is None else nullcontext(network) as network:
            terms = self._terms(network, checked, gradient=True)
            with self.stopwatch("backward"):
                gradient = network.backward().copy()
        return Evaluation(sum(terms.values()), terms, gradient)

    def _terms(self, network: Network, image: Float32, *, gradient: bool) -> dict[str, float]:
        """Weighted terms at an image; with `gradient`, the network's gradients are filled in for its backward pass."""
        with self.stopwatch("forward"):
            network.forward(image)
        terms: dict[str, float] = {}
        written: set[str] = set()
        with self.stopwatch("losses"):
            for loss, weight in zip(self.losses, self.weights, strict=True):
                value = loss.evaluate(
                    network.features[loss.layer],
                    self._kernels,
                    weight=weight,
                    gradient=network.gradients[loss.layer] if gradient else None,
                    accumulate=loss.layer in written,
                )
                terms[loss.name] = weight * value
                written.add(loss.layer)
        return terms


def _checked(image: npt.NDArray[np.floating]) -> Float32:
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "f":
        raise PyengineError(
            f"image: expected a float array (height, width, 3) in [0, 1], got {array.dtype} {array.shape}"
        )
    if not np.isfinite(array).all():
        raise PyengineError("image: holds NaN or infinite values")
    return array.astype(np.float32, copy=False)
