"""Versions of what the numbers depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

from pyengine.network.sessions import runtimes

PACKAGES = ("pyengine", "numpy", "scipy", "onnx")


def versions() -> dict[str, str]:
    """Versions by name; ONNX Runtime's and CuPy's under the names of the distributions that brought them.

    Examples
    --------
    >>> {"pyengine", "numpy", "python"} < set(versions())
    True
    """
    brought = {**runtimes("onnxruntime"), **runtimes("cupy")}
    return {**{package: version(package) for package in PACKAGES}, **brought, "python": platform.python_version()}
