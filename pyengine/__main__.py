"""`python -m pyengine`, and the program `pyengine`."""

import sys
from importlib.util import find_spec

NOT_BUILT = """Error: the compiled module pyengine._core is not built: in the clone, run pip install -e ".[cpu]"\n"""


def main() -> None:
    """Run the command line, or where this is a clone that is not installed, say in one line what to do."""
    if find_spec("pyengine._core") is None:
        sys.stderr.write(NOT_BUILT)
        sys.exit(2)
    from pyengine.cli import main

    main(prog_name="pyengine")


if __name__ == "__main__":
    main()
