"""Questions that every argument is asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from pyengine.errors import PyengineError, in_short

P = ParamSpec("P")
R = TypeVar("R")


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known, for the end of a message.

    Examples
    --------
    >>> nearest("contents", ["content", "init"]), nearest("x", ["content", "init"])
    ("did you mean 'content'?", 'choose content, init')
    """
    from difflib import get_close_matches

    known = list(known)
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"choose {', '.join(known)}"


def names_checked(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function refuse arguments of other names with PyengineError, which says what may have been meant.

    Examples
    --------
    >>> names_checked(lambda content=None: content)(contents="cat.jpg")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: there is no argument 'contents': did you mean 'content'?
    """
    known = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]

    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        check_names(named, known)
        return function(*arguments, **named)

    return checked


def check_names(named: Iterable[str], known: Sequence[str]) -> None:
    """Raise PyengineError for an argument of a name that is not known."""
    for name in named:
        if name not in known:
            raise PyengineError(f"there is no argument {in_short(name)}: {nearest(name, known)}")


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
    >>> check_flag("structure", "no")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: structure='no': give True or False
    """
    if not isinstance(value, (bool, np.bool_)):
        raise PyengineError(f"{name}={in_short(value)}: give True or False")


def check_text(name: str, value: object) -> None:
    """Raise PyengineError for a value that is no text.

    Examples
    --------
    >>> check_text("deepest", 3)
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: deepest=3: give a text
    """
    if not isinstance(value, str):
        raise PyengineError(f"{name}={in_short(value)}: give a text")


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
        raise PyengineError(f"{name}={in_short(value)}: choose {' or '.join(map(repr, choices))}")
