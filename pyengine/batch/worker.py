"""A worker: a process with an engine, which does what each line of its standard input asks for.

Lines are JSON, in both directions. The first to come says what engine to make, and the answer what it is. Then comes a
task a line, with an answer each: {"do": "check", "recipe": ...} asks what making it takes, "time" how long it takes,
"make" for the picture. A task that fails is answered with its "error"; one that ends the process is not answered.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from pyengine.batch import remote
from pyengine.devices import gpus
from pyengine.document import PICTURES
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.files import is_url, one_line
from pyengine.images.writing import to_uint8
from pyengine.machine import cores, default_threads, reading_within
from pyengine.recipe import Recipe
from pyengine.result import Progress

SHOWN = 96
"""Pixels on the longer side of the small pictures for the report."""

TRIED = 3
"""Iterations at each level by which the time of all is told."""


def main() -> None:
    """Serve until standard input ends, which it does when whoever asks is gone, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the one that asks decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    tasks = os.fdopen(os.dup(0), encoding="utf-8")
    asked = json.loads(tasks.readline())
    try:
        engine = Engine(**asked["engine"])
    except Exception as error:
        _answer(answers, {"error": _told(error)})
        return
    _answer(answers, _introduction(engine))
    Worker(engine, answers).serve(tasks, asked["at_once"])


def _introduction(engine: Engine) -> dict[str, Any]:
    device = engine.device.kind
    return {
        "device": device,
        "devices": [] if device == "cpu" else [f"{device}:{gpu['index']}" for gpu in gpus()],
        "precision": engine.precision,
        "model": engine.model.sha256,
        "bytes": int(min(engine.budget.limit, sys.maxsize)),
        "cores": cores(),
        "threads": default_threads(),
    }


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _told(error: Exception) -> str:
    """What went wrong, on one line."""
    if isinstance(error, PyengineError):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory is short (MemoryError): give fewer workers, or a lower memory_limit"
    return f"{type(error).__name__}: {one_line(error)}"


class Worker:
    """Does tasks with one engine.

    Parameters
    ----------
    engine : Engine
    answers : file
        Where answers are written, a line each.
    """

    def __init__(self, engine: Engine, answers: TextIO) -> None:
        self.engine, self._answers = engine, answers
        self._kept = threading.Lock()  # held while something is written that is to be whole

    def serve(self, tasks: TextIO, at_once: int) -> None:
        """Do all tasks, then end the process.

        On a GPU there are two at once, of which one decodes or writes pictures while the other has the engine.
        """
        threads = ThreadPoolExecutor(at_once)
        for line in tasks:
            threads.submit(self._serve, json.loads(line))
        # Nobody asks any more: what is being made is not wanted, but what is being written is not to be cut.
        with self._kept:
            os._exit(0)

    def _serve(self, task: dict[str, Any]) -> None:
        do = {"check": self.check, "time": self.time, "make": self.make}[task["do"]]
        try:
            answer = do(task)
        except Exception as error:
            answer = {"error": _told(error)}
        with self._kept:
            _answer(self._answers, {"name": task["name"], **answer})

    def check(self, task: dict[str, Any]) -> dict[str, Any]:
        """Say what a task takes, or refuse it by what a run would refuse before the work."""
        recipe = self._recipe(task)
        return {"bytes": self.engine.needed_bytes(recipe), "size": recipe.sizes[-1]}

    def time(self, task: dict[str, Any]) -> dict[str, Any]:
        """Say how long a task would take, by a few iterations at each level."""
        recipe = self._recipe(task)
        moments: dict[int, list[float]] = {}

        def note(progress: Progress) -> None:
            moments.setdefault(progress.state.level, []).append(time.perf_counter())

        tried = tuple(min(iterations, TRIED) for iterations in recipe.iterations)
        seconds = self.engine.run(replace(recipe, iterations=tried), note).timings["total"]
        for level, found in moments.items():
            each = (found[-1] - found[0]) / max(len(found) - 1, 1)
            seconds += (recipe.iterations[level] - len(found)) * each
        return {"seconds": seconds}

    def make(self, task: dict[str, Any]) -> dict[str, Any]:
        """Make a picture, and put it in its place."""
        began = time.perf_counter()
        recipe = self._recipe(task)
        result = self.engine.run(recipe)
        figures: dict[str, float | None] = {}
        if task["compare"]:
            from pyengine.quality.measures import compare

            found = asdict(compare(self._exemplar(recipe), result.image[:, :, :3]))
            figures = {
                name: x if x is None or math.isfinite(x) else None for name, x in found.items()
            }  # as JSON has it
        place = task["path"]
        with self._kept:
            if is_url(place):
                folder, _, name = place.rpartition("/")
                for one, file in result.files(name).items():
                    remote.write(f"{folder}/{file}", result.encode(file.suffix, map=one))
            else:
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                result.save(place)
        return {
            "seconds": time.perf_counter() - began,
            "figures": figures,
            "exemplar_shown": _shown(self._exemplar(recipe)),
            "shown": _shown(result.image),
        }

    def _recipe(self, task: dict[str, Any]) -> Recipe:
        """The recipe, whose files must be what they were when the task was written down."""
        own = self.engine.budget.limit if self.engine.device.kind == "cpu" else None
        with reading_within(own):
            fetched = remote.fetched(task["recipe"], PICTURES)
            return Recipe.from_json(json.dumps({"recipe": task["recipe"]}), **fetched).focused()

    @staticmethod
    def _exemplar(recipe: Recipe) -> Any:
        """The first exemplar, or its first map, at the size at which it is measured."""
        return to_uint8(recipe.level.exemplars[0].guide)


def _shown(image: Any) -> str:
    """A small picture, WebP, in characters."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.BOX, reducing_gap=1)
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=60)
    return base64.b64encode(encoded.getvalue()).decode()
