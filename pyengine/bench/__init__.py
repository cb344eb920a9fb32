"""What the engine costs, and what its method is worth, measured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pyengine.errors import PyengineError


def load_torch_baseline() -> Any:
    """Import the module `torch_baseline`, which needs PyTorch.

    Raises
    ------
    PyengineError
        PyTorch is not installed.
    """
    try:
        return import_module("pyengine.bench.torch_baseline")
    except ImportError:
        raise PyengineError("--against torch: PyTorch is not installed; pip install torch") from None
