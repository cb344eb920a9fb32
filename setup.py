"""Builds the compiled kernels, `pyengine._core`; everything else is in pyproject.toml."""

import os
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

# The baseline instruction set is the architecture's own, so that a wheel runs on any machine of it; the inner loops are
# compiled for wider vectors as well and chosen when the module is loaded (csrc/dispatch.hpp).
# C++20 is for structs whose members are named where they are made: GCC 10, Clang 10 and Visual Studio 2019 have it.
# A level of optimisation in CXXFLAGS, as .ci/sanitize sets it, has its way.
optimize = [] if "-O" in os.environ.get("CXXFLAGS", "") else ["-O3"]
compile_args = ["/O2"] if sys.platform == "win32" else [*optimize, "-Wall", "-Wextra", "-pthread"]
link_args = [] if sys.platform == "win32" else ["-pthread"]

setup(
    ext_modules=[
        Pybind11Extension(
            "pyengine._core",
            sorted(map(str, Path("csrc").glob("*.cpp"))),
            include_dirs=["csrc"],
            depends=sorted(map(str, Path("csrc").glob("*.hpp"))),
            cxx_std=20,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
