"""Builds the compiled kernels, `pyengine._core`; everything else is in pyproject.toml."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup


def has_openmp() -> bool:
    """Whether the C++ compiler accepts -fopenmp; without it the kernels are built to run on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
        compiler = shlex.split(os.environ.get("CXX") or "c++")  # "ccache g++", "g++ -m64"
        command = [*compiler, "-fopenmp", str(source), "-o", str(Path(folder, "probe"))]
        try:
            found = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            found = False
    if not found:
        print(f"OpenMP is off: {' '.join(compiler)} -fopenmp does not work; the kernels will run on one thread")
    return found


# The baseline instruction set is the architecture's own, so that a wheel runs on any machine of it; the inner loops are
# compiled for wider vectors as well and chosen when the module is loaded (csrc/dispatch.hpp).
if sys.platform == "win32":
    compile_args, link_args = ["/O2", "/openmp"], []
else:
    openmp = ["-fopenmp"] if has_openmp() else []
    compile_args, link_args = ["-O3", "-Wall", "-Wextra", *openmp], openmp

setup(
    ext_modules=[
        Pybind11Extension(
            "pyengine._core",
            sorted(map(str, Path("csrc").glob("*.cpp"))),
            include_dirs=["csrc"],
            depends=sorted(map(str, Path("csrc").glob("*.hpp"))),
            cxx_std=17,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
