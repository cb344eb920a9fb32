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
from pyengine.losses.variation import VariationLoss
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

    May be called from several threads at once, with images of any size of at least 16x16; of one size only where there
    are regions or a content.

    Attributes
    ----------
    losses : tuple of Loss
    variation : VariationLoss or None
    weights, factors : dict of str to float
        By the term's name; a weight is a product of which one factor is the region's share of the output, and the
        content's strength.
    size : (width, height) or None
        Of the images, if only one size will do.
    stopwatch : Stopwatch
        Seconds spent in forward, losses and backward, over all evaluations; exact while one thread evaluates.
    term_stopwatch : Stopwatch
        Those spent in losses, by the term's name.

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
        variation: VariationLoss | None,
        weights: dict[str, float],
        factors: dict[str, float],
        kernels: Kernels,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._lease = lease
        self._kernels = kernels
        self.losses = tuple(losses)
        self.variation = variation
        self.weights = weights
        self.factors = factors
        self.size = size
        self.stopwatch = Stopwatch()
        self.term_stopwatch = Stopwatch()

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
            An array of another shape or size, smaller than 16x16, or with values that are not finite.
        """
        evaluation = self.evaluate(image)
        return evaluation.value, evaluation.gradient

    def terms(self, image: npt.NDArray[np.floating]) -> dict[str, float]:
        """Each term by name, such as "gram/relu1_1", times its weight: they add up to the value."""
        checked = self._checked(image)
        with self.network(checked.shape[:2]) as network:
            terms = self._map_terms(network, checked, gradient=False)
        return terms | self._variation_term(checked, None)

    def network(self, size: tuple[int, int]) -> AbstractContextManager[Network]:
        """Lend a network for images of this (height, width), to pass to `evaluate` again and again."""
        return self._lease(size)

    def evaluate(self, image: npt.NDArray[np.floating], network: Network | None = None) -> Evaluation:
        """Value, terms and gradient of one evaluation; arguments and errors as for a call."""
        checked = self._checked(image)
        with self.network(checked.shape[:2]) if network is None else nullcontext(network) as network:
            terms = self._map_terms(network, checked, gradient=True)
            with self.stopwatch("backward"):
                gradient = network.backward().copy()
        terms |= self._variation_term(checked, gradient)
        return Evaluation(sum(terms.values()), terms, gradient)

    def gradient_sizes(self, image: Float32, network: Network) -> dict[str, float]:
        """Size of each term's own gradient with respect to what it is evaluated on, before any weight.

        It is the root mean square of the gradient of the sum rather than the mean over the feature map's elements, so
        that it does not depend on the image's size.
        """
        image = self._checked(image)
        network.forward(image)
        sizes = {}
        for loss in self.losses:
            gradient = network.gradients[loss.layer]
            loss.evaluate(network.features[loss.layer], self._kernels, gradient=gradient)
            sizes[loss.name] = _size(gradient)
        if self.variation is not None:
            gradient = np.zeros_like(image)
            self.variation.evaluate(image, self._kernels, gradient=gradient)
            sizes[self.variation.name] = _size(gradient)
        return sizes

    def _map_terms(self, network: Network, image: Float32, *, gradient: bool) -> dict[str, float]:
        """Weighted terms of the feature maps; with `gradient`, the network's gradients are filled in as well."""
        with self.stopwatch("forward"):
            network.forward(image)
        terms: dict[str, float] = {}
        written: set[str] = set()
        with self.stopwatch("losses"):
            for loss in self.losses:
                weight = self.weights[loss.name]
                with self.term_stopwatch(loss.name):
                    value = loss.evaluate(
                        network.features[loss.layer],
                        self._kernels,
                        weight=weight,
                        gradient=network.gradients[loss.layer] if gradient else None,
                        accumulate=loss.layer in written,
                    )
                terms[loss.name] = weight * value
                written.add(loss.layer)
            if gradient:
                for layer in network.gradients.keys() - written:  # all its regions are empty at this scale
                    network.gradients[layer].fill(0)
        return terms

    def _variation_term(self, image: Float32, gradient: Float32 | None) -> dict[str, float]:
        """The weighted term of the image itself, if there is one; its gradient is added to `gradient`."""
        if self.variation is None:
            return {}
        with self.stopwatch("losses"), self.term_stopwatch(self.variation.name):
            weight = self.weights[self.variation.name]
            value = self.variation.evaluate(image, self._kernels, weight=weight, gradient=gradient)
        return {self.variation.name: weight * value}

    def _checked(self, image: npt.NDArray[np.floating]) -> Float32:
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "f":
            raise PyengineError(
                f"image: expected a float array (height, width, 3) in [0, 1], got {array.dtype} {array.shape}"
            )
        if self.size is not None and self.size != (array.shape[1], array.shape[0]):
            raise PyengineError(
                f"image of {array.shape[1]}x{array.shape[0]} pixels: regions or content are of "
                f"{self.size[0]}x{self.size[1]}, so it must be too"
            )
        if not np.isfinite(array).all():
            raise PyengineError("image: holds NaN or infinite values")
        return np.ascontiguousarray(array, np.float32)


def _size(gradient: Float32) -> float:
    return float(np.sqrt(gradient.size * np.einsum("i,i->", gradient.ravel(), gradient.ravel(), dtype=np.float64)))
