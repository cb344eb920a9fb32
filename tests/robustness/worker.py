"""`python -m robustness.worker KIND SEED COUNT FILE`: tries so many inputs, and writes to a file what came of them.

A process of its own, for an input may end it. The file is written before each input, so that it names the one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MOST_SHOWN = 1500
"""Characters of an input's description that are kept."""


@dataclass
class Tally:
    """What came of inputs.

    Attributes
    ----------
    inputs, accepted, refused : int
        How many were tried, led to a result, and to an error of one line.
    tracebacks : int
        How many led to anything else: another exception, several lines, warnings, too much memory.
    lost : int
        How many left a file cut, changed or gone, or one that is nobody's.
    crashes : int
        How many ended the process, or never ended.
    findings : dict
        Of the last three, what happened with an input that it happened with.
    current : str
        The input that is being tried.
    """

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    tracebacks: int = 0
    lost: int = 0
    crashes: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    current: str = ""

    def add(self, other: Tally) -> None:
        """Take in another's."""
        for name in ("inputs", "accepted", "refused", "tracebacks", "lost", "crashes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings = {**other.findings, **self.findings}

    @property
    def faultless(self) -> bool:
        """Whether all was accepted or refused."""
        return self.tracebacks == self.lost == self.crashes == 0


def key_of(error: BaseException) -> str:
    """What went wrong and where, alike for what is likely to be the same fault."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}pyengine{os.sep}" in f.filename]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error)[:120]}{place}"


def work(kind: Any, seed: int, count: int, file: Path) -> None:
    """Try inputs of a kind, until there were so many."""
    from robustness.oracle import Lost

    tally = Tally()
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        os.environ["PYENGINE_MODELS"] = str(folder / "models")

        def write() -> None:
            new = file.with_suffix(".new")  # for whoever ends this process may read the other
            new.write_text(json.dumps(asdict(tally)))
            new.replace(file)

        def one(value: Any) -> None:
            tally.inputs += 1
            tally.current = repr(value)[:MOST_SHOWN]
            write()
            try:
                accepted = kind.accepts(value, folder)
            except Exception as error:
                if isinstance(error, Lost):
                    tally.lost += 1
                else:
                    tally.tracebacks += 1
                tally.findings.setdefault(key_of(error), tally.current)
            else:
                tally.accepted += accepted
                tally.refused += not accepted

        kind.each(seed, count, one, shrink=False)
        write()
        os.chdir(file.parent)


def main() -> None:
    """Do what the command line says."""
    from robustness.faults import GROUPS, Faulty
    from robustness.fuzzing import KINDS

    faulthandler.enable()
    name, seed, count, file = sys.argv[1:]
    kind: Any = Faulty(name) if name in GROUPS else KINDS[name]
    work(kind, int(seed), int(count), Path(file))


if __name__ == "__main__":
    main()
