"""The memory that a synthesis takes: each size is made in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyengine.bench.cold import peak_megabytes, python
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.figures import label_by_size, new_figure, pixels_of
from pyengine.images.writing import ByteImage
from pyengine.optimizers.lbfgs import PAIRS
from pyengine.recipe import Recipe


@dataclass(frozen=True)
class Footprint:
    """The memory of one synthesis.

    Attributes
    ----------
    size : int
        Pixels on a side of the output.
    megabytes : float or None
        Largest resident set of its process, where the system tells.
    tile : int or None
        Pixels on a side of a tile at the finest level; None if the image is evaluated whole.
    spilled : bool
        Whether the optimiser's state was in a file there.
    seconds : float
        Time from the start of the process to its end.
    """

    size: int
    megabytes: float | None
    tile: int | None
    spilled: bool
    seconds: float


def footprints(
    exemplar: Path, sizes: Sequence[int], *, memory_limit: int | None = None, threads: int | None = None
) -> Iterator[Footprint]:
    """Synthesise at every size, and see what memory it takes.

    The coarser levels get one iteration each; the finest as many as L-BFGS needs to hold all that it will, or one, if
    that is in a file.

    Parameters
    ----------
    exemplar : path
        The picture that the outputs look like.
    sizes : sequence of int
        Pixels on a side of the outputs.
    memory_limit, threads : int, optional
        See `Engine`. Default: None.

    Yields
    ------
    Footprint
        One for each size in turn, at once when it is done.

    Raises
    ------
    PyengineError
        Before the first synthesis: input that can't be used.
    """
    for size in sizes:
        Recipe.create(exemplar, size=size)
    for size in sizes:
        start = time.perf_counter()
        output = python("-m", __name__, json.dumps([str(exemplar.absolute()), size, memory_limit, threads]))
        found = json.loads(output)
        if "error" in found:
            raise PyengineError(found["error"])
        yield Footprint(size=size, seconds=time.perf_counter() - start, **found)


def plot(runs: Sequence[Footprint], memory_limit: int | None = None) -> ByteImage:
    """Draw memory against output size, and the limit.

    Parameters
    ----------
    runs : sequence of Footprint
        The syntheses, in any order.
    memory_limit : int, optional
        The limit in bytes. Default: None, it is not drawn.

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    PyengineError
        There is no matplotlib.
    """
    figure = new_figure(6, 3.6)
    panel = figure.subplots()
    runs = sorted(runs, key=lambda run: run.size)
    known = [run for run in runs if run.megabytes is not None]
    panel.plot([run.size for run in known], [(run.megabytes or 0) / 1e3 for run in known], "-", color="C0")
    for label, style, chosen in (
        ("whole", "o", [run for run in known if run.tile is None]),
        ("in tiles", "s", [run for run in known if run.tile is not None and not run.spilled]),
        ("in tiles, optimiser in a file", "D", [run for run in known if run.spilled]),
    ):
        if chosen:
            panel.plot([run.size for run in chosen], [(run.megabytes or 0) / 1e3 for run in chosen], style, label=label)
    if memory_limit is not None:
        panel.axhline(memory_limit / 1e9, color="grey", linestyle="--", label="memory_limit")
    label_by_size(panel, [run.size for run in runs], "largest resident set, GB")
    return pixels_of(figure)


def _synthesize(exemplar: str, size: int, memory_limit: int | None, threads: int | None) -> dict[str, object]:
    """Do what the process is for; returns all of a `Footprint` but size and seconds."""
    with Engine(threads=threads, memory_limit=memory_limit) as engine:
        recipe = Recipe.create(exemplar, size=size)
        plan = engine.plans(recipe)[-1]
        iterations = [1] * len(recipe.sizes)
        iterations[-1] = 1 if plan.spill else PAIRS + 1
        engine.run(replace(recipe, iterations=tuple(iterations)))
        return {"megabytes": peak_megabytes(), "tile": plan.side, "spilled": plan.spill}


if __name__ == "__main__":
    try:
        print(json.dumps(_synthesize(*json.loads(sys.argv[1]))))
    except PyengineError as error:
        print(json.dumps({"error": str(error)}))
