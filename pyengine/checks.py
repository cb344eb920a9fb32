"""Questions that every argument is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyengine.errors import PyengineError


def is_number(value: Any) -> bool:
    """Whether a value is a real number that a float holds, which True and False are not."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number, which True and False are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_flag(name: str, value: object) -> None:
    """Raise PyengineError for a value that is neither True nor False.

    Examples
    --------
    >>> check_flag("seamless", "no")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: seamless='no': give True or False
    """
    if not isinstance(value, (bool, np.bool_)):
        raise PyengineError(f"{name}={value!r}: give True or False")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise PyengineError for a value that is none of the choices.

    Examples
    --------
    >>> check_choice("pooling", "median", ("average", "max"))
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: pooling='median': choose 'average' or 'max'
    """
    if not (isinstance(value, str) and value in choices):
        raise PyengineError(f"{name}={value!r}: choose {' or '.join(map(repr, choices))}")
