"""The exceptions that pyengine raises."""


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
        super().__init__(" ".join(message.splitlines()))  # a file's name, or a text in it, may have several
