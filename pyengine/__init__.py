"""Stable, controllable neural texture synthesis and style transfer with histogram losses, on ONNX Runtime."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine.api import synthesize
    from pyengine.engine import Engine
    from pyengine.network.library import ModelInfo, import_model, list_models, remove_model
    from pyengine.objective import Objective
    from pyengine.quality import Comparison, compare
    from pyengine.result import Iteration, Progress, Result

__all__ = [
    "Comparison",
    "Engine",
    "Iteration",
    "ModelInfo",
    "Objective",
    "Progress",
    "PyengineError",
    "Result",
    "compare",
    "import_model",
    "list_models",
    "remove_model",
    "synthesize",
]
__version__ = "0.1.0"

_HOMES = {
    "Comparison": "quality",
    "Engine": "engine",
    "Iteration": "result",
    "ModelInfo": "network.library",
    "Objective": "objective",
    "Progress": "result",
    "Result": "result",
    "compare": "quality",
    "import_model": "network.library",
    "list_models": "network.library",
    "remove_model": "network.library",
    "synthesize": "api",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: NumPy and Pillow take longer than ``pyengine --help``."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
