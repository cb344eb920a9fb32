"""Networks are lent, and kept for the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pyengine import Engine
from pyengine.network import sessions
from pyengine.network.network import Network


def test_networks_of_all_sizes_run_the_same_graphs(monkeypatch, natural):
    """Each is made once; after `close`, once more."""
    made = []

    def session(model, *args, **options):
        made.append(model.graph.name)
        return sessions.Session(model, *args, **options)

    monkeypatch.setattr("pyengine.network.network.Session", session)
    with Engine(threads=1) as engine:
        for size in (32, 48):
            engine.synthesize(natural[:32, :32], size=size, levels=2, iterations=1)
        convolutions = [layer.convolution for layer in engine.model.architecture.layers]
        used = convolutions[: convolutions.index("conv4_1") + 1]
        measuring, making = 1, 1  # the exemplar is measured without a gradient
        assert sorted(made) == ["adjoint"] * len(used) + ["forward"] * (measuring + making)
        made.clear()
        engine.close()
        engine.objective(natural[:32, :32], weights={"histogram": 0}, gram_layers=["relu2_1"])(natural[:32, :32])
        assert sorted(made) == ["adjoint"] * 3 + ["forward"] * 2


def test_networks_are_kept_but_not_all(monkeypatch, natural):
    made = []
    monkeypatch.setattr("pyengine.network.pool.Network", lambda *a, **k: made.append(a[1]) or Network(*a, **k))
    with Engine(threads=1) as engine:
        objective = engine.objective(natural[:32, :32])
        small, large = (np.zeros((side, side, 3), np.float32) for side in (32, 64))
        made.clear()
        for image in (small, large, small, large):
            objective(image)
        assert made == [(32, 32), (64, 64)]
        monkeypatch.setattr("pyengine.network.pool.IDLE_BYTES", 0)
        for image in (large, small, small, large):
            objective(image)
        assert made == [(32, 32), (64, 64), (32, 32), (64, 64)]
        with ThreadPoolExecutor(2) as pool:  # two at a time: as many are kept, however small the limit
            list(pool.map(objective, [large] * 20))
        assert len(made) <= 5


def test_the_network_that_was_not_used_for_longest_goes_first(monkeypatch):
    """Before another is made, not after: what is lent counts too."""
    with Engine("cpu", threads=1) as engine:
        pool = engine.pool

        def lend(height: int, width: int) -> Network:
            with pool.whole((height, width), ("relu1_1",), gradient=True) as network:
                return network

        first, second = lend(16, 24), lend(24, 16)
        assert pool.idle == (first, second)
        monkeypatch.setattr("pyengine.network.pool.IDLE_BYTES", 2.5 * first.nbytes)
        assert lend(16, 24) is first
        assert pool.idle == (second, first)
        with pool.whole((20, 20), ("relu1_1",), gradient=True) as third:
            assert pool.idle == (first,)
        assert pool.idle == (first, third)
        with pool.tiled((32, 32), 16, {"relu1_1": 0}) as tiled:
            assert pool.idle == ()
        assert pool.idle == (tiled,)
        with pool.whole((16, 24), ("relu1_1",)):
            pass
        assert pool.idle == (tiled,)  # one without a gradient is not asked for again soon
        pool.close()
        assert pool.idle == ()


def test_a_network_that_is_lent_while_the_pool_is_closed_is_not_kept():
    """It is the old sessions', which would stay in memory with it."""
    with Engine("cpu", threads=1) as engine:
        with engine.pool.whole((32, 32), ("relu1_1",), gradient=True):
            engine.close()
        assert engine.pool.idle == ()
