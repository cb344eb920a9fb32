"""A start that knows the exemplar: a picture laid out from its patches, which wraps round.

Texture optimisation (Kwatra et al. 2005), from coarse to fine. Each patch of the output looks for the patch of the
exemplar that is most like it; then each pixel becomes a mean of what the patches over it say, and so on until they
agree. What has been used more than its share costs more (Kaspar et al. 2015), so that all of the exemplar is found
again and nothing repeats. The first patches are large: they bring order, which small ones only keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pyengine.arrays import Float32
from pyengine.kernels import Kernels
from pyengine.level import Level
from pyengine.pyramid import level_sizes
from pyengine.sources import Numbers, Sources, offsets_of

COARSEST = 32
"""Pixels on the shorter side at the coarsest scale, at least."""

SIDE, FIRST_SIDE = 7, 17
"""Pixels on a side of a patch, and of those that the layout begins with."""

ROUNDS = (10, 6, 4)
"""How often patches are looked for at the coarsest scale, at the next, and at each that follows."""

DIMENSIONS = 24
"""Numbers that a patch is reduced to, by principal components."""

FITTED = 2048
"""Patches of the exemplars that the components are fitted to, at most."""

ITERATIONS = 6
"""Rounds that find the components."""

BLAS_SERIAL = 2**18
"""Multiplications that OpenBLAS does on one thread."""

AT_A_TIME = 2**14
"""Patches of which all pixels are in memory at a time."""

PARTS = 8
"""Parts into which the output's patches are divided at random; each sees what those before have used."""

PENALTY = 1.0
"""What a patch costs that is used once more than its share, against the mean distance of those that were found."""

LEAST_PENALTY = 0.2
"""The same against the exemplars' variance, where that is more: what fits everywhere would be free to be everywhere."""

ROBUSTNESS = -0.6
"""The power of a patch's squared distance that it has a say by: nearly that of the least absolute deviations."""

FALLOFF = 3.5
"""A patch's side over the standard deviation of the Gaussian by which its pixels have a say."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A picture made of patches.

    Attributes
    ----------
    image : float32 (H, W, 3)
    origins : int (H, W, 3)
        Where each pixel comes from: the number of its exemplar, and the row and the column there.
    """

    image: Float32
    origins: Numbers


def lay_out(level: Level, generator: np.random.Generator, kernels: Kernels) -> Layout:
    """Lay a picture of a level's size out from patches of its exemplars.

    Parameters
    ----------
    level : Level
        Without regions in the output; of the exemplars' first masks, patches lie where all pixels count.
    generator : numpy.random.Generator
        What is left to chance: the blocks that are begun with, and who chooses first.
    kernels : Kernels
        Active.

    Examples
    --------
    >>> from pyengine.kernels.cpu import CpuKernels
    >>> from pyengine.level import Exemplar
    >>> exemplar = Exemplar(np.eye(32, dtype=np.float32)[:, :, None].repeat(3, axis=2))
    >>> layout = lay_out(Level((48, 32), (exemplar,)), np.random.default_rng(0), CpuKernels(threads=1))
    >>> layout.image.shape, layout.origins.shape
    ((32, 48, 3), (32, 48, 3))
    """
    exemplars = tuple(exemplar for exemplar in level.exemplars if exemplar.factor > 0)
    shortest = min(min(size) for size in (level.size, *(exemplar.size for exemplar in exemplars)))
    scales = max((shortest // COARSEST).bit_length(), 1)
    sizes = zip(*(level_sizes(e.size, scales) for e in exemplars), strict=True)
    places: Numbers | None = None
    for scale, (size, own) in enumerate(zip(level_sizes(level.size, scales), sizes, strict=True)):
        reduced = [exemplar.resized(s) for exemplar, s in zip(exemplars, own, strict=True)]
        rounds = ROUNDS[min(scale, len(ROUNDS) - 1)]
        for side in (SIDE,) if scale else (FIRST_SIDE, SIDE):
            sources = Sources.of(reduced, side)
            if places is None:
                places = _blocks(size, sources, generator)
            found = _Search(size, sources, kernels, generator, sources.numbers(_enlarged(places, size), kernels))
            for _ in range(rounds):
                found.improve()
            places = sources.places[found.numbers]
    pixels = found.vote()
    kept = np.array([k for k, exemplar in enumerate(level.exemplars) if exemplar.factor > 0])
    origins = sources.origins(pixels)
    origins[:, :, 0] = kept[origins[:, :, 0]]
    return Layout(sources.pixels[pixels], origins)


def _blocks(size: tuple[int, int], sources: Sources, generator: np.random.Generator) -> Numbers:
    """Places (H, W, 3) to begin with: blocks of a patch's size, each from anywhere."""
    width, height = size
    side = sources.side
    places = np.empty((height, width, 3), np.intp)
    for y in range(0, height, side):
        for x in range(0, width, side):
            rows, columns = np.mgrid[: min(side, height - y), : min(side, width - x)] - side // 2
            k, row, column = sources.places[generator.integers(len(sources.places))]
            here = places[y : y + side, x : x + side]
            here[:, :, 0], here[:, :, 1], here[:, :, 2] = k, row + rows, column + columns
    return places


def _enlarged(places: Numbers, size: tuple[int, int]) -> Numbers:
    """Places (H, W, 3) in a picture of another (width, height), and in exemplars that are larger by as much."""
    width, height = size
    result = np.empty((height, width, 3), np.intp)
    picked = []
    for side, old in zip((height, width), places.shape[:2], strict=True):
        exact = (np.arange(side) + 0.5) * old / side - 0.5
        nearest = np.clip(np.rint(exact), 0, old - 1).astype(np.intp)
        picked.append((nearest, exact - nearest, side / old))
    (rows, down, y_factor), (columns, across, x_factor) = picked
    coarse = places[np.ix_(rows, columns)]
    result[:, :, 0] = coarse[:, :, 0]
    result[:, :, 1] = np.rint((coarse[:, :, 1] + 0.5 + down[:, None]) * y_factor - 0.5)
    result[:, :, 2] = np.rint((coarse[:, :, 2] + 0.5 + across) * x_factor - 0.5)
    return result


class _Search:
    """Looks for the sources of a picture's patches, in turns with the picture.

    Attributes
    ----------
    numbers : int (H, W)
        The source of the patch around each pixel.
    """

    def __init__(
        self,
        size: tuple[int, int],
        sources: Sources,
        kernels: Kernels,
        generator: np.random.Generator,
        numbers: Numbers,
    ) -> None:
        self.numbers = numbers
        self._sources = sources
        self._strides = sources.strides
        self._kernels = kernels
        self._order = generator.permutation(numbers.size)
        self._weights = np.ones(numbers.shape, np.float32)
        count = len(sources.centres)
        some = np.linspace(0, count - 1, min(count, FITTED)).astype(np.intp)
        self._mean, self._axes = _components(self._source_patches(some))
        vectors = [self._reduced(self._source_patches(part)) for part in _pieces(np.arange(count))]
        together = np.concatenate(vectors, axis=1)
        self._least_penalty = self._penalty = LEAST_PENALTY * float(together.var(1).sum())
        self._vectors = kernels.upload(together)

    def improve(self) -> None:
        """Look for the sources again."""
        image, kernels = self._mean_image(), self._kernels
        numbers = self.numbers.ravel()
        distances = np.empty(numbers.size, np.float32)
        for part in np.array_split(self._order, PARTS):
            cost = self._penalty * np.maximum(self._sources.use(numbers) - 1, 0)
            costs = kernels.upload(cost.astype(np.float32))
            for piece in _pieces(part):
                queries = kernels.upload(self._reduced(self._patches_around(image, piece)))
                found, sums = kernels.nearest(queries, self._vectors, costs)
                numbers[piece] = kernels.download(found)
                distances[piece] = np.maximum(kernels.download(sums) - cost[numbers[piece]], 0)
        distance = float(distances.mean())
        self._penalty = max(PENALTY * distance, self._least_penalty)
        says = (distances + 0.1 * distance + 1e-6) ** ROBUSTNESS
        self._weights = says.astype(np.float32).reshape(self.numbers.shape)

    def vote(self) -> Numbers:
        """The pixel of the exemplars that the patch with the most say gives each pixel, by its number."""
        most = np.full(self.numbers.shape, -1, np.float32)
        picked = np.zeros(self.numbers.shape, np.intp)
        for say, pixels in self._votes():
            better = say > most
            most[better], picked[better] = say[better], pixels[better]
        return picked

    def _mean_image(self) -> Float32:
        total = np.zeros((*self.numbers.shape, 3), np.float32)
        mass = np.zeros((*self.numbers.shape, 1), np.float32)
        for say, pixels in self._votes():
            total += say[:, :, None] * self._sources.pixels[pixels]
            mass += say[:, :, None]
        total /= mass
        return total

    def _votes(self) -> Iterator[tuple[Float32, Numbers]]:
        """For each pixel of a patch: how much the patches have to say, and which pixel, where that pixel lies."""
        side = self._sources.side
        centres, strides = self._sources.centres[self.numbers], self._strides[self.numbers]
        for y, x in offsets_of(side):
            weight = np.float32(np.exp(-(y * y + x * x) / 2 * (FALLOFF / side) ** 2))
            yield np.roll(weight * self._weights, (y, x), (0, 1)), np.roll(centres + y * strides + x, (y, x), (0, 1))

    def _patches_around(self, image: Float32, where: Numbers) -> Float32:
        """The image's patches (N, pixels) around some of its pixels."""
        height, width = self.numbers.shape
        rows, columns = np.divmod(where, width)
        flat = image.reshape(-1, 3)
        offsets = offsets_of(self._sources.side)
        return np.concatenate([flat[(rows + y) % height * width + (columns + x) % width] for y, x in offsets], axis=1)

    def _source_patches(self, which: Numbers) -> Float32:
        """Some of the sources (N, pixels)."""
        centres, strides = self._sources.centres[which], self._strides[which]
        offsets = offsets_of(self._sources.side)
        return np.concatenate([self._sources.pixels[centres + y * strides + x] for y, x in offsets], axis=1)

    def _reduced(self, patches: Float32) -> Float32:
        """Patches (N, pixels) as vectors (D, N)."""
        patches = patches - self._mean
        # A larger product would start the threads of NumPy's BLAS, which are not ours, and spin while they wait.
        pieces = np.array_split(patches, -(-patches.shape[0] * self._axes.size // BLAS_SERIAL))
        return np.concatenate([self._axes @ piece.T for piece in pieces], axis=1)


def _pieces(numbers: Numbers) -> list[Numbers]:
    """Parts of which each has few enough patches to have all their pixels in memory."""
    return np.array_split(numbers, -(-len(numbers) // AT_A_TIME))


def _components(patches: Float32) -> tuple[Float32, Float32]:
    """The mean of patches (N, P), and axes (D, P) that span nearly all of what they differ in.

    By subspace iteration: of the components only the space that they span counts, which a few rounds find.
    """
    mean = patches.mean(0, dtype=np.float64)
    deviations = patches - mean
    axes = np.random.default_rng(0).standard_normal((patches.shape[1], min(DIMENSIONS, patches.shape[1])))
    for _ in range(ITERATIONS):
        axes, _ = np.linalg.qr(deviations.T @ (deviations @ axes) + 1e-12 * axes)
    return mean.astype(np.float32), np.ascontiguousarray(axes.T, np.float32)
