"""The patches of exemplars."""

from __future__ import annotations

import numpy as np
import pytest

from pyengine.kernels.cpu import CpuKernels
from pyengine.level import Exemplar
from pyengine.sources import Sources, offsets_of

KERNELS = CpuKernels(threads=1)


def exemplar(height: int, width: int, mask: np.ndarray | None = None, factor: float = 1.0) -> Exemplar:
    image = np.random.default_rng(height).random((height, width, 3)).astype(np.float32)
    return Exemplar(image, None if mask is None else mask[None].astype(np.float32), factor)


def test_patches_lie_inside():
    sources = Sources.of([exemplar(16, 20), exemplar(18, 13)], 7)
    assert sources.side == 5  # fewer would be left of the narrowest than its side has pixels
    own = [sources.places[sources.places[:, 0] == k, 1:] for k in range(2)]
    assert [(*p.min(0), *p.max(0), len(p)) for p in own] == [(2, 2, 13, 17, 12 * 16), (2, 2, 15, 10, 14 * 9)]
    np.testing.assert_array_equal(sources.origins(sources.centres), sources.places)


def test_patches_lie_on_pixels_that_count():
    mask = np.ones((40, 40))
    mask[10, 20] = 0.4
    mask[30:, :] = 0.5
    sources = Sources.of([exemplar(40, 40, mask)], 7)
    at = np.zeros((40, 40), bool)
    at[sources.places[:, 1], sources.places[:, 2]] = True
    expected = np.zeros((40, 40), bool)
    expected[3:37, 3:37] = True
    expected[7:14, 17:24] = False
    np.testing.assert_array_equal(at, expected)


@pytest.mark.parametrize(("left", "side"), [(slice(0, 7), 7), (slice(0, 6), 5), (slice(3, 4), 1)])
def test_smaller_patches_where_large_ones_find_no_room(left, side):
    mask = np.zeros((40, 40))
    mask[left, left] = 0.3  # as much as any
    assert Sources.of([exemplar(40, 40, mask)], 7).side == side


def test_the_patch_at_a_place_or_the_nearest():
    mask = np.ones((40, 40))
    mask[:, 20:] = 0
    sources = Sources.of([exemplar(40, 40, mask), exemplar(30, 44)], 7)
    places = np.array([[0, 5, 6], [0, 5, 30], [0, -9, 3], [1, 29, 90], [1, 4, 9], [0, 90, 90]])
    all_of_them = np.arange(len(sources.centres))
    found = sources.places[sources.numbers(places, KERNELS, all_of_them)]
    expected = [[0, 5, 6], [0, 5, 16], [0, 3, 3], [1, 26, 40], [1, 4, 9], [0, 36, 16]]
    np.testing.assert_array_equal(found, expected)
    below = all_of_them[(sources.places[:, 0] == 0) & (sources.places[:, 1] > 5)]
    np.testing.assert_array_equal(sources.places[sources.numbers(places[:1], KERNELS, below)], [[0, 6, 6]])


def test_use_is_against_the_shares():
    sources = Sources.of([exemplar(32, 32), exemplar(32, 48, factor=2.0)], 7)
    once = np.arange(len(sources.centres))[None]
    first, second = (sources.places[:, 0] == k for k in range(2))
    by_share = np.concatenate([once, once[:, second]], axis=1)
    np.testing.assert_allclose(sources.use(by_share), 1)  # the shares are 1 and 2
    use = sources.use(once)
    assert use[first] == pytest.approx(2 * use[second][0])
    one = sources.use(np.zeros((9, 9), np.intp))  # the patch in the corner, and nothing else
    near = np.abs(sources.places - sources.places[0]).max(1) <= 3
    assert (one[near & first] > 0).all()
    assert (one[~(near & first)] == 0).all()


def test_quantiles_are_of_what_counts():
    mask = np.zeros((2, 20, 20))
    mask[0, :, :10] = 1
    mask[1, :5, 10:] = 1
    image = np.zeros((20, 20, 3), np.float32)
    image[:, 10:] = 0.5
    image[5:, 10:] = 1.0
    sources = Sources.of([Exemplar(image, mask.astype(np.float32)), Exemplar(image[:, ::-1] * 0 + 0.25, None, 3.0)], 3)
    np.testing.assert_array_equal(sources.quantiles(1, 0, 3), [0.5] * 3)
    of_first = sources.quantiles(0, 2, 1400)  # 200 pixels of the first, and 400 of the other that count thrice
    assert [(value, int((of_first == value).sum())) for value in (0, 0.25)] == [(0, 200), (0.25, 1200)]


def test_offsets():
    assert list(offsets_of(1)) == [(0, 0)]
    assert list(offsets_of(3))[:4] == [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
