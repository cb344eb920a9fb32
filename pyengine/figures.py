"""Drawing with matplotlib, which only `--plot` and `Result.plot` need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine.errors import PyengineError
from pyengine.images.writing import ByteImage, encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyengine.result import Iteration


def check_plot(asked: str = "--plot") -> None:
    """Refuse, before the work, to draw where matplotlib is missing.

    Parameters
    ----------
    asked : str
        What asked for a drawing; the error begins with it. Default: "--plot".

    Raises
    ------
    PyengineError
        Matplotlib can't be imported.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise PyengineError(f"{asked}: matplotlib is not installed: pip install 'pyengine[plot]'") from None


def new_figure(width: float, height: float, asked: str = "--plot") -> Figure:
    """Make an empty figure, of a size in inches, for what `check_plot` names.

    Raises
    ------
    PyengineError
        There is no matplotlib.
    """
    check_plot(asked)
    from matplotlib.figure import Figure  # pyplot would open windows, and keep its state

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def label_by_size(panel: Axes, sizes: Iterable[int], figure: str) -> None:
    """Finish a panel of some figure, from 0 up, against the size of outputs, by doublings."""
    ticks = sorted(set(sizes))
    panel.set_xscale("log", base=2)
    panel.set_xticks(ticks, [str(size) for size in ticks])
    panel.set_xticks([], minor=True)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("pixels on a side of the output")
    panel.set_ylabel(figure)
    panel.grid(alpha=0.3)
    panel.legend()


def plot_terms(history: Sequence[Iteration], sizes: Sequence[tuple[int, int]]) -> Figure:
    """Draw the objective and its terms over the iterations, a panel a level.

    Parameters
    ----------
    history : list of Iteration
    sizes : sequence of (width, height)
        The levels'.

    Returns
    -------
    matplotlib.figure.Figure
        It shows itself in a notebook, where pyplot is not imported too.

    Raises
    ------
    PyengineError
        There is no matplotlib, or no iteration.
    """
    check_plot("plot")
    if not history:
        raise PyengineError("plot: there was no iteration, of which terms could be shown: give more iterations")
    levels = sorted({state.level for state in history})
    figure = new_figure(4 * len(levels) + 2, 4)
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(name for state in history for name in state.terms))
    styles = {name: {"color": f"C{k % 10}", "linestyle": ("-", "--", ":")[k // 10 % 3]} for k, name in enumerate(names)}
    for level, panel in zip(levels, panels, strict=True):
        states = [state for state in history if state.level == level]
        at = [state.iteration for state in states]
        panel.plot(at, [state.value for state in states], "black", label="value")
        for name in names:
            panel.plot(at, [state.terms.get(name, np.nan) for state in states], label=name, **styles[name])
        panel.set_title("level {}, {}x{}".format(level, *sizes[level]))
        panel.set_xlabel("iteration")
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    vars(figure)["_repr_png_"] = lambda: bytes(encode(pixels_of(figure), "plot.png"))
    return figure


def pixels_of(figure: Figure) -> ByteImage:
    """The pixels of a figure, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[:, :, :3].copy()
