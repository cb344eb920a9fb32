"""Ctrl-C in a long run: the first keeps what there is, the second ends the program."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

TEXT = b"\nInterrupted: the picture so far is kept after this iteration; Ctrl-C once more ends at once.\n"


class Interrupt:
    """Notes the first Ctrl-C instead of what it would do, once `watch` was called, until the context ends.

    The handler that there was is back from then on. Nothing is noted where it can't be: in another thread than the main
    one, or where Ctrl-C is ignored.

    Attributes
    ----------
    noted : bool
        Whether there was one.

    Examples
    --------
    >>> with Interrupt() as interrupt:
    ...     interrupt.watch()
    >>> interrupt.noted
    False
    """

    def __init__(self) -> None:
        self.noted = False
        self._handler: Callable[[int, FrameType | None], object] | int | None = None

    def watch(self) -> None:
        """Begin, if that has not been done yet: before there is a picture, there is nothing to keep."""
        if self.noted or self._handler is not None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) not in (None, signal.SIG_IGN):  # None is no handler of Python's
            self._handler = signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = True
        self._give_back()
        with suppress(OSError):
            os.write(2, TEXT)  # whatever was being printed may be in the middle of it

    def _give_back(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def __enter__(self) -> Interrupt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
