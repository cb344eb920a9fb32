"""A run, kept in a file from time to time, so that one that was killed goes on from there to the same bits.

The file is a .safetensors file: numbers and texts, and no code. It comes from outside as any other, so what is in it is
held against what the run can have before it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyengine import _core
from pyengine.arrays import Float32
from pyengine.checks import is_integer, is_number
from pyengine.document import to_document
from pyengine.errors import PyengineError, in_short
from pyengine.files import check_place, one_line, write_atomically
from pyengine.images.masks import Flags
from pyengine.losses.weighting import REFRESHED_AFTER
from pyengine.memory import Plan
from pyengine.optimizers.lbfgs import PAIRS, State
from pyengine.recipe import Recipe
from pyengine.result import Iteration
from pyengine.versions import versions

INTERVAL, SHARE = 60.0, 0.02
"""Seconds between checkpoints where nobody says, and the share of the time that writing them takes at most then."""

KEY, FORMAT = "pyengine.checkpoint", "1"
"""What a file is known by, and the version of what is in it."""

LIMIT, PICTURES = "memory_limit", "pictures of sha256"
"""The names of what made a run's tiles what they are, which itself does not count, and of all that a recipe was made
into, which tells also of pictures that were no files."""


@dataclass(frozen=True)
class Moment:
    """Where a run is between two iterations: all that its end depends on, besides what the run is of.

    Attributes
    ----------
    level : int
        The level of the pyramid.
    stretch : int
        How often the weights have been renewed at this level; with each time, the optimiser begins anew.
    done : int
        The iterations since then.
    generator : dict
        The state of the noise's generator.
    made : bool (h, w), optional
        What a layout says of where the picture is made. None if it says nothing.
    used : tuple of float32 (h, w)
        How much a layout says that each exemplar's pixels count; none if there was no layout.
    history : list of Iteration
        The iterations so far, whose last one has the terms' weights.
    optimizer : State
        Where the optimiser is.
    """

    level: int
    stretch: int
    done: int
    generator: Mapping[str, Any]
    made: Flags | None
    used: tuple[Float32, ...]
    history: list[Iteration]
    optimizer: State


class Checkpoint:
    """The file in which a run is kept.

    Parameters
    ----------
    path : str or path
        The file; it need not be there.
    every : float or None
        Seconds from one checkpoint to the next, 0 or more; with 0, there is one after each iteration. None stands for
        60, or more where writing one takes more than 0.02 of that.
    recipe : Recipe
        What the run makes.
    run : dict
        What else its bits depend on, by name; see `described_run`.

    Raises
    ------
    PyengineError
        The file can't be written, or `every` is no such number.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: float | None, recipe: Recipe, run: Mapping[str, Any]
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise PyengineError(f"checkpoint={in_short(path)}: give a file's path")
        if every is not None and not (is_number(every) and 0 <= every < float("inf")):
            raise PyengineError(f"checkpoint_every={in_short(every)}: give a number of seconds, 0 or more")
        check_place(path)
        self._path = Path(path)
        self._every = every
        self._recipe = recipe
        self._run = json.loads(json.dumps(run))  # as it is when it has been in a file
        self._next = time.monotonic() + (INTERVAL if every is None else every)

    # ---------------------------------------------------------------- writing

    def is_due(self) -> bool:
        """Whether it is time to write one."""
        return time.monotonic() >= self._next

    def write(self, moment: Moment) -> None:
        """Put a moment in the place of the one before. If that can't be written, there is a warning, and no error."""
        begin = time.monotonic()
        try:
            write_atomically(self._path, self._pieces(moment))
        except PyengineError as error:
            warnings.warn(f"checkpoint {error}; the run goes on without", stacklevel=2)
        end = time.monotonic()
        self._next = end + (max(INTERVAL, (end - begin) / SHARE) if self._every is None else self._every)

    def _pieces(self, moment: Moment) -> Iterator[memoryview]:
        """The file's contents: a header that says where each array is, and the arrays."""
        optimizer, levels = moment.optimizer, range(len(self._recipe.sizes))
        histories = [[i for i in moment.history if i.level == k] for k in levels]
        names = [[*own[0].terms] if own else [] for own in histories]
        state = {
            **{name: getattr(moment, name) for name in ("level", "stretch", "done", "generator")},
            **{name: getattr(optimizer, name) for name in ("pairs", "slot", "side")},
            "names": names,
        }
        arrays: dict[str, tuple[str, int, Sequence[int], Iterable[np.ndarray[Any, Any]]]] = {}
        for k, own in enumerate(histories):
            values = [[[values[name] for name in names[k]] for values in (i.terms, i.weights)] for i in own]
            numbers = np.array(values, "<f8").reshape(len(own), 2, len(names[k]))
            arrays[f"history/{k}"] = ("F64", 8, numbers.shape, [numbers])
        count = sum(State.lengths(self._variables(moment.level), optimizer.pairs))
        arrays["optimizer"] = ("F32", 4, [count], optimizer.vectors)
        if moment.made is not None:
            arrays["made"] = ("U8", 1, moment.made.shape, [moment.made.astype(np.uint8)])
        for k, used in enumerate(moment.used):
            arrays[f"used/{k}"] = ("F32", 4, used.shape, [used])
        texts = {KEY: FORMAT, "run": json.dumps(self._run), "state": json.dumps(state)}
        header: dict[str, Any] = {"__metadata__": texts}
        end = 0
        for name, (kind, size, shape, _) in arrays.items():
            begin, end = end, end + size * math.prod(shape)
            header[name] = {"dtype": kind, "shape": [*shape], "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        yield memoryview(len(text).to_bytes(8, "little") + text)
        for _, _, _, pieces in arrays.values():
            for piece in pieces:
                yield piece.reshape(-1).view(np.uint8).data

    def _variables(self, level: int) -> int:
        return self._recipe.level.channels * math.prod(self._recipe.sizes[level])

    # ---------------------------------------------------------------- reading

    def read(self) -> Moment | None:
        """What the file holds; None if there is no file.

        Raises
        ------
        PyengineError
            The file is no checkpoint, or one of another run, or damaged.
        """
        from safetensors import safe_open

        try:
            if not self._path.exists():
                return None
            if not self._path.is_file():
                raise ValueError("no file")
            file = safe_open(self._path, framework="numpy")
            texts: dict[str, str] = file.metadata()  # type: ignore[no-untyped-call]
            if texts[KEY] != FORMAT:
                raise ValueError("of another version")
            theirs = dict(json.loads(texts["run"]))
        except Exception as error:  # whatever reading what is none leads to
            raise PyengineError(f"{self}: not a checkpoint that this version can read: name another file") from error
        self._check(theirs)
        try:
            return self._moment(file, json.loads(texts["state"]))
        except Exception as error:
            raise self.damaged(one_line(error)) from error

    def damaged(self, why: str) -> PyengineError:
        """What is said of a file that holds what no run leaves."""
        return PyengineError(f"{self}: damaged ({why}): remove it, to begin again")

    def __str__(self) -> str:
        return f"checkpoint {self._path}"

    def _check(self, theirs: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another run."""
        for name in sorted({**theirs, **self._run}, key=lambda name: name == PICTURES):  # whose names say more
            other, own = theirs.get(name), self._run.get(name)
            if other == own or name == LIMIT:
                continue
            if name == "tiles":
                limit = in_short(theirs.get(LIMIT))
                raise PyengineError(f"{self}: of a run in other tiles: give memory_limit={limit}, or another file")
            raise PyengineError(
                f"{self}: of a run with {name}={in_short(other)}, this one has {in_short(own)}: "
                "give the same, or name another file"
            )

    def _moment(self, file: Any, state: Mapping[str, Any]) -> Moment:
        """What the file says, which may be anything."""

        def number(name: str, most: int) -> int:
            value = state[name]
            if not (is_integer(value) and 0 <= value <= most):
                raise ValueError(f"{name}={in_short(value)}")
            return int(value)

        def check(name: str, kind: str, shape: Sequence[int]) -> None:
            part = file.get_slice(name)
            if (part.get_dtype(), [*part.get_shape()]) != (kind, [*shape]):
                raise ValueError(f"{name} of {part.get_dtype()} {in_short(part.get_shape())}")

        level = number("level", len(self._recipe.sizes) - 1)
        lengths = State.lengths(self._variables(level), pairs := number("pairs", PAIRS))
        check("optimizer", "F32", [sum(lengths)])
        np.random.default_rng().bit_generator.state = state["generator"]  # refuses what is none
        history: list[Iteration] = []
        for k, names in enumerate(state["names"]):
            count = file.get_slice(f"history/{k}").get_shape()[0]
            if count > self._recipe.iterations[k]:
                raise ValueError(f"{count} iterations")
            check(f"history/{k}", "F64", [count, 2, len(names)])
            numbers = file.get_tensor(f"history/{k}")
            for done, (terms, weights) in enumerate(numbers.tolist(), 1):
                named = dict(zip(names, terms, strict=True))
                history.append(Iteration(k, done, sum(terms), named, dict(zip(names, weights, strict=True))))
        if not history or history[-1].level != level:
            raise ValueError("no history")
        made = None
        if "made" in file.keys() and self._recipe.level.needed is not None:  # noqa: SIM118
            check("made", "U8", self._recipe.sizes[0][::-1])
            made = file.get_tensor("made") > 0
        used: list[Float32] = []
        if self._recipe.start == "patches":
            for k, exemplar in enumerate(self._recipe.at(0).exemplars):
                check(f"used/{k}", "F32", exemplar.size[::-1])
                used.append(file.get_tensor(f"used/{k}"))
                if not (used[-1] >= 0).all():  # nor NaN
                    raise ValueError("what counts less than nothing")
        optimizer = State(
            [*history[-1].terms.values()],
            pairs,
            number("slot", PAIRS),
            number("side", 1),
            self._vectors(file.get_slice("optimizer"), lengths),
        )
        stretch, done = number("stretch", len(REFRESHED_AFTER) - 1), number("done", self._recipe.iterations[level])
        return Moment(level, stretch, done, state["generator"], made, tuple(used), history, optimizer)

    def _vectors(self, part: Any, lengths: Sequence[int]) -> Iterator[Float32]:
        end = 0
        for length in lengths:
            begin, end = end, end + length
            vector: Float32 = part[begin:end]
            if not np.isfinite(vector).all():
                raise self.damaged("values that are not finite")
            yield vector


def described_run(recipe: Recipe, plans: Sequence[Plan], engine: Mapping[str, Any]) -> dict[str, Any]:
    """All that the bits of a run depend on, by name, for `Checkpoint`.

    Parameters
    ----------
    recipe : Recipe
        What the run makes.
    plans : sequence of Plan
        The levels' plans.
    engine : dict
        What the engine adds: model, device, threads and so on.
    """
    arguments = to_document(recipe.arguments, for_result=True)["recipe"]
    digest = hashlib.sha256()
    _update(digest, [getattr(recipe, field.name) for field in fields(recipe) if field.name != "arguments"])
    return {
        **{name: version for name, version in versions().items() if name != "python"},
        "instructions": _core.simd,
        **engine,
        "tiles": [plan.side and [plan.side, plan.channels] for plan in plans],
        **{name: _nameless(value) for name, value in arguments.items()},
        PICTURES: digest.hexdigest(),
    }


def _nameless(value: Any) -> Any:
    """A picture by its contents: it may have been moved."""
    if isinstance(value, list):
        return [_nameless(item) for item in value]
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def _update(digest: hashlib._Hash, value: Any) -> None:
    """Add whatever a recipe is made of to a hash."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif is_dataclass(value):
        _update(digest, [getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, Mapping):
        _update(digest, sorted(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} of".encode())
        for item in value:
            _update(digest, item)
    else:
        digest.update(f"{value!r},".encode())
