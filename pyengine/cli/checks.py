"""What commands refuse before the work begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pyengine.errors import PyengineError


def check_not_an_input(output: Path, *inputs: Path) -> None:
    """Raise PyengineError for a file that is to be written, but is read as well."""
    for path in inputs:
        with suppress(OSError, ValueError):  # one of them is not there, or can't be
            if output.samefile(path):
                raise PyengineError(f"{output} is one of the images to read: write to another file")


def check_plot(plot: Path, *inputs: Path) -> None:
    """Raise PyengineError for a plot that can't be drawn or written, or would be written over what is read."""
    from pyengine import figures
    from pyengine.images.writing import check_output

    check_output(plot)
    check_not_an_input(plot, *inputs)
    figures.check_plot()
