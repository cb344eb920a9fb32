"""`python -m pyengine`, and the program `pyengine`."""

import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec

NOT_BUILT = """Error: the compiled module pyengine._core is not built: in the clone, run pip install -e ".[cpu]"\n"""


def main() -> None:
    """Run the command line, or where this is a clone that is not installed, say in one line what to do."""
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    _open_streams()
    if find_spec("pyengine._core") is None:
        sys.stderr.write(NOT_BUILT)
        sys.exit(2)
    try:
        from pyengine.cli import main
    except Exception as error:  # such as for want of memory, or of files that may be open
        sys.stderr.write(f"Error: the command line does not load: {' '.join(f'{error!r}'.split())}\n")
        sys.exit(2)
    main(prog_name="pyengine")


def _end(number: int, frame: object) -> None:
    """End the program, with the exit code by which shells know that a signal did it.

    At once: there is nothing to put in order, as writes hold signals back, and an exception from a place like the
    middle of an import would come out as any other. Without a handler, the first process of a container would not hear
    of SIGTERM.
    """
    if number == signal.SIGINT:
        with suppress(OSError):
            os.write(2, b"\nError: interrupted\n" if os.isatty(2) else b"Error: interrupted\n")
    os._exit(128 + number)


def _open_streams() -> None:
    """Have all three standard streams open, and take any text.

    What is opened next would get the number of one that is closed, and with it whatever a library prints there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")  # names of files may be no text at all


if __name__ == "__main__":
    main()
