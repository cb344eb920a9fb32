"""Stable, controllable neural texture synthesis with histogram losses, on ONNX Runtime."""

from pyengine.api import synthesize
from pyengine.engine import Engine
from pyengine.errors import PyengineError
from pyengine.objective import Objective
from pyengine.result import Iteration, Progress, Result

__all__ = ["Engine", "Iteration", "Objective", "Progress", "PyengineError", "Result", "synthesize"]
__version__ = "0.1.0"
