"""The exceptions that pyengine raises, and text that is safe to show."""

MOST_SHOWN = 80
"""Characters of a value that a message shows: what is longer can't be read for all that is around it."""


def printable(text: str) -> str:
    r"""A text on one line, with its control characters, and whatever else is not shown as it is, spelled out.

    Names of files and texts in them may hold anything, what moves a terminal's cursor too.

    Examples
    --------
    >>> print(printable(chr(27) + "[31mred, é" + chr(10) + "and more"))
    \x1b[31mred, é and more
    """
    line = " ".join(text.splitlines())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def in_short(value: object) -> str:
    """A value as messages show it: in short, on one line, whatever it is.

    Examples
    --------
    >>> in_short("no"), in_short([*range(100)])
    ("'no'", '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21...')
    """
    try:
        text = printable(repr(value))
    except Exception:  # a number of more digits than Python converts, or a class of the caller's
        return f"<{type(value).__name__}>"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


class PyengineError(Exception):
    """Something the caller can put right: the message is one line that names the input and the remedy.

    Every error that pyengine raises on purpose is of this type; the command line prints the message and ends with
    exit code 2.

    Examples
    --------
    >>> raise PyengineError("size 0x64: both sides must be at least 16 pixels")
    Traceback (most recent call last):
    ...
    pyengine.errors.PyengineError: size 0x64: both sides must be at least 16 pixels
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
