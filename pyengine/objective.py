"""The function that a synthesis minimises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.errors import PyengineError
from pyengine.kernels import Kernels
from pyengine.losses import Loss
from pyengine.losses.variation import VariationLoss
from pyengine.network.network import Network
from pyengine.network.tiles import TiledNetwork
from pyengine.tiled import TiledLosses


class Stopwatch:
    """Adds up seconds of the device's work by stage.

    Parameters
    ----------
    kernels : Kernels
        On a GPU, whose work lags behind the calls, it notes points in its sequence, and asks for times when it has to.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> watch = Stopwatch(CpuKernels(threads=1))
    >>> with watch("forward"):
    ...     pass
    >>> list(watch.seconds)
    ['forward']
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._open: list[tuple[str, Any, Any]] = []
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block as part of `stage`."""
        start = self._kernels.mark()
        try:
            yield
        finally:
            self._open.append((stage, start, self._kernels.mark()))
            if len(self._open) > 10000:
                self._add_up()

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, up to now."""
        self._add_up()
        return self._seconds

    def clear(self) -> None:
        """Begin anew."""
        self._open.clear()
        self._seconds.clear()

    def _add_up(self) -> None:
        closed, self._open = self._open, []
        for stage, start, end in closed:
            self._seconds[stage] += self._kernels.seconds(start, end)


class Objective:
    """A weighted sum of losses, as a function of an image. Made by `Engine.objective`.

    May be called from several threads at once, with images of any size of at least 16x16; of one size only where there
    are regions or a content.

    Attributes
    ----------
    losses : tuple of Loss
    variation : VariationLoss or None
    names : tuple of str
        Of the terms: those of the losses, then the variation's.
    factors : dict of str to float
        The part of each term's weight that is the region's share of the output and the content's strength.
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
        lease: Callable[[tuple[int, int]], AbstractContextManager[Network | TiledNetwork]],
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
        self.names = (*(loss.name for loss in losses), *([] if variation is None else [variation.name]))
        self.weights = weights
        self.factors = factors
        self.size = size
        self.stopwatch = Stopwatch(kernels)
        self.term_stopwatch = Stopwatch(kernels)

    @property
    def weights(self) -> dict[str, float]:
        """By the term's name; of each, one factor is among `factors`."""
        return self._weights

    @weights.setter
    def weights(self, weights: dict[str, float]) -> None:
        self._weights = weights
        with self._kernels.active():
            self._weight_vector: Float64 = self._kernels.upload(np.array([weights[name] for name in self.names]))

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
        checked = self._checked(image)
        with self._kernels.active(), self.network(checked.shape[:2]) as network:
            terms, gradient = self.evaluate(self._kernels.upload(checked), network)
            return sum(self._kernels.fetch([terms])), np.array(self._kernels.download(gradient))

    def terms(self, image: npt.NDArray[np.floating]) -> dict[str, float]:
        """Each term by name, such as "gram/relu1_1", times its weight: they add up to the value."""
        checked = self._checked(image)
        with self._kernels.active(), self.network(checked.shape[:2]) as network:
            pixels = self._kernels.upload(checked)
            if isinstance(network, TiledLosses):
                terms = self._new_terms()
                network.evaluate(pixels, self.weights, terms, None)
            else:
                terms = self._evaluate_whole(pixels, network, gradient=False)
            terms = self._evaluate_variation(pixels, None, terms)
            return dict(zip(self.names, self._kernels.fetch([terms]), strict=True))

    @contextmanager
    def network(self, size: tuple[int, int]) -> Iterator[Network | TiledLosses]:
        """Lend what evaluates images of this (height, width), to pass to `evaluate` again and again.

        Where the whole image is too large for the network, that is the losses on tiles.
        """
        with self._lease(size) as network:
            if isinstance(network, TiledNetwork):
                yield TiledLosses(network, self.losses, self._kernels, self.stopwatch, self.term_stopwatch)
            else:
                yield network

    def evaluate(self, image: Float32, network: Network | TiledLosses) -> tuple[Float64, Float32]:
        """One evaluation on the device, on which the kernels are active.

        Parameters
        ----------
        image : float32 (H, W, 3)
            On the device; not checked.
        network : Network or TiledLosses
            From `network`.

        Returns
        -------
        terms : float64 (K,)
            In the order of `names`, on the device.
        gradient : float32 (H, W, 3)
            Overwritten by the network's next.
        """
        if isinstance(network, TiledLosses):
            terms, gradient = self._new_terms(), self._kernels.xp.zeros_like(image)
            network.evaluate(image, self.weights, terms, gradient)
        else:
            terms, gradient = self._evaluate_whole(image, network, gradient=True), network.image_gradient
        return self._evaluate_variation(image, gradient, terms), gradient

    def gradient_sizes(self, image: Float32, network: Network | TiledLosses) -> dict[str, float]:
        """Size of each term's own gradient with respect to what it is evaluated on, before any weight.

        It is the root mean square of the gradient of the sum rather than the mean over the feature map's elements, so
        that it does not depend on the image's size. Arguments are those of `evaluate`.
        """
        if isinstance(network, TiledLosses):
            raise ValueError("gradients of an image in tiles are not kept")
        network.forward(image)
        value = self._kernels.xp.empty((), np.float64)
        sizes = {}
        for loss in self.losses:
            gradient = network.gradients[loss.layer]
            loss.evaluate(network.features[loss.layer], self._kernels, value, gradient=gradient)
            sizes[loss.name] = self._size(gradient)
        if self.variation is not None:
            gradient = self._kernels.xp.zeros_like(image)
            self.variation.evaluate(image, self._kernels, value, gradient=gradient)
            sizes[self.variation.name] = self._size(gradient)
        return sizes

    def _size(self, gradient: Float32) -> float:
        flat = gradient.reshape(1, -1)
        square = self._kernels.xp.empty((1, 1), np.float64)
        self._kernels.inner_products(flat, (0,), square)
        return float((flat.size * self._kernels.fetch([square])[0]) ** 0.5)

    def _new_terms(self) -> Float64:
        terms: Float64 = self._kernels.xp.zeros(len(self.names), np.float64)
        return terms

    def _evaluate_whole(self, image: Float32, network: Network, *, gradient: bool) -> Float64:
        """Terms of the feature maps; with `gradient`, that of the image is computed as well."""
        with self.stopwatch("forward"):
            network.forward(image)
        terms = self._new_terms()
        if gradient:
            network.zero_gradients()
        for layer in network.layers:
            with self.stopwatch("losses"):
                for k, loss in enumerate(self.losses):
                    if loss.layer == layer:
                        with self.term_stopwatch(loss.name):
                            loss.evaluate(
                                network.features[layer],
                                self._kernels,
                                terms[k, ...],
                                weight=self.weights[loss.name],
                                gradient=network.gradients[layer] if gradient else None,
                                accumulate=True,
                            )
            if gradient:
                with self.stopwatch("backward"):
                    network.backward(layer)
        return terms

    def _evaluate_variation(self, image: Float32, gradient: Float32 | None, terms: Float64) -> Float64:
        """All terms times their weights, with that of the image itself, whose gradient is added to `gradient`."""
        if self.variation is not None:
            weight = self.weights[self.variation.name]
            with self.stopwatch("losses"), self.term_stopwatch(self.variation.name):
                self.variation.evaluate(image, self._kernels, terms[-1, ...], weight=weight, gradient=gradient)
        return terms * self._weight_vector

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
