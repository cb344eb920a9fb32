"""Inputs of five kinds, each tried until something else comes of one than a result or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pyengine.errors import PyengineError
from robustness import arguments, commands, kernels, models, pictures
from robustness.oracle import check_line


@dataclass(frozen=True)
class Kind:
    """A kind of inputs.

    Attributes
    ----------
    inputs : strategy
        Their descriptions: short, and enough to make one again.
    act : function
        Does what is done with an input, in a folder that is there for it; raises one of `refusals`, or what is a fault.
    few : int
        How many are tried in the tests.
    share : float
        What share of all inputs they are, where there are many.
    refusals : tuple of types of exceptions, default PyengineError
        What an input may be refused with.
    """

    inputs: st.SearchStrategy[Any]
    act: Callable[[Any, Path], None]
    few: int
    share: float
    refusals: tuple[type[Exception], ...] = (PyengineError,)

    def accepts(self, value: Any, folder: Path) -> bool:
        """Whether an input leads to a result, and not to a refusal; raises whatever else it leads to."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings(
                "ignore", message=r"threads=\d+ are more|the recipe is of pyengine"
            )  # as they should
            for told in ("not black or white", "read as grey", "snapped to", "is a region"):  # how something was read
                warnings.filterwarnings("ignore", f".*{told}")
            warnings.filterwarnings("ignore", module=r"PIL\b")  # or it would be an error of the picture's
            try:
                self.act(value, folder)
            except self.refusals as error:
                if isinstance(error, PyengineError):
                    check_line(str(error))
                return False
            return True

    def each(self, seed: int, count: int, function: Callable[[Any], None], *, shrink: bool) -> None:
        """Call a function with so many inputs; with `shrink`, what it raises is that of the simplest such input."""

        @hypothesis.seed(seed)
        @settings(
            max_examples=count,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        )
        @given(self.inputs)
        def run(value: Any) -> None:
            function(value)

        run()


KINDS = {
    "pictures": Kind(pictures.inputs, pictures.act, 400, 0.3),
    "models": Kind(models.inputs, models.act, 300, 0.15),
    "arguments": Kind(arguments.inputs, arguments.act, 200, 0.15),
    "commands": Kind(commands.inputs, commands.act, 160, 0.1),
    "kernels": Kind(kernels.inputs, kernels.act, 600, 0.3, (TypeError, ValueError)),
}
