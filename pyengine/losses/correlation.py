"""The correlation loss: where features stand to one another, over any distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.components import principal_axes
from pyengine.kernels import Coverage, Kernels
from pyengine.losses.base import EVERYWHERE, AdditiveLoss, Region, Sample
from pyengine.network.architecture import Architecture
from pyengine.network.tiles import Window
from pyengine.wrap import BOTH, Wrap

COMPONENTS = 8
"""Principal components of the features that are looked at. On relu2_1, 8 of 128 have four fifths of the variance; with
16, and with relu3_1 and relu4_1 as well, five regular exemplars came out alike."""

AT_A_TIME = 4
"""Components of which the spectra are in memory at a time."""

LEAST_PAIRS = 0.125
"""The mass of the pairs a lag apart against that at no lag, up to which the lag does not count: where everything
counts, a quarter has a partner half of both sides away."""

SHORT_RANGE = 1 / 8
"""The share of the exemplar's shorter side within which lags do not count: the Gram matrices know what stands there."""

CHANCE, SURE = 0.2, 0.4
"""Autocorrelations up to which a lag does not count, and from which on it counts in full. Photographs without order
have 0.05 to 0.25 by chance, lattices have peaks of 0.5 to 1."""

LEAST_VARIANCE = 1e-8
"""The share of the features' mean square that must be variance, or there is nothing but rounding, which repeats itself
too: on relu2_1, a flat exemplar has up to 1e-12, and stripes of two neighbouring greys 3e-2."""

Size = tuple[int, int]


class Lags(NamedTuple):
    """What is compared on maps of one size, over the lags up to a reach (2 Y + 1, 2 X + 1).

    Attributes
    ----------
    shape : (height, width)
        The maps, with the zeros that continue them where they do not wrap round.
    rows, columns : int
        Where each lag is in what an inverse transform gives.
    target : float32 (K, 2 Y + 1, 2 X + 1)
        The exemplar's autocorrelations.
    weights : float32 (2 Y + 1, 2 X + 1)
        How much each lag counts.
    shares : float32 (2 Y + 1, 2 X + 1)
        What a sum over pairs is multiplied by to be a mean; 0 where there are too few.
    """

    shape: Size
    rows: Any
    columns: Any
    target: Float32
    weights: Float32
    shares: Float32


@dataclass(frozen=True, eq=False)
class CorrelationLoss(AdditiveLoss):
    """Mean squared difference of the features' autocorrelations (Sendik and Cohen-Or 2017; Gonthier et al. 2022).

    Gram matrices forget where features are; what pins down lattices and courses is how much features have to do with
    themselves at a distance: ``A_k(t) = sum_x u_k(x) u_k(x + t) / sum_x w(x) w(x + t)``, where ``u = w P (F - m)`` are
    the principal components P of the exemplar's features, less their mean m, by the coverage w. The loss is ``sum_kt
    c(t) (A_k(O)(t) - A_k(S)(t))^2 / (K |T|)``, for lags t up to half of the exemplar's sides and of the output's. The
    output wraps round where it is to tile; of the exemplar only the pairs inside are measured.
    With E the differences times c, over the pairs' masses, the gradient is ``4 / (K |T|) P^T (w (E * u))``, where ``*``
    is a correlation: exact, in two transforms more.

    What an exemplar without order has in common with itself at a distance is chance, and having it again would be
    copying. So a lag counts by how strong the exemplar's autocorrelation is there, c(t): all of a lattice's, none of
    most photographs', for which the loss is 0 and costs nothing.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> kernels, values = CpuKernels(threads=1), np.empty(2)
    >>> stripes = np.tile(np.array([0, 0, 2, 2], np.float32), (1, 16, 4))
    >>> loss = CorrelationLoss.measure("relu2_1", [Sample(stripes)], kernels)
    >>> loss.evaluate(stripes, kernels, values[:1])
    >>> loss.evaluate(stripes.transpose(0, 2, 1).copy(), kernels, values[1:])
    >>> values.round(2).tolist()
    [0.0, 0.67]
    """

    kind = "correlation"
    optional = True
    suffices = False
    whole_channels = COMPONENTS

    layer: str
    axes: Float64
    origin: Float32
    target: Float32
    weights: Float32
    magnitude: float
    region: Region = EVERYWHERE
    wrap: Wrap = BOTH
    _window: Window | None = None
    _lags_of: dict[Size, Lags] = field(default_factory=dict, repr=False)

    @classmethod
    def default_layers(cls, architecture: Architecture) -> tuple[str, ...]:
        """Take the first layer of the second block, or of the only one: relu2_1."""
        return architecture.blocks[:2][-1:]

    @classmethod
    def measure(
        cls,
        layer: str,
        samples: Sequence[Sample],
        kernels: Kernels,
        region: Region = EVERYWHERE,
        *,
        wrap: Wrap = BOTH,
    ) -> CorrelationLoss:
        """Take the autocorrelations of all samples together as target."""
        xp = kernels.xp
        samples = [sample for sample in samples if sample.mass]
        axes, origin, power = _components(samples, kernels)
        height, width = (min(sample.features.shape[axis] for sample in samples) for axis in (1, 2))
        reach = height // 2, width // 2
        total: Float32 = xp.zeros((len(axes), 2 * reach[0] + 1, 2 * reach[1] + 1), np.float32)
        pairs: Float32 = xp.zeros_like(total[:1])
        for sample in samples:
            size = _size(sample.features)
            shape = 2 * size[0], 2 * size[1]
            maps = _projected(sample.features, axes, origin, sample.coverage, kernels)
            total += np.float32(sample.factor) * _correlated(maps, shape, reach, kernels)
            pairs += np.float32(sample.factor) * _pairs(sample.coverage, size, shape, reach, kernels)
        enough = pairs > LEAST_PAIRS * pairs[:, reach[0], reach[1]]
        target: Float32 = xp.where(enough, total / xp.maximum(pairs, 1e-30), 0)
        squares = target[:, reach[0], reach[1]].astype(np.float64)  # at no lag: the components' mean squares
        magnitude, variance, whole = kernels.fetch([(squares**2).mean(), squares.sum(), power])
        strength = xp.abs(target.sum(axis=0)) / max(variance, 1e-30)
        rows, columns = xp.abs(xp.arange(-reach[0], reach[0] + 1)), xp.abs(xp.arange(-reach[1], reach[1] + 1))
        far = xp.hypot(rows[:, None], columns) >= SHORT_RANGE * min(height, width)
        weights = (far * xp.clip((strength - CHANCE) / (SURE - CHANCE), 0, 1)).astype(np.float32)
        if variance <= LEAST_VARIANCE * whole or not kernels.fetch([weights.sum(dtype=np.float64)])[0]:
            magnitude = 0.0
        return cls(layer, axes, origin, target, weights, magnitude, region, wrap)

    def within(self, window: Window, kernels: Kernels) -> CorrelationLoss:
        """See `AdditiveLoss.within`: all tiles' maps are put together."""
        self._lags(window.whole, kernels)  # of the whole map's pairs, which all tiles share
        return replace(self, region=self.region.within(window, self.layer, kernels), _window=window)

    def statistic(self, features: Float32, kernels: Kernels, others: Float32 | None = None) -> Float32:
        """See `AdditiveLoss.statistic`: it is the components u (K, H, W) of the whole map."""
        if not self.magnitude:
            return kernels.xp.zeros((0, 1, 1), np.float32) if others is None else others
        maps = _projected(features, self.axes, self.origin, self.region.coverage.get(self.layer), kernels)
        if self._window is None:
            return maps
        whole: Float32 = kernels.xp.zeros((len(maps), *self._window.whole), np.float32) if others is None else others
        self._window.put(maps, whole)
        return whole

    def residual(self, statistic: Float32, shape: tuple[int, ...], kernels: Kernels, value: Float64) -> Float32:
        """See `AdditiveLoss.residual`: it is the gradient with respect to the components, before w is applied again."""
        if not self.magnitude:
            value[...] = 0
            return statistic
        size = _size(statistic)
        lags = self._lags(size, kernels)
        at = np.s_[:, lags.rows[:, None], lags.columns]
        sums: Float64 = kernels.xp.zeros((), np.float64)
        count = lags.target.size
        for part in _parts(len(statistic)):
            spectra = kernels.rfft2(statistic[part], lags.shape)
            differences = kernels.irfft2(_power(spectra), lags.shape)[at] * lags.shares - lags.target[part]
            sums += (lags.weights * differences.astype(np.float64) ** 2).sum()
            placed = kernels.xp.zeros((len(differences), *lags.shape), np.float32)
            placed[at] = np.float32(4 / count) * lags.weights * lags.shares * differences
            spectra *= kernels.rfft2(placed, lags.shape).real  # of something symmetric: there is no imaginary part
            statistic[part] = kernels.irfft2(spectra, lags.shape)[:, : size[0], : size[1]]
        value[...] = sums / count
        return statistic

    def add_gradient(
        self, features: Float32, residual: Float32, kernels: Kernels, gradient: Float32, *, weight: float
    ) -> None:
        """See `AdditiveLoss.add_gradient`."""
        if not self.magnitude:
            return
        own = residual
        if self._window is not None:
            own = kernels.xp.zeros((len(residual), *self._window.region), np.float32)
            self._window.add(residual, own)
        coverage = self.region.coverage.get(self.layer)
        back = kernels.xp.ascontiguousarray(self.axes.T)
        kernels.mix(own, back, weight, gradient, coverage=coverage, accumulate=True)

    def _lags(self, size: Size, kernels: Kernels) -> Lags:
        """What is compared on maps of the output of a (height, width); this is the same in every evaluation."""
        if size not in self._lags_of:
            xp, (height, width) = kernels.xp, size
            shape = (height if self.wrap.y else 2 * height), (width if self.wrap.x else 2 * width)
            full = self.target.shape[1] // 2, self.target.shape[2] // 2
            reach = min(full[0], (height - 1) // 2), min(full[1], (width - 1) // 2)
            cut = np.s_[..., full[0] - reach[0] : full[0] + reach[0] + 1, full[1] - reach[1] : full[1] + reach[1] + 1]
            coverage = self.region.coverage.get(self.layer)
            pairs = _pairs(coverage, size, shape, reach, kernels)[0]
            enough = pairs > LEAST_PAIRS * pairs[reach]
            shares = xp.where(enough, 1 / xp.maximum(pairs, 1e-30), 0).astype(np.float32)
            target = xp.where(shares > 0, self.target[cut], 0)
            self._lags_of[size] = Lags(shape, *_where(reach, shape, kernels), target, self.weights[cut], shares)
        return self._lags_of[size]


def _components(samples: Sequence[Sample], kernels: Kernels) -> tuple[Float64, Float32, Float64]:
    """Axes (K, C) that span what the features mostly differ in, their mean along them (K, 1, 1), and mean square.

    Nearly the principal components, and exactly what is looked at ever after.
    """
    xp = kernels.xp
    total = sum(sample.mass for sample in samples)
    channels = len(samples[0].features)
    mean, square = xp.zeros(channels), xp.zeros((channels, channels))
    for sample in samples:
        ones: Float32 = xp.ones((1, *_size(sample.features)), np.float32)
        with_ones = xp.concatenate([sample.features, ones])
        gram = sample.mass / total * kernels.gram(with_ones, sample.coverage)
        mean += gram[-1, :-1]
        square += gram[:-1, :-1]
    covariance = kernels.download(square - mean[:, None] * mean)
    axes = principal_axes(lambda axes: covariance @ axes, channels, COMPONENTS)
    rows: Float64 = kernels.upload(axes)
    return rows, (rows @ mean).astype(np.float32)[:, None, None], square.trace()


def _projected(
    features: Float32, axes: Float64, origin: Float32, coverage: Coverage | None, kernels: Kernels
) -> Float32:
    """The components u (K, H, W) of a map (C, H, W)."""
    maps: Float32 = kernels.xp.empty((len(axes), *_size(features)), np.float32)
    kernels.mix(features, axes, 1.0, maps)
    maps -= origin
    if coverage is not None:
        maps *= coverage.values.reshape(_size(features))
    return maps


def _pairs(coverage: Coverage | None, size: Size, shape: Size, reach: Size, kernels: Kernels) -> Float32:
    """The mass (1, 2 Y + 1, 2 X + 1) of the pairs at each lag."""
    ones: Float32 = kernels.xp.ones(size, np.float32) if coverage is None else coverage.values.reshape(size)
    return _correlated(ones[None], shape, reach, kernels)


def _correlated(maps: Float32, shape: Size, reach: Size, kernels: Kernels) -> Float32:
    """Sums of products (K, 2 Y + 1, 2 X + 1) over the pairs at each lag, of maps continued by zeros to a shape."""
    rows, columns = _where(reach, shape, kernels)
    parts = []
    for part in _parts(len(maps)):
        power = _power(kernels.rfft2(maps[part], shape))
        parts.append(kernels.irfft2(power, shape)[:, rows[:, None], columns])
    sums: Float32 = kernels.xp.concatenate(parts)
    return sums


def _power(spectra: Any) -> Any:
    return (spectra.real**2 + spectra.imag**2).astype(spectra.dtype)


def _where(reach: Size, shape: Size, kernels: Kernels) -> tuple[Any, Any]:
    """The rows and the columns of the lags in what an inverse transform gives, where lag 0 comes first."""
    rows, columns = (np.arange(-most, most + 1) % side for most, side in zip(reach, shape, strict=True))
    return kernels.upload(rows), kernels.upload(columns)


def _parts(count: int) -> Iterator[slice]:
    return (slice(begin, begin + AT_A_TIME) for begin in range(0, count, AT_A_TIME))


def _size(features: Float32) -> Size:
    return features.shape[1], features.shape[2]
