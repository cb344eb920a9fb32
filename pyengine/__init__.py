"""Stable, controllable neural texture synthesis and style transfer with histogram losses, on ONNX Runtime."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pyengine.errors import PyengineError

if TYPE_CHECKING:
    from pyengine.api import synthesize
    from pyengine.batch.run import Outcome, run_batch
    from pyengine.engine import Engine
    from pyengine.inspection import Inspection, inspect
    from pyengine.network.library import ModelInfo, import_model, list_models, remove_model
    from pyengine.objective import Objective
    from pyengine.quality.measures import Comparison, compare
    from pyengine.recipe import Recipe
    from pyengine.result import Iteration, Progress, Result

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "quality.measures",
    "Engine": "engine",
    "Inspection": "inspection",
    "Iteration": "result",
    "ModelInfo": "network.library",
    "Objective": "objective",
    "Outcome": "batch.run",
    "Progress": "result",
    "Recipe": "recipe",
    "Result": "result",
    "compare": "quality.measures",
    "import_model": "network.library",
    "inspect": "inspection",
    "list_models": "network.library",
    "remove_model": "network.library",
    "run_batch": "batch.run",
    "synthesize": "api",
}

__all__ = [
    "Comparison",
    "Engine",
    "Inspection",
    "Iteration",
    "ModelInfo",
    "Objective",
    "Outcome",
    "Progress",
    "PyengineError",
    "Recipe",
    "Result",
    "compare",
    "import_model",
    "inspect",
    "list_models",
    "remove_model",
    "run_batch",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: NumPy and Pillow take longer than ``pyengine --help``."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ImportError as error:
        if find_spec(f"{__name__}._core") is not None:
            raise
        raise ImportError('the compiled module is not built: in the clone, run pip install -e ".[cpu]"') from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
