"""The ONNX Runtime that is installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from pyengine import Engine, PyengineError
from pyengine.network import sessions


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (["onnxruntime", "onnxruntime-gpu"], r"both installed .*: pip uninstall -y onnxruntime onnxruntime-gpu"),
        (["onnxruntime", "onnxruntime"], None),
    ],
)
def test_two_runtimes_are_refused(monkeypatch, installed, message):
    others = [SimpleNamespace(name="cowsay", read_text=lambda _: None)]  # not every distribution has the file
    top_level = {"top_level.txt": "onnxruntime\n"}
    found = [SimpleNamespace(name=name, version="1.2", read_text=top_level.get) for name in installed]
    monkeypatch.setattr(sessions, "distributions", lambda: others + found)
    sessions.runtime.cache_clear()
    if message is None:
        sessions.runtime()
    else:
        with pytest.raises(PyengineError, match=message):
            sessions.runtime()


def test_no_runtime_says_what_to_type(monkeypatch):
    monkeypatch.setattr(sessions, "distributions", list)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    sessions.runtime.cache_clear()
    with pytest.raises(PyengineError, match=r"pip install 'pyengine\[cpu\]'"):
        Engine()
