"""The compiled module: arrays of any shape, type, layout and content, for every function that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pyengine import _core
from robustness.oracle import Wrong, bounded, silent

MOST = 150 * 10**6
"""Bytes that a call may take: the arrays here are small, but scratch is kept for 128 MiB."""


@dataclass(frozen=True)
class Made:
    """An array by what there is to know of it."""

    shape: tuple[int, ...]
    dtype: str = "f4"
    layout: str = "plain"
    content: str = "random"

    def array(self) -> Any:
        """It, anew each time, with the same content."""
        rng = np.random.default_rng(0)
        array = np.zeros(self.shape, self.dtype)
        if array.dtype.kind == "f":
            array[...] = VALUES[self.content](rng, self.shape)
        elif array.dtype.kind == "u":
            array[...] = rng.integers(0, np.iinfo(array.dtype).max, self.shape)
        return LAYOUTS[self.layout](array)


def _unaligned(array: np.ndarray) -> np.ndarray:
    moved = np.ndarray(array.shape, array.dtype, np.zeros(array.nbytes + 1, np.uint8).data, 1 if array.size else 0)
    moved[...] = array
    return moved


def _locked(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


VALUES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Any]] = {
    "random": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape) * (rng.random(shape) < 0.5),
    "whole": lambda rng, shape: rng.integers(-2, 3, shape),
    "zero": lambda rng, shape: -0.0,
    "NaN": lambda rng, shape: np.where(rng.random(shape) < 0.3, np.nan, 1),
    "infinite": lambda rng, shape: np.where(rng.random(shape) < 0.3, -np.inf, 1),
    "huge": lambda rng, shape: np.where(rng.random(shape) < 0.5, 60000, -60000),  # that float16 can hold
    "tiny": lambda rng, shape: 1e-45,
}

LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda array: array,
    "backward": lambda array: array[::-1] if array.ndim else array,
    "Fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, -1)[..., ::2] if array.ndim else array,
    "broadcast": lambda array: np.broadcast_to(array[..., :1], array.shape) if array.ndim else array,
    "transposed": lambda array: array.T,
    "unaligned": _unaligned,
    "locked": _locked,
    "deeper": lambda array: array[None],
    "list": lambda array: array.tolist(),
}

THE_FEATURES = "the features"
"""Stands for the same array as the argument of that name."""

sides = st.sampled_from([*[1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 64, 97, 1000] * 2, 0])
shapes = st.lists(sides.filter(lambda side: side < 100), max_size=4).map(tuple)
odd_arrays = st.builds(
    Made,
    shapes,
    st.sampled_from(["f4", "f4", "f8", "f2", ">f4", "u2", "u1", "i8", "?", "c8", "O", "S4", "M8[s]", "i4,f4"]),
    st.sampled_from([*LAYOUTS]),
    st.sampled_from([*VALUES]),
)
odd_things = st.sampled_from([None, 3, 1.5, "x", b"x", (), [[1.0]], {}, 1j, np.float32(3), 10**400, float("nan")])
numbers = st.sampled_from([1.0, 1, 0.0, -1.0, 1e308, 1e-320, float("inf"), float("nan")])
threads = st.sampled_from([*[1, 1, 2, 3, 64] * 6, 0, -1, 2**31, 2**63, True, 1.5, None])


def filled(*shape: int, dtype: str = "f4") -> st.SearchStrategy[Made]:
    """An array that fits, whatever is in it."""
    return st.builds(Made, st.just(shape), st.just(dtype), st.just("plain"), st.sampled_from([*VALUES]))


def coverage(pixels: int) -> st.SearchStrategy[Made | None]:
    """How much each pixel counts."""
    weights = st.builds(Made, st.just((pixels,)), content=st.sampled_from(["positive", "zero", "tiny", "NaN", "huge"]))
    return st.none() | weights


@st.composite
def calls(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[str, dict[str, Any]]:
    """A function and its arguments, of which often one, and sometimes several, do not fit."""
    name = draw(st.sampled_from([*FUNCTIONS]))
    c, n, r = draw(sides.filter(lambda side: side < 100)), draw(sides), draw(sides.filter(lambda side: side < 100))
    arguments = {key: draw(value) for key, value in FUNCTIONS[name](c, n, r).items()}
    keys = st.sampled_from([*arguments, "threads"])
    for key in draw(st.sampled_from([0, 0, 1, 1, 2]).flatmap(lambda n: st.lists(keys, min_size=n, max_size=n))):
        fits = arguments.get(key)
        if isinstance(fits, Made) and draw(st.booleans()):
            arguments[key] = replace(fits, layout=draw(st.sampled_from([*LAYOUTS])))
        else:
            arguments[key] = draw(odd_arrays | odd_arrays | odd_things)
    if draw(st.integers(0, 20)) == 0 and "features" in arguments:  # what is written is what is read
        for key in ("out", "gradient", "coverage", "other", "target", "above", "loss"):
            if key in arguments and draw(st.booleans()):
                arguments[key] = THE_FEATURES
    return name, arguments


axes = st.tuples(st.booleans(), st.booleans())


def _relu(c: int, n: int, r: int) -> dict[str, st.SearchStrategy[Any]]:
    c, n, border = c % 6, n % 100, r % 4
    mask = filled(c, -(-n // 4), -(-r // 4), dtype="u2")
    return {
        "features": filled(c, n, r) | mask,
        "out": filled(c, n + 2 * border, r + 2 * border),
        "above": filled(c, n, r) | filled(c, (n + 1) // 2, (r + 1) // 2),
        "loss": st.none() | filled(c, n, r),
        "pooling": st.sampled_from(["none", "average", "max", "", "median"]),
        "wrap": axes,
        "measure": st.booleans(),
        "threads": threads,
        "border": st.just(border) | st.sampled_from([-1, 1025, 2**63, 2**64]),
    }


FUNCTIONS: dict[str, Callable[[int, int, int], dict[str, st.SearchStrategy[Any]]]] = {
    "release_scratch": lambda c, n, r: {},
    "gram": lambda c, n, r: {
        "features": filled(c, n), "coverage": coverage(n), "threads": threads, "mass": st.none() | numbers,
    },
    "cross_gram": lambda c, n, r: {
        "features": filled(c, n), "other": filled(c, n), "coverage": coverage(n), "threads": threads,
        "mass": st.none() | numbers,
    },
    "mix": lambda c, n, r: {
        "features": filled(c, n), "matrix": filled(r, c) | filled(r, c, dtype="f8"), "scale": numbers,
        "out": filled(r, n), "coverage": coverage(n), "accumulate": st.booleans(), "threads": threads,
    },
    "Histogram": lambda c, n, r: {"features": filled(c, n), "coverage": coverage(n), "threads": threads},
    "Histogram.loss": lambda c, n, r: {
        "features": filled(c, n), "gradient": st.none() | filled(c, n), "scale": numbers, "coverage": coverage(n),
        "accumulate": st.booleans(), "threads": threads, "first": st.sampled_from([0, 0, 1, 5, -1, 2**63, 2**64]),
    },
    "content_loss": lambda c, n, r: {
        "features": filled(c, n), "target": filled(c, n), "gradient": st.none() | filled(c, n), "scale": numbers,
        "coverage": coverage(n), "accumulate": st.booleans(), "threads": threads, "mass": st.none() | numbers,
    },
    "variation": lambda c, n, r: {
        "image": filled(c, r, 3), "gradient": st.none() | filled(c, r, 3), "scale": numbers, "wrap": axes,
        "accumulate": st.booleans(), "threads": threads,
    },
    "relu_gradient": _relu,
    "nearest": lambda c, n, r: {
        "queries": filled(c, n), "sources": filled(c, r), "cost": st.none() | filled(r), "threads": threads,
    },
    "inner_products": lambda c, n, r: {
        "rows": filled(c, n), "threads": threads,
        "picks": st.sampled_from([*[[*range(c)]] * 6, [], [0, 0], [c], [-1], [2**64], [0.5], ["a"], None, "12", 3]),
    },
    "combine": lambda c, n, r: {
        "rows": filled(c, n), "coefficients": filled(c), "out": filled(n), "threads": threads,
    },
}  # fmt: skip

inputs = calls()
EXEMPLAR = np.random.default_rng(0).standard_normal((33, 97)).astype(np.float32)
WRITTEN = ("out", "gradient")


def act(value: tuple[str, dict[str, Any]], folder: Path) -> None:
    """Call a function, and see that it changed what it is to write and nothing else."""
    name, made = value
    arguments = {key: entry.array() if isinstance(entry, Made) else entry for key, entry in made.items()}
    for key, entry in made.items():
        if isinstance(entry, str) and entry == THE_FEATURES:
            arguments[key] = arguments["features"]
    function = _core.Histogram(EXEMPLAR).loss if name == "Histogram.loss" else getattr(_core, name)
    before = {key: entry.tobytes() for key, entry in arguments.items() if isinstance(entry, np.ndarray)}
    refused = True
    try:
        with bounded(MOST), silent():
            function(**arguments)
        refused = False
    finally:
        for key, content in before.items():
            if (refused or key not in WRITTEN) and arguments[key].tobytes() != content:
                raise Wrong(f"{name} changed {key}")
