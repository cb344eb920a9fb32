"""The methods: what each sets where the caller says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyengine.losses.base import Weight
from pyengine.network.graphs import Beyond
from pyengine.pyramid import Start
from pyengine.wrap import BOTH, NEITHER, Wrap

Method = Literal["histogram", "gatys"]


@dataclass(frozen=True)
class Preset:
    """What a method sets.

    Attributes
    ----------
    weights : dict of str to float
        Weights of the terms that are not automatic. Default: none.
    start : {"noise", "patches"}
        What a texture starts from. Default: "patches".
    wrap : Wrap
        In which axes a texture tiles with itself. Default: in both.
    padding : {"reflect", "zeros"}
        What the network sees beyond borders that do not meet. Default: "reflect".
    levels, iterations : int, optional
        How many levels the pyramid has, and how many iterations each gets. Default: None, as `pyengine.synthesize`
        says.
    """

    weights: Mapping[str, Weight] = field(default_factory=dict)
    start: Start = "patches"
    wrap: Wrap = BOTH
    padding: Beyond = "reflect"
    levels: int | None = None
    iterations: int | None = None


PRESETS: dict[Method, Preset] = {
    "histogram": Preset(),
    "gatys": Preset(
        {"gram": 1.0, "histogram": 0.0}, start="noise", wrap=NEITHER, padding="zeros", levels=1, iterations=500
    ),
}
