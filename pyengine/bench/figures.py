"""Drawing with matplotlib, which only `--plot` needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pyengine.errors import PyengineError
from pyengine.images.writing import ByteImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def check_plot() -> None:
    """Refuse, before the work, to draw where matplotlib is missing.

    Raises
    ------
    PyengineError
        Matplotlib can't be imported.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise PyengineError("--plot: matplotlib is not installed: pip install 'pyengine[plot]'") from None


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, of a size in inches.

    Raises
    ------
    PyengineError
        There is no matplotlib.
    """
    check_plot()
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


def pixels_of(figure: Figure) -> ByteImage:
    """The pixels of a figure, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[:, :, :3].copy()
