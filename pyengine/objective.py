"""The function that a synthesis minimises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt

from pyengine.arrays import Float32, Float64
from pyengine.errors import PyengineError
from pyengine.evaluation import Evaluator
from pyengine.images.reading import plain
from pyengine.kernels import Kernels
from pyengine.losses.base import Loss
from pyengine.stopwatch import Stopwatch, Watches

Lease = Callable[[tuple[int, int], Sequence[Loss], Watches], AbstractContextManager[Evaluator]]
"""Lends an evaluator of losses on images of a (height, width)."""


class Objective:
    """A weighted sum of losses, as a function of an image. `Engine.objective` makes it.

    It may be called from several threads at once, with images of any size of at least 16x16 pixels; where there are
    regions or a content, only one size will do.

    Attributes
    ----------
    losses : tuple of Loss
        The losses, with what they match.
    names : tuple of str
        The names of the terms: those of the losses.
    factors : dict of str to float
        The part of each term's weight that is the region's share of the output and the content's strength.
    size : (width, height) or None
        The size of the images, if only one size will do.
    channels : int
        How many channels the images have: 3, or those of all maps together.

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
        lease: Lease,
        losses: Sequence[Loss],
        weights: dict[str, float],
        factors: dict[str, float],
        kernels: Kernels,
        size: tuple[int, int] | None = None,
        channels: int = 3,
    ) -> None:
        self._lease = lease
        self._kernels = kernels
        self._watches = Watches(kernels)
        self.losses = tuple(losses)
        self.names = tuple(loss.name for loss in losses)
        self.weights = weights
        self.factors = factors
        self.size = size
        self.channels = channels

    @property
    def weights(self) -> dict[str, float]:
        """The terms' weights by name, of which `factors` are a part."""
        return self._weights

    @weights.setter
    def weights(self, weights: dict[str, float]) -> None:
        self._weights = weights
        with self._kernels.active():
            self._weight_vector: Float64 = self._kernels.upload(np.array([weights[name] for name in self.names]))

    @property
    def stopwatch(self) -> Stopwatch:
        """Seconds spent in forward, losses and backward, over all evaluations; exact while one thread evaluates."""
        return self._watches.stages

    @property
    def term_stopwatch(self) -> Stopwatch:
        """Seconds spent in losses, by the term's name."""
        return self._watches.terms

    def __call__(self, image: npt.NDArray[np.floating]) -> tuple[float, Float32]:
        """Compute value and gradient.

        Parameters
        ----------
        image : float32 (H, W, 3)
            RGB in [0, 1]; values beyond are evaluated as they are.

        Returns
        -------
        value : float
            The sum of the terms.
        gradient : float32 (H, W, 3)
            The gradient of the value with respect to `image`.

        Raises
        ------
        PyengineError
            An array of another shape or size, smaller than 16x16, or with values that are not finite.
        """
        checked = self._checked(image)
        with self._kernels.active(), self.evaluator(checked.shape[:2]) as evaluator:
            terms, gradient = self.evaluate(self._kernels.upload(checked), evaluator)
            return sum(self._kernels.fetch([terms])), np.array(self._kernels.download(gradient))

    def terms(self, image: npt.NDArray[np.floating]) -> dict[str, float]:
        """Each term by name, such as "gram/relu1_1", times its weight: they add up to the value."""
        checked = self._checked(image)
        with self._kernels.active(), self.evaluator(checked.shape[:2]) as evaluator:
            values = self._new_values()
            evaluator.evaluate(self._kernels.upload(checked), self.weights, values, gradient=False)
            return dict(zip(self.names, self._kernels.fetch([values * self._weight_vector]), strict=True))

    def evaluator(self, size: tuple[int, int]) -> AbstractContextManager[Evaluator]:
        """Lend what evaluates images of this (height, width), to pass to `evaluate` again and again."""
        return self._lease(size, self.losses, self._watches)

    def evaluate(self, image: Float32, evaluator: Evaluator) -> tuple[Float64, Float32]:
        """Evaluate once, on the device; its kernels must be active.

        Parameters
        ----------
        image : float32 (H, W, 3)
            An image on the device; it is not checked.
        evaluator : Evaluator
            What the method `evaluator` lends for images of this size.

        Returns
        -------
        terms : float64 (K,)
            The weighted terms in the order of `names`, on the device.
        gradient : float32 (H, W, 3)
            The gradient of their sum; the evaluator's next evaluation may overwrite it.
        """
        values = self._new_values()
        gradient = evaluator.evaluate(image, self.weights, values, gradient=True)
        assert gradient is not None
        return values * self._weight_vector, gradient

    def gradient_sizes(self, image: Float32, evaluator: Evaluator) -> dict[str, float]:
        """Size of each term's own gradient with respect to what it is evaluated on, before any weight.

        It is the root mean square of the gradient of the sum rather than the mean over the feature map's elements, so
        that it does not depend on the image's size. The arguments are those of `evaluate`.
        """
        return evaluator.gradient_sizes(image)

    def _new_values(self) -> Float64:
        values: Float64 = self._kernels.xp.zeros(len(self.names), np.float64)
        return values

    def _checked(self, image: npt.NDArray[np.floating]) -> Float32:
        shape = f"(height, width, {self.channels})"
        try:
            array = plain(np.asanyarray(image), "image")
        except (TypeError, ValueError):  # such as rows of different lengths
            raise PyengineError(
                f"image, a {type(image).__name__}: expected a float array (height, width, {self.channels})"
            ) from None
        if array.ndim != 3 or array.shape[2] != self.channels or array.dtype.kind != "f":
            raise PyengineError(f"image: expected a float array {shape} in [0, 1], got {array.dtype} {array.shape}")
        if self.size is not None and self.size != (array.shape[1], array.shape[0]):
            raise PyengineError(
                f"image of {array.shape[1]}x{array.shape[0]} pixels: regions or content are of "
                f"{self.size[0]}x{self.size[1]}, so it must be too"
            )
        if not np.isfinite(array).all():
            raise PyengineError("image: holds NaN or infinite values")
        return np.ascontiguousarray(array, np.float32)
