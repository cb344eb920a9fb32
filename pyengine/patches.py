"""A start that knows the exemplar: a picture laid out from its patches, which wraps round where the level does.

Texture optimisation (Kwatra et al. 2005), from coarse to fine. Each patch of the output looks for the patch of the
exemplar that is most like it; then each pixel becomes a mean of what the patches over it say, and so on until they
agree. What has been used more than its share costs more (Kaspar et al. 2015), so that all of the exemplar is found
again and nothing repeats. The first patches are large: they bring order, which small ones only keep. They begin where
they belong on the exemplar's lattice, if it has one, and of a few beginnings the best goes on.

What is kept of a picture has its say in every round, the more the nearer it is (Wexler et al. 2007). In a layout,
patches are of their region, and its border is part of what they look like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pyengine.arrays import Float32, Float64
from pyengine.components import principal_axes
from pyengine.images.color import LUMINANCE
from pyengine.images.masks import Flags, dilate
from pyengine.kernels import Kernels
from pyengine.lattice import Lattice, autocorrelation
from pyengine.level import Exemplar, Level
from pyengine.losses.correlation import CHANCE, SHORT_RANGE, SURE
from pyengine.maps import Map
from pyengine.periods import find_lattice
from pyengine.pyramid import level_sizes
from pyengine.sources import COUNTS, Numbers, Sources, offsets_of
from pyengine.wrap import Wrap

COARSEST = 32
"""Pixels on the shorter side at the coarsest scale, at least."""

SIDES = (17, 9, 7)
"""Pixels on a side of a patch: at the coarsest scale one after the other, at the others the last."""

STARTS, STARTED, COMPARED = 4, 2**14, 2**26
"""How often all is begun anew at the coarsest scale, but for no more pixels together, and for no more pairs of one of
them and one of the exemplars': there it costs little, and the one that lacks least goes on."""

FEWEST = 4
"""Sources that a block may be from, at least, where its place on a lattice is known."""

ROUNDS = (7, 6, 4)
"""How often patches of a side are looked for at the coarsest scale, at the next, and at each that follows."""

SEARCHED = 192
"""Pixels on the shorter side from which on nothing is looked for any more: patches follow those of the coarser scale,
which takes seconds where looking for the nearest of all would take minutes, and changes what they say but little."""

FOLLOWED = 2
"""How often patches follow their neighbours at such a scale."""

DIMENSIONS = 24
"""Numbers that a patch is reduced to, by principal components."""

FITTED = 2048
"""Patches of the exemplars that the components are fitted to, at most."""

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

DISTANT = 1 / 1.1
"""The say of a patch, for each pixel that it is farther from what is kept (Wexler et al. 2007; they have 1 / 1.3)."""

PREFERENCE, FADING = 0.6, 2
"""What a picture has to say where it may be kept, against all patches, and the power by which that fades towards where
it can't: so that patches agree with it until they have to leave it for what is on the other side."""

SAME, AROUND = 4 / 255, 2
"""How much a pixel may differ from the picture's where it is kept for that, and how far around it no other may more."""

OTHERS = 1.0
"""What all maps but the first count together in a patch, against the first."""

BORDERS = 0.5
"""What a region's border counts in a patch, against an edge from black to white."""

BY_USE, BLUR, UNUSED = 0.5, 3.0, 1e-3
"""The part by which pixels of an exemplar count as often as the picture has used them, where they else count alike; the
standard deviation, in pixels, of the Gaussian that this is blurred by, about what a feature sees; and what counts still
of what is not used at all.

What is laid out of ten buttons has other colours than a hundred have: to give it theirs would make it of buttons in two
colours. To ask for no others than it has makes it whole, but lets what it has missed be missed. What is made for a hole
is not to be like the whole picture, but like what was found for it: there use is all that counts."""

STRANGE = 1e-3
"""The say of a patch where it shows another region than is wanted there."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A picture made of patches.

    Attributes
    ----------
    image : float32 (H, W, 3)
    origins : int (H, W, 3)
        Where each pixel comes from: the number of its exemplar, and the row and the column there; -1 where it is kept.
    made : bool (H, W), optional
        Where it is made, if the level leaves that to the layout; what lies beyond is kept. None if not.
    used : tuple of float32 (h, w)
        How much each pixel of each exemplar counts when the picture is optimised; see `BY_USE`.
    """

    image: Float32
    origins: Numbers
    made: Flags | None
    used: tuple[Float32, ...]


def lay_out(level: Level, generator: np.random.Generator, kernels: Kernels) -> Layout:
    """Lay a picture of a level's size out from patches of its exemplars.

    Parameters
    ----------
    level : Level
        What is kept of its picture is kept. Patches lie where all of an exemplar's pixels count, for any region.
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
    all_of_them = level.exemplars
    kept = [k for k, exemplar in enumerate(all_of_them) if exemplar.factor > 0]
    level = replace(level, exemplars=tuple(level.exemplars[k] for k in kept))
    shortest = min(min(size) for size in (level.size, *(exemplar.size for exemplar in level.exemplars)))
    scales = max((shortest // COARSEST).bit_length(), 1)
    sizes = zip(*(level_sizes(e.size, scales) for e in level.exemplars), strict=True)
    lattice = _lattice(level)
    found: _Search | None = None
    for scale, (size, own) in enumerate(zip(level_sizes(level.size, scales), sizes, strict=True)):
        reduced = level.reduced(size, list(own))
        rounds = ROUNDS[min(scale, len(ROUNDS) - 1)]
        if found is None:
            pixels, others = size[0] * size[1], sum(e.size[0] * e.size[1] for e in reduced.exemplars)
            starts = max(min(STARTS, STARTED // pixels, COMPARED // (pixels * others)), 1)
            begun = (_begin(reduced, lattice, kernels, generator, rounds) for _ in range(starts))
            found = min(begun, key=_Search.shortcoming) if starts > 1 else next(begun)
        else:
            found = _Search(reduced, SIDES[-1], kernels, generator, found.places)
            if min(size) < SEARCHED:
                found.improve(rounds)
            else:
                found.follow(FOLLOWED)
    assert found is not None
    image, origins = found.vote()
    origins[:, :, 0] = np.array(kept)[origins[:, :, 0]]
    made = None
    if level.free is not None and level.picture is not None:
        free = level.free
        if level.needed is not None:
            differs = (np.abs(image - level.picture).max(2) > SAME) & free
            made = free = free & (level.needed | (dilate(differs.astype(np.float32), AROUND, wrap=level.wrap) > 0))
        origins[~free] = -1
        level = replace(level, free=free)
    part = BY_USE if level.free is None else 1.0
    taken = [origins[origins[:, :, 0] == k][:, 1:] for k in range(len(all_of_them))]
    used = [_used(exemplar, own, part) for exemplar, own in zip(all_of_them, taken, strict=True)]
    if level.free is not None:  # an exemplar counts as often as it was taken from, too
        masses = [e.factor * float(_counting(e).sum()) for e in all_of_them]
        mean = sum(masses) / max(sum(map(len, taken)), 1)
        used = [u * np.float32(len(t) * mean / m if m else 1) for u, t, m in zip(used, taken, masses, strict=True)]
    used = [np.maximum(u, np.float32(UNUSED)) for u in used]
    return Layout(level.keep(image), origins, made, tuple(used))


def _counting(exemplar: Exemplar) -> Float32:
    """How much each pixel (h, w) of an exemplar counts for any region."""
    width, height = exemplar.size
    ones = np.ones((height, width), np.float32)
    return ones if exemplar.masks is None else exemplar.masks.max(0)


def _used(exemplar: Exemplar, taken: Numbers, part: float) -> Float32:
    """How much an exemplar's pixels (h, w) count where some rows and columns (N, 2) of it were taken."""
    from scipy.ndimage import gaussian_filter

    width, height = exemplar.size
    if not len(taken):
        return np.full((height, width), 1 - part, np.float32)
    counts = np.bincount(taken @ (width, 1), minlength=height * width).reshape(height, width)
    use, counting = gaussian_filter(counts.astype(np.float64), BLUR), _counting(exemplar)
    use *= counting.sum() / max(float((use * counting).sum()), 1e-9)
    used: Float32 = (1 + part * (use - 1)).astype(np.float32)
    return used


def _lattice(level: Level) -> Float64 | None:
    """Vectors (right, down) by which the exemplar repeats itself, in parts of its sides; None where that is no help."""
    if len(level.exemplars) > 1 or level.free is not None or level.masks is not None:
        return None
    (exemplar,) = level.exemplars
    found = find_lattice(exemplar.guide, None if exemplar.masks is None else exemplar.masks[0] > COUNTS)
    return None if found is None else np.array(found.vectors) / exemplar.size


def _begin(
    level: Level, lattice: Float64 | None, kernels: Kernels, generator: np.random.Generator, rounds: int
) -> _Search:
    """The search at the coarsest scale: for large patches, then for ever smaller ones."""
    places: Numbers | None = None
    for side in SIDES:
        found = _Search(level, side, kernels, generator, places, lattice)
        found.improve(rounds, evenly=True)
        places = found.places
    return found


def _blocks(
    size: tuple[int, int],
    wrap: Wrap,
    sources: Sources,
    members: Numbers,
    generator: np.random.Generator,
    lattice: Float64 | None,
) -> Numbers:
    """Places (H, W, 3) to begin with: blocks of a patch's size, each from around any of some of the sources.

    With a lattice, as `_lattice` has it, each is from where the exemplar looks alike after a whole number of periods,
    of which as many fit into the picture as nearly do where it wraps round.
    """
    width, height = size
    side = sources.side
    phases = None if lattice is None else _Phases(size, wrap, sources, members, lattice)
    places = np.empty((height, width, 3), np.intp)
    for y in range(0, height, side):
        for x in range(0, width, side):
            rows, columns = np.mgrid[: min(side, height - y), : min(side, width - x)] - side // 2
            some = members if phases is None else members[phases.alike(x + side // 2, y + side // 2)]
            k, row, column = sources.places[some[generator.integers(len(some))]]
            here = places[y : y + side, x : x + side]
            here[:, :, 0], here[:, :, 1], here[:, :, 2] = k, row + rows, column + columns
    return places


class _Phases:
    """Where on an exemplar's lattice some of its patches lie, and where a picture's pixels are to.

    The arguments are those of `_blocks`.
    """

    def __init__(self, size: tuple[int, int], wrap: Wrap, sources: Sources, members: Numbers, lattice: Float64) -> None:
        ((height, width),) = sources.sizes
        basis = lattice * (width, height)
        self._basis = basis
        fitted = basis * Lattice.of(basis, 1).fitting_scale(size, wrap)
        self._inverse = np.linalg.pinv(fitted)
        self._phases = sources.places[members][:, :0:-1] @ np.linalg.pinv(basis)

    def alike(self, x: int, y: int) -> Numbers:
        """The patches, by their numbers among the members, that are at the phase of a pixel, or nearest to it."""
        apart = self._phases - np.array([x, y]) @ self._inverse
        apart -= np.rint(apart)
        distances = np.hypot(*(apart @ self._basis).T)
        return np.flatnonzero(distances <= max(0.5, np.sort(distances)[:FEWEST][-1]))


def _nearness(free: Flags, *, wrap: Wrap) -> Float32:
    """By how much the distance to what is kept, also across borders that meet, reduces what a patch has to say."""
    if free.all():
        return np.ones(free.shape, np.float32)
    from scipy.ndimage import distance_transform_edt

    height, width = free.shape
    top, left = height // 2 if wrap.y else 0, width // 2 if wrap.x else 0
    around = np.pad(free, ((top, top), (left, left)), mode="wrap")
    distance = distance_transform_edt(around)[top:, left:][:height, :width]
    nearness: Float32 = (DISTANT**distance).astype(np.float32)
    return nearness


def _preference(level: Level) -> Float32 | None:
    """How much the picture has to say (H, W) where the level leaves it to the layout whether it is kept."""
    if level.free is None or level.needed is None or level.picture is None:
        return None
    from scipy.ndimage import distance_transform_edt

    kept, made = distance_transform_edt(level.free), distance_transform_edt(~level.needed)
    preference: Float32 = (PREFERENCE * (made / np.maximum(kept + made, 1)) ** FADING).astype(np.float32)
    return preference


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
    distance : float
        The mean of the patches' squared distances to their sources.
    """

    def __init__(
        self,
        level: Level,
        side: int,
        kernels: Kernels,
        generator: np.random.Generator,
        places: Numbers | None,
        lattice: Float64 | None = None,
    ) -> None:
        self.distance = np.inf
        self._level = level
        self._kernels = kernels
        width, height = level.size
        sources = Sources.of(list(level.exemplars), side)
        free = np.ones((height, width), np.bool_) if level.free is None else level.free
        self._free = free
        near = dilate(free.astype(np.float32), sources.side // 2, wrap=level.wrap) > 0
        self._order = generator.permutation(np.flatnonzero(near))
        self._near = (near * _nearness(free, wrap=level.wrap)).astype(np.float32)
        self._weights = self._near
        self._preferred = _preference(level)

        regions = 1 if level.masks is None else len(level.masks)
        labels = np.zeros((height, width), np.intp) if level.masks is None else level.masks.argmax(0)
        self._labels = labels
        # Of a region that has vanished at this scale, there is no patch: then any may be taken.
        self._members = [np.flatnonzero(sources.labels[sources.centres] == k) for k in range(regions)]
        self._members = [m if len(m) else np.arange(len(sources.centres)) for m in self._members]
        shares = np.zeros(len(sources.centres))
        for k, members in enumerate(self._members):
            wanted = max(int((labels.ravel()[self._order] == k).sum()), len(members))
            own = sources.shares[members]
            shares[members] += own * (wanted / own.sum())
        self._regions = sources.labels[sources.centres]
        self._sources = replace(sources, shares=shares)
        self._strides = sources.strides
        self.numbers = self._begun(places, generator, lattice)

        bits = np.arange((regions - 1).bit_length())
        codes = BORDERS * ((np.arange(regions)[:, None] >> bits) & 1).astype(np.float32)
        self._painted = codes[labels]
        self._scales = _scales(level.maps, sources)
        self._looks = np.concatenate([sources.pixels * self._scales, codes[sources.labels]], axis=1)
        count = len(sources.centres)
        some = _spread(count, FITTED)
        self._mean, self._axes = _components(self._source_patches(some))
        vectors = [self._reduced(self._source_patches(part)) for part in _pieces(np.arange(count))]
        self._vectors = np.concatenate(vectors, axis=1)
        self._least_penalty = self._penalty = LEAST_PENALTY * float(self._vectors.var(1).sum())

    @property
    def places(self) -> Numbers:
        """Exemplar, row and column (H, W, 3) of the source of the patch around each pixel."""
        return self._sources.places[self.numbers]

    def improve(self, rounds: int, *, evenly: bool = False) -> None:
        """Look for the sources again, a few times.

        Parameters
        ----------
        rounds : int
            How often.
        evenly : bool
            Give the picture the exemplars' colours, each as often, before each round: else what is rare, or at the
            exemplars' borders, where few patches lie, gets lost. Default: False. What fills a hole need not have all
            of them, but gets, always, those of the pixels that it is voted to have: a mean of patches has less contrast
            than they, and finds ever flatter ones.
        """
        for _ in range(rounds):
            image = self._mean_image()
            if not self._free.all():
                self._even(image, self.vote()[0])
            elif evenly:
                self._even(image, None)
            self._improve(self._look_of(image))

    def _improve(self, looks: Float32) -> None:
        """Look for the sources that look most like the picture."""
        kernels, labels = self._kernels, self._labels.ravel()
        numbers = self.numbers.ravel()
        distances = np.zeros(numbers.size, np.float32)
        uploaded = [kernels.upload(np.ascontiguousarray(self._vectors[:, members])) for members in self._members]
        for part in np.array_split(self._order, PARTS):
            cost = self._penalty * np.maximum(self._sources.use(numbers[self._order]) - 1, 0)
            for k, (members, vectors) in enumerate(zip(self._members, uploaded, strict=True)):
                costs = kernels.upload(cost[members].astype(np.float32))
                for piece in _pieces(part[labels[part] == k]):
                    queries = kernels.upload(self._reduced(self._patches_around(looks, piece)))
                    found, sums = kernels.nearest(queries, vectors, costs)
                    numbers[piece] = members[kernels.download(found)]
                    distances[piece] = np.maximum(kernels.download(sums) - cost[numbers[piece]], 0)
        self._penalty = max(PENALTY * self._weigh(distances), self._least_penalty)

    def shortcoming(self) -> float:
        """What the picture lacks: how far patches are from their sources, sources from the picture, and its order."""
        image = self._mean_image()
        looks = self._look_of(image)
        labels = self._labels.ravel()
        left: list[Float32] = []
        for k, members in enumerate(self._members):
            there = self._order[labels[self._order] == k]
            if len(there):
                some = members[_spread(len(members), FITTED)]
                made = [self._reduced(self._patches_around(looks, piece)) for piece in _pieces(there)]
                wanted = self._kernels.upload(np.ascontiguousarray(self._vectors[:, some]))
                _, sums = self._kernels.nearest(wanted, self._kernels.upload(np.concatenate(made, axis=1)))
                left.append(self._kernels.download(sums))
        variance = max(float(self._vectors.var(1).sum()), 1e-12)
        apart = self.distance + float(np.concatenate(left).mean())
        return apart / variance + _disorder(self._level, image)

    def follow(self, rounds: int) -> None:
        """Take the sources that lie beside those of the patches around, a few times, wherever they look more alike.

        Parameters
        ----------
        rounds : int
            How often.
        """
        sources = self._sources
        table = np.full(len(sources.pixels), -1, np.intp)
        table[sources.centres] = np.arange(len(sources.centres))
        for _ in range(rounds):
            looks = self._look_of(self._mean_image())
            beside = []
            for y, x in offsets_of(3):
                there = np.roll(self.numbers, (y, x), (0, 1))
                at = sources.centres[there] + y * self._strides[there] + x
                beside.append(table[np.clip(at, 0, len(table) - 1)].ravel())
            numbers, distances = self.numbers.ravel(), np.zeros(self.numbers.size, np.float32)
            for piece in _pieces(self._order):
                wanted = self._reduced(self._patches_around(looks, piece))
                least, best = np.full(len(piece), np.inf, np.float32), numbers[piece]
                for candidates in beside:
                    numbered = candidates[piece]
                    apart = ((wanted - self._vectors[:, numbered]) ** 2).sum(axis=0)
                    # There is no patch beside one at the border, and of another region none is wanted.
                    apart[(numbered < 0) | (self._regions[numbered] != self._regions[numbers[piece]])] = np.inf
                    nearer = apart < least
                    least[nearer], best[nearer] = apart[nearer], numbered[nearer]
                numbers[piece], distances[piece] = best, least
            self._weigh(distances)

    def _weigh(self, distances: Float32) -> float:
        """Let patches have their say by their squared distances (H W,), of which the mean is returned."""
        self.distance = float(distances[self._order].mean())
        says = (distances + 0.1 * self.distance + 1e-6) ** ROBUSTNESS
        self._weights = self._near * says.astype(np.float32).reshape(self.numbers.shape)
        return self.distance

    def vote(self) -> tuple[Float32, Numbers]:
        """The pixel that the patch with the most say gives each pixel, (H, W, 3), and where it comes from."""
        most = np.full(self.numbers.shape, -1, np.float32)
        picked = np.zeros(self.numbers.shape, np.intp)
        for say, pixels in self._votes():
            better = say > most
            most[better], picked[better] = say[better], pixels[better]
        return self._sources.pixels[picked], self._sources.origins(picked)

    def _mean_image(self) -> Float32:
        total = np.zeros((*self.numbers.shape, self._level.channels), np.float32)
        mass = np.zeros((*self.numbers.shape, 1), np.float32)
        for say, pixels in self._votes():
            total += say[:, :, None] * self._sources.pixels[pixels]
            mass += say[:, :, None]
        total /= np.maximum(mass, np.finfo(np.float32).tiny)
        level = self._level
        if self._preferred is not None:
            total += self._preferred[:, :, None] * (level.picture - total)
        return level.keep(total)

    def _even(self, image: Float32, other: Float32 | None) -> None:
        """Give each region of an image the histograms of another image's, or else of the exemplars', in it."""
        for k in range(len(self._members)):
            here = self._free & (self._labels == k)
            for channel in range(self._level.channels):
                values = image[:, :, channel][here]
                wanted = (
                    self._sources.quantiles(k, channel, len(values))
                    if other is None
                    else np.sort(other[:, :, channel][here])
                )
                values[np.argsort(values, kind="stable")] = wanted
                image[:, :, channel][here] = values

    def _begun(self, places: Numbers | None, generator: np.random.Generator, lattice: Float64 | None) -> Numbers:
        """The sources to begin with: those at some places of another scale, or else blocks from anywhere."""
        numbers = np.zeros(self._labels.shape, np.intp)
        for k, members in enumerate(self._members):
            size = self._level.size
            at = (
                _blocks(size, self._level.wrap, self._sources, members, generator, lattice)
                if places is None
                else places
            )
            here = self._labels == k
            numbers[here] = self._sources.numbers(_enlarged(at, self._level.size)[here], self._kernels, members)
        return numbers

    def _votes(self) -> Iterator[tuple[Float32, Numbers]]:
        """For each pixel of a patch: how much the patches have to say, and which pixel, where that pixel lies."""
        side, (height, width) = self._sources.side, self.numbers.shape
        reach = side // 2
        numbers = np.pad(self.numbers, reach, mode="wrap")
        weights = self._level.wrap.pad(self._weights, reach, "constant")
        centres, strides = self._sources.centres[numbers], self._strides[numbers]
        for y, x in offsets_of(side):
            there = np.s_[reach - y : reach - y + height, reach - x : reach - x + width]
            say = weights[there] * np.float32(np.exp(-(y * y + x * x) / 2 * (FALLOFF / side) ** 2))
            pixels = centres[there] + y * strides[there] + x
            if len(self._members) > 1:
                say[self._sources.labels[pixels] != self._labels] *= np.float32(STRANGE)
            yield say, pixels

    def _look_of(self, image: Float32) -> Float32:
        """What patches of an image (H, W, C) are compared by (H, W, values)."""
        return np.concatenate([image * self._scales, self._painted], axis=2)

    def _patches_around(self, looks: Float32, where: Numbers) -> Float32:
        """The patches (N, values) of a map around some of its pixels."""
        rows, columns = np.divmod(where, self.numbers.shape[1])
        reach = self._sources.side // 2
        seen = self._level.wrap.pad(looks, reach, "reflect")
        return _patches(seen, rows, columns, 2 * reach + 1)

    def _source_patches(self, which: Numbers) -> Float32:
        """Some of the sources (N, values)."""
        side, places = self._sources.side, self._sources.places[which]
        patches = np.empty((len(which), side * side * self._looks.shape[1]), np.float32)
        for k, (begin, (height, width)) in enumerate(zip(self._sources.begins, self._sources.sizes, strict=True)):
            looks = self._looks[begin : begin + height * width].reshape(height, width, -1)
            here = places[:, 0] == k
            rows, columns = (places[here, 1:] - side // 2).T
            patches[here] = _patches(looks, rows, columns, side)
        return patches

    def _reduced(self, patches: Float32) -> Float32:
        """Patches (N, pixels) as vectors (D, N)."""
        patches = patches - self._mean
        # A larger product would start the threads of NumPy's BLAS, which are not ours, and spin while they wait.
        pieces = np.array_split(patches, -(-patches.shape[0] * self._axes.size // BLAS_SERIAL))
        return np.concatenate([self._axes @ piece.T for piece in pieces], axis=1)


def _scales(maps: tuple[Map, ...], sources: Sources) -> Float32:
    """What the channels of patches count, so that all maps together count `OTHERS` times as much as the first."""
    scales = np.ones(sources.pixels.shape[1], np.float32)
    first, *others = (float(sources.pixels[:, one.channels].var(0).sum()) for one in maps)
    for one, own in zip(maps[1:], others, strict=True):
        scales[one.channels] = (OTHERS / len(others) * first / own) ** 0.5 if own else 0
    return scales


def _disorder(level: Level, image: Float32) -> float:
    """How much of the exemplars' order an image lacks, 0 for none: by their autocorrelations, where they are strong."""
    found = autocorrelation(level.maps[0].of(image) @ LUMINANCE)
    missed = []
    for exemplar in level.exemplars:
        expected = autocorrelation(exemplar.guide @ LUMINANCE)
        reach = np.minimum(expected.shape, found.shape) // 2
        rows, columns = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
        wanted, there = (
            correlation[rows + correlation.shape[0] // 2, columns + correlation.shape[1] // 2]
            for correlation in (expected, found)
        )
        far = np.hypot(rows, columns) >= SHORT_RANGE * min(exemplar.size)
        weights = far * np.clip((np.abs(wanted) - CHANCE) / (SURE - CHANCE), 0, 1)
        if weights.any():
            missed.append(float((weights * (there - wanted) ** 2).sum() / (weights * wanted**2).sum()))
    return float(np.mean(missed)) if missed else 0.0


def _patches(looks: Float32, rows: Numbers, columns: Numbers, side: int) -> Float32:
    """The patches (N, values) of a map (H, W, C) that begin at some rows and columns."""
    channels = looks.shape[2]
    # What a patch has of a row lies together: to copy that is many times as fast as to pick its pixels.
    windows = np.lib.stride_tricks.sliding_window_view(looks.reshape(len(looks), -1), (side, side * channels))
    patches: Float32 = windows[rows, channels * columns].reshape(len(rows), side * side * channels)
    return patches


def _spread(count: int, most: int) -> Numbers:
    """Numbers below a count, at most so many, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def _pieces(numbers: Numbers) -> list[Numbers]:
    """Parts of which each has few enough patches to have all their pixels in memory."""
    return [numbers[begin : begin + AT_A_TIME] for begin in range(0, len(numbers), AT_A_TIME)]


def _components(patches: Float32) -> tuple[Float32, Float32]:
    """The mean of patches (N, P), and axes (D, P) that span nearly all of what they differ in."""
    mean = patches.mean(0, dtype=np.float64)
    deviations = patches - mean
    axes = principal_axes(lambda axes: deviations.T @ (deviations @ axes), patches.shape[1], DIMENSIONS)
    return mean.astype(np.float32), axes.astype(np.float32)
