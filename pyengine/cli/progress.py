"""How far a synthesis is, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyengine.cli.output import Output, tell

if TYPE_CHECKING:
    from pyengine.result import Progress

LOGGED = 10
"""Where there is no terminal to draw a bar on, every so many iterations are worth a line."""


@contextmanager
def progress(out: Output) -> Iterator[Callable[[Progress], None] | None]:
    """Lend a callback that shows progress: a bar on a terminal, lines where it is none or what happens is told."""
    if out.quiet or (out.as_json and not out.verbose and not sys.stderr.isatty()):
        yield None
    elif out.verbose or not sys.stderr.isatty():
        yield _print
    else:
        with _bar() as update:
            yield update


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from tqdm import tqdm

    with tqdm(unit="it", dynamic_ncols=True) as bar:

        def update(progress: Progress) -> None:
            state, recipe = progress.state, progress.recipe
            bar.total = sum(recipe.iterations)
            bar.set_postfix_str(f"level {state.level + 1}/{len(recipe.sizes)}, value {state.value:.4g}", refresh=False)
            # A level may end before its last iteration; the bar then jumps to where the next begins.
            bar.update(sum(recipe.iterations[: state.level]) + state.iteration - bar.n)

        yield update


def _print(progress: Progress) -> None:
    state, recipe = progress.state, progress.recipe
    iterations = recipe.iterations[state.level]
    if state.iteration % LOGGED == 0 or state.iteration == iterations:
        width, height = recipe.sizes[state.level]
        tell(
            f"level {state.level + 1}/{len(recipe.sizes)} ({width}x{height}), "
            f"iteration {state.iteration}/{iterations}: value {state.value:.4g}"
        )
