"""The exceptions that pyengine raises, and text that is safe to show."""


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
