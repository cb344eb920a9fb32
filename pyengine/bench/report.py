"""What is done with a report of the suite: shown, drawn, read again, and compared with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from pyengine.checks import is_integer, is_number
from pyengine.errors import PyengineError
from pyengine.figures import new_figure, pixels_of
from pyengine.images.writing import ByteImage

Report: TypeAlias = dict[str, Any]
"""What `suite.measure` returns, with "versions"."""

MACHINE = ("cpu", "cores", "os", "simd", "threads")
"""The entries that say where a report was measured: a comparison says which of them differ, and which versions."""

ONCE = ("import_s", "copy_gb_per_s")
"""The entries that are measured once a report, not once a size."""

FIGURES = {
    "over_networks": ("evaluation / (forward + backward)", ".2f"),
    "over_floor": ("evaluation / floor", ".2f"),
    "gflop": ("GFLOP of convolutions", ".1f"),
    "gflops": ("GFLOP/s in forward and backward", ".0f"),
    "gemm_gflops": ("GFLOP/s of a GEMM in between", ".0f"),
    "share_of_gemm": ("share of that", ".0%"),
    "network_mb": ("arrays of the network, MB", ".0f"),
    "peak_mb": ("peak of a new process, MB", ".0f"),
    "page_faults": ("page faults an evaluation", ".0f"),
    "torch_over_ours": ("PyTorch / evaluation", ".2f"),
}
"""Label and format of those of a size's figures that are shown."""

BARS = ("forward", "losses", "backward", "optimizer")
"""The stages that an iteration of a synthesis consists of."""


def lines(report: Report) -> Iterator[str]:
    """The lines of a report for the eye: the machine, then what was measured, with a column for each size."""
    memory = "" if report["memory_gb"] is None else f", {report['memory_gb']:.1f} GB"
    yield f"{report['cpu']}, {report['cores']} cores{memory}, {report['os']}"
    yield f"threads {report['threads']}, kernels {report['simd']}; medians of {report['repeats']}"
    yield f"copy {report['copy_gb_per_s']:.1f} GB/s, import pyengine {1000 * report['import_s']:.1f} ms"
    rows = report["sizes"]
    cells = {
        "pixels on a side": [str(row["size"]) for row in rows],
        **{f"{_label(s)}, ms": [f"{1000 * row['seconds'][s]:.1f}" for row in rows] for s in rows[0]["seconds"]},
        **{
            label: [format(row[figure], form) for row in rows]
            for figure, (label, form) in FIGURES.items()
            if rows[0].get(figure) is not None
        },
    }
    yield from _table(cells)


def comparison(new: Report, old: Report) -> Iterator[str]:
    """The lines that say what `differences` and `ratios` find, for the eye."""
    found = ratios(new, old)
    yield "new / old: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items() if "/" not in name)
    yield from (f"differs: {difference}" for difference in differences(new, old))
    both = [str(row["size"]) for row in new["sizes"] if row["size"] in [other["size"] for other in old["sizes"]]]
    stages = dict.fromkeys(name.partition("/")[2] for name in found if "/" in name)
    ratio = {name: f"{value:.2f}" for name, value in found.items()}
    if both:
        cells = {_label(stage): [ratio.get(f"{size}/{stage}", "") for size in both] for stage in stages}
        yield from _table({"pixels on a side": both, **cells})


def _label(stage: str) -> str:
    """A stage's name for the eye: a term's is indented, as its seconds are in those of the losses already."""
    return f"  {stage}" if "/" in stage else stage


def _table(cells: dict[str, list[str]]) -> Iterator[str]:
    width = max(map(len, cells))
    for label, texts in cells.items():
        yield f"{label:{width}}" + "".join(f" {text:>8}" for text in texts)


def differences(new: Report, old: Report) -> list[str]:
    """What differs between two reports besides their times: "threads 2, was 1", and so on.

    Examples
    --------
    >>> machine = {**dict.fromkeys(MACHINE), "versions": {"numpy": "2.4.0"}, "sizes": []}
    >>> differences({**machine, "threads": 2, "versions": {}}, {**machine, "threads": 1})
    ['threads 2, was 1', 'numpy none, was 2.4.0']
    """
    sides = []
    for report in (new, old):
        sizes = ",".join(str(row["size"]) for row in report["sizes"])
        sides.append({**{key: report[key] for key in MACHINE}, "sizes": sizes, **report["versions"]})
    now, then = sides
    return [
        f"{key} {now.get(key, 'none')}, was {then.get(key, 'none')}"
        for key in now | then
        if now.get(key) != then.get(key)
    ]


def ratios(new: Report, old: Report) -> dict[str, float]:
    """The ratio of every time that both reports have, new to old: below 1 is faster.

    The machine's rates are among them as times: where those are above 1, the machine itself is slower today.

    Examples
    --------
    >>> old = {"import_s": 1.0, "copy_gb_per_s": 10.0, "sizes": []}
    >>> ratios({**old, "import_s": 0.5, "copy_gb_per_s": 8.0}, old)
    {'import': 0.5, 'copy': 1.25}
    """
    times, old_times = _times(new), _times(old)
    return {name: times[name] / old_times[name] for name in times if name in old_times}


def _times(report: Report) -> dict[str, float]:
    times = {"import": report["import_s"], "copy": 1 / report["copy_gb_per_s"]}
    for row in report["sizes"]:
        stages = row["seconds"] | {"GEMM": 1 / row["gemm_gflops"]}
        times |= {f"{row['size']}/{stage}": seconds for stage, seconds in stages.items()}
    return times


def read(path: Path) -> Report:
    """Read a report that `pyengine bench --output` wrote.

    Raises
    ------
    PyengineError
        There is no report at this path; the message says what is wrong with what there is.

    Examples
    --------
    >>> read(Path("missing.json"))
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: missing.json: cannot be read (No such file or directory): give a file that ...
    """
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
        wrong = _fault(report)
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        wrong = "is not JSON"
    if wrong:
        raise PyengineError(f"{path}: {wrong}: give a file that `pyengine bench --output` wrote")
    return report


def _fault(report: Any) -> str | None:
    """What keeps a JSON document from being compared with, if anything."""
    if not isinstance(report, dict):
        return "is not a JSON object"
    for key in (*MACHINE, *ONCE, "sizes", "versions"):
        if key not in report:
            return f"has no {key!r}"
    if not isinstance(report["versions"], dict):
        return "'versions' is not a JSON object"
    if not isinstance(report["sizes"], list):
        return "'sizes' is not a list"
    for row in report["sizes"]:
        if not (isinstance(row, dict) and is_integer(row.get("size")) and isinstance(row.get("seconds"), dict)):
            return "'sizes' holds something without 'size' and 'seconds'"
    numbers = {key: report[key] for key in ONCE}
    for row in report["sizes"]:
        own = row["seconds"] | {"gemm_gflops": row.get("gemm_gflops")}
        numbers |= {f"{row['size']}/{key}": value for key, value in own.items()}
    for name, value in numbers.items():
        if not (is_number(value) and 0 < value <= sys.float_info.max):
            return f"{name!r} is not a positive number"
    return None


def plot(report: Report) -> ByteImage:
    """Draw an iteration's stages at every size, stacked, in nanoseconds a pixel, and the convolutions' floor dashed.

    Raises
    ------
    PyengineError
        There is no matplotlib.
    """
    figure = new_figure(7, 4)
    panel = figure.subplots()
    rows = report["sizes"]
    sizes = [str(row["size"]) for row in rows]
    below = [0.0] * len(rows)
    for stage in BARS:
        heights = [1e9 * row["seconds"][stage] / row["size"] ** 2 for row in rows]
        panel.bar(sizes, heights, 0.6, bottom=below, label=stage)
        below = [b + h for b, h in zip(below, heights, strict=True)]
    for k, row in enumerate(rows):
        floor = 1e9 * row["gflop"] / row["gemm_gflops"] / row["size"] ** 2
        panel.hlines(floor, k - 0.4, k + 0.4, "black", "dashed", label="" if k else "floor")
    panel.set_xlabel("pixels on a side")
    panel.set_ylabel("nanoseconds a pixel")
    panel.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return pixels_of(figure)
