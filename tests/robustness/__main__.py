"""`python -m robustness`: many inputs and faults, in processes of their own, and one table of what came of them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from robustness.faults import GROUPS
from robustness.fuzzing import KINDS
from robustness.worker import Tally

CHUNK = 1000
"""Inputs that a process tries: to start one takes as long as some hundreds of them."""

PAUSE, SILENCE = 0.2, 180
"""Seconds between two looks at the processes, and after which an input hangs."""


@dataclass
class Work:
    """So many inputs of a kind, for a process."""

    kind: str
    seed: int
    count: int


@dataclass
class Running:
    """A process at work."""

    work: Work
    process: subprocess.Popen[bytes]
    file: Path
    began: float
    looks: int = 0
    seen: float = 0.0

    @property
    def hangs(self) -> bool:
        """Whether it has been at the same input at many looks: by their number, for all may have been suspended."""
        now = self.file.stat().st_mtime if self.file.exists() else 0.0
        self.looks, self.seen = (self.looks + 1, now) if now == self.seen else (0, now)
        return self.looks * PAUSE > SILENCE


def shares(inputs: int, faults: int) -> dict[str, int]:
    """How many there are to be of each kind."""
    return {
        **{name: round(inputs * kind.share) for name, kind in KINDS.items()},
        **{name: round(faults * share) for name, (_, share) in GROUPS.items()},
    }


class Soak:
    """All of it: what is to be done, what is at work, and what came of it."""

    def __init__(self, counts: dict[str, int], seed: int, folder: Path) -> None:
        self.folder, self.seed = folder, seed
        self.tallies = {kind: Tally() for kind, count in counts.items() if count}
        self.seconds = dict.fromkeys(self.tallies, 0.0)
        self.running: list[Running] = []
        self.made = 0
        chunks = {
            kind: [CHUNK] * (count // CHUNK) + [count % CHUNK] * (count % CHUNK > 0) for kind, count in counts.items()
        }
        most = max(map(len, chunks.values()))
        self.waiting = deque(
            self._work(kind, sizes[k]) for k in range(most) for kind, sizes in chunks.items() if k < len(sizes)
        )

    def _work(self, kind: str, count: int) -> Work:
        self.made += 1
        return Work(kind, self.seed * 10**6 + self.made, count)

    def run(self, jobs: int) -> None:
        """Do all, so many processes at a time."""
        while self.waiting or self.running:
            while self.waiting and len(self.running) < jobs:
                self._start(self.waiting.popleft())
            time.sleep(PAUSE)
            for running in [*self.running]:
                if running.process.poll() is not None:
                    self._end(running)
                elif running.hangs:
                    running.process.kill()
                    running.process.wait()
                    self._end(running)

    def _start(self, work: Work) -> None:
        file = self.folder / f"{work.seed}.json"
        words = [sys.executable, "-m", "robustness.worker", work.kind, str(work.seed), str(work.count), str(file)]
        with (self.folder / f"{work.seed}.txt").open("wb") as said:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.folder)},  # what a crashed one leaves there goes with the rest
            )
        self.running.append(Running(work, process, file, time.monotonic()))

    def _end(self, running: Running) -> None:
        """Take in what a process has found; what is left of a crashed one's inputs is for another."""
        self.running.remove(running)
        work, code = running.work, running.process.returncode
        if not running.file.exists():
            sys.exit(f"{work.kind}: no input was tried:\n{running.file.with_suffix('.txt').read_text()}")
        tally = Tally(**json.loads(running.file.read_text()))
        if code != 0:
            tally.crashes += 1
            said = running.file.with_suffix(".txt").read_text(errors="replace")[-1000:]
            tally.findings[f"exit code {code} of the process: {said}"] = tally.current
            if tally.inputs < work.count:
                self.waiting.append(self._work(work.kind, work.count - tally.inputs))
        self.tallies[work.kind].add(tally)
        self.seconds[work.kind] += time.monotonic() - running.began
        tried = sum(tally.inputs for tally in self.tallies.values())
        print(f"{tried} tried, {len(self.waiting)} processes to come", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """End the processes, and take in what they have found so far."""
        for running in [*self.running]:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
            running.process.returncode = 0
            if running.file.exists():
                self._end(running)

    def table(self) -> str:
        """What came of it, a line for each kind, and of all."""
        rows = [("kind", "tried", "done", "refused", "crashes", "tracebacks", "lost or left", "seconds")]
        total, seconds = Tally(), 0.0
        for kind, tally in [*self.tallies.items(), ("all", total)]:
            spent = seconds if tally is total else self.seconds[kind]
            counts = (tally.inputs, tally.accepted, tally.refused, tally.crashes, tally.tracebacks, tally.lost)
            rows.append((kind, *map(str, counts), f"{spent:.0f}"))
            if tally is not total:
                total.add(tally)
                seconds += spent
        return "\n".join(
            "".join(f"{word:<12}" if k == 0 else f"{word:>13}" for k, word in enumerate(row)) for row in rows
        )

    def findings(self) -> str:
        """Each fault that was found, with an input that shows it."""
        return "\n".join(
            f"\n{kind}: {what}\n    {value}"
            for kind, tally in self.tallies.items()
            for what, value in tally.findings.items()
        )


def main() -> None:
    """Do what the command line says; the exit code is 1 if anything was found."""
    parser = argparse.ArgumentParser(prog=".ci/soak", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="how many inputs (default: 100000)")
    parser.add_argument("--faults", type=int, default=400, metavar="N", help="how many faults (default: 400)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what they are made from (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes (default: one a core)")
    parser.add_argument("--only", action="append", metavar="KIND", help=f"one of {', '.join([*KINDS, *GROUPS])}")
    options = parser.parse_args()
    counts = shares(options.inputs, options.faults)
    if options.only:
        counts = {kind: counts[kind] for kind in options.only}
    for number in (signal.SIGINT, signal.SIGTERM):  # of which the first is ignored in the background of a shell
        signal.signal(number, signal.default_int_handler)
    with TemporaryDirectory() as folder:
        soak = Soak(counts, options.seed, Path(folder))
        try:
            soak.run(options.jobs)
        except KeyboardInterrupt:
            print("stopped")
        finally:
            soak.stop()
        print(soak.table())
        print(soak.findings())
    sys.exit(not all(tally.faultless for tally in soak.tallies.values()))


if __name__ == "__main__":
    main()
