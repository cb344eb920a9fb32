"""Workers without an engine or a process, for tests of what stands around them."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

from pyengine.batch import remote
from pyengine.batch.pool import Died, Task
from pyengine.files import is_url

INTRODUCTION = {
    "device": "cpu",
    "devices": [],
    "precision": "float32",
    "model": "0123",
    "bytes": 8 * 10**9,
    "cores": 2,
    "threads": 2,
}
SHOWN = base64.b64encode(b"a small picture").decode()


class Fake:
    """Writes its name into each file; refuses levels; seed 66 kills it, 67 fails, 69 kills it once. `log` has it."""

    log: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def __init__(self, engine: Mapping[str, Any], at_once: int) -> None:
        self.engine, self.at_once = engine, at_once
        self.waiting: SimpleQueue[Task | None] = SimpleQueue()
        self.count("start")

    def count(self, what: str) -> int:
        with self.lock:
            self.log[what] += 1
            return self.log[what]

    def introduce(self) -> dict[str, Any]:
        return {**INTRODUCTION, **self.engine.get("introduction", {})}

    @property
    def name(self) -> str:
        return "fake"

    def send(self, task: Task) -> None:
        self.waiting.put(task)

    def receive(self, timeout: float | None) -> dict[str, Any]:
        task = self.waiting.get()
        if task is None:
            raise Died("ended")
        asked = task.asked
        seed = asked["recipe"].get("seed", 0)
        self.count(asked["do"])
        if asked["do"] == "check":
            if "levels" in asked["recipe"]:
                return {"name": asked["name"], "error": "no such layer"}
            side = asked["recipe"].get("size", 16)
            return {"name": asked["name"], "bytes": side * 10**7, "size": [side, side]}
        if asked["do"] == "time":
            return {"name": asked["name"], "seconds": 2.0}
        if seed == 66 or (seed == 69 and self.count("69") == 1):
            self.count("died")
            raise Died("ended its worker (SIGABRT)")
        if seed == 67:
            return {"name": asked["name"], "error": "no room on the disk"}
        if is_url(asked["path"]):
            remote.write(asked["path"], asked["name"].encode())
        else:
            path = Path(asked["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(asked["name"])
        figures = {"patch_distance": seed / 100} if asked["compare"] else {}
        return {
            "name": asked["name"], "seconds": 0.5, "figures": figures, "exemplar_shown": SHOWN, "shown": SHOWN,
        }  # fmt: skip

    def forget(self) -> None: ...

    def end(self) -> None:
        self.waiting.put(None)

    def close(self) -> None:
        self.count("close")
