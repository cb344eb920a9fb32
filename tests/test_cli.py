"""The command line as a whole: help, errors, words and silence; `pyengine info`."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import click
import numpy as np
import pytest
from command_line import finish, invoke, program
from PIL import Image

import pyengine.cli.commands
from pyengine.cli import main, options
from pyengine.cli.options import ParameterOption, parameters
from pyengine.network.sessions import runtime


@pytest.fixture(autouse=True)
def _no_models_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENGINE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def exemplar(tmp_path: Path) -> Path:
    path = tmp_path / "exemplar.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


def test_wrong_usage(exemplar: Path) -> None:
    for arguments in (["nope"], ["synthesize", exemplar, "-o", "out.png", "--nope"], ["models", "nope"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "--help" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: No such ")
    for arguments in (["synthesize"], ["synthesize", exemplar]):
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith("Error: Missing ")


# -------------------------------------------------------------------- help


def commands() -> dict[str, click.Command]:
    """All of them by what is typed; "" is the program itself."""
    found, waiting = {}, {"": main}
    while waiting:
        name, command = waiting.popitem()
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for word in command.list_commands(context):
                waiting[f"{name} {word}".strip()] = command.get_command(context, word)
    return found


COMMANDS = commands()


def test_a_command_is_its_file() -> None:
    folder = Path(pyengine.cli.commands.__file__).parent
    files = {path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")}
    words = {" ".join(part.rstrip("_") for part in path.parts if part != "__init__") for path in files}
    assert words == set(COMMANDS)
    assert {"synthesize", "models import", "bench drift"} < words


def test_a_file_is_all_that_a_command_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greet.py").write_text(
        'import click\n\n@click.command()\ndef command():\n    """Say hello."""\n    click.echo(\'hello\')\n'
    )
    monkeypatch.setattr(pyengine.cli.commands, "__path__", [*pyengine.cli.commands.__path__, str(tmp_path)])
    assert "greet       Say hello.\n" in invoke("--help").stdout
    assert invoke("greet").stdout == "hello\n"
    monkeypatch.delitem(sys.modules, "pyengine.cli.commands.greet")


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    for flag in ("-h", "--help"):
        result = invoke(*name.split(), flag)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: pyengine {name}".strip())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_in_sentences(name: str) -> None:
    command = COMMANDS[name]
    options = [option for option in command.get_params(click.Context(command)) if isinstance(option, click.Option)]
    for text in (command.help, *(option.help for option in options)):
        assert re.match(r"(?!Of )[A-Z]\w+[ ,].*[^.]\.$", (text or "").strip(), re.DOTALL), text


def parameter_options() -> Iterator[tuple[str, ParameterOption]]:
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, ParameterOption):
                yield name, option


@pytest.mark.parametrize(("name", "option"), list(parameter_options()), ids=lambda value: getattr(value, "name", value))
def test_defaults_are_shown(name: str, option: ParameterOption) -> None:
    assert option.name in parameters(option.of)
    default = parameters(option.of)[option.name].default
    assert default is not inspect.Parameter.empty
    assert (option.unset != "") == (default is None)  # a default of None has words, and no other
    _, text = option.get_help_record(click.Context(COMMANDS[name]))
    assert re.search(r"\.  \[default: [^\]]+\]$", text)


def test_defaults_are_those_of_the_code() -> None:
    text = " ".join(invoke("synthesize", "--help").stdout.split())
    for expected in (
        "[default: histogram]", "[default: of a VGG relu1_1,relu2_1,relu3_1,relu4_1]", "[default: vgg16]",
        "[default: auto]", "[default: no-structure]", "[default: every core]", "--content-strength S",
        "--wrap [x|y|xy|none]", "--padding [reflect|zeros]", "--precision [float32|tf32|float16]",
    ):  # fmt: skip
        assert expected in text
    assert text.count("[default: 1]") == 2


def test_defaults_follow_the_function() -> None:
    option = ParameterOption(["--seed"], of=f"{__name__}:example", help="Start.")
    words = ParameterOption(["--threads"], of=f"{__name__}:example", unset="every core", help="Count.")
    choice = ParameterOption(["--kind"], of=f"{__name__}:example", help="Choose.")
    on = ParameterOption(["--keep/--no-keep"], of=f"{__name__}:example", help="Keep.")
    context = click.Context(main)
    assert option.get_help_record(context) == ("--seed INTEGER", "Start.  [default: 7]")
    assert words.get_help_record(context)[1] == "Count.  [default: every core]"
    assert choice.get_help_record(context) == ("--kind [round|square]", "Choose.  [default: round]")
    assert on.get_help_record(context) == ("--keep / --no-keep", "Keep.  [default: keep]")
    assert choice.type_cast_value(context, "square") == "square"
    assert option.type_cast_value(context, "8") == 8
    with pytest.raises(click.BadParameter, match="'oval' is not one of 'round', 'square'"):
        choice.type_cast_value(context, "oval")


def example(
    seed: int = 7, threads: int | None = None, kind: Literal["round", "square"] = "round", keep: bool = True
) -> None: ...


@pytest.mark.parametrize(
    ("function", "positional"), [(options.ENGINE, set()), ("pyengine.recipe:Recipe.create", {"exemplar", "exemplars"})]
)
def test_every_parameter_has_an_option(function: str, positional: set[str]) -> None:
    names = {option.name for name, option in parameter_options() if name == "synthesize" and option.of == function}
    assert names | positional == set(parameters(function))


def test_what_is_no_parameter() -> None:
    command = COMMANDS["synthesize"]
    own = {option.name for option in command.params if not isinstance(option, ParameterOption)}
    pictures = {"exemplars", "others", "folder", "output", "depth", "recipe_file"}
    of_the_run = {"thresholds", "save_every", "keep_on_interrupt"}
    assert own == pictures | of_the_run | {"as_json", "quiet", "verbose", "debug"}


# -------------------------------------------------------- words and silence


LEAVES = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)] + ["bench"]


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_can_be_quiet_and_verbose(name: str) -> None:
    names = {text for option in COMMANDS[name].params for text in option.opts}
    assert {"--json", "-q", "--quiet", "-v", "--verbose", "--debug"} <= names


def test_quiet_and_verbose() -> None:
    for command in (["info"], ["models", "list"]):
        result = invoke(*command, "--quiet", "--verbose")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "Error: --quiet and --verbose: give one of them\n"


def test_quiet() -> None:
    for command in (["info"], ["models", "list"]):
        result = invoke(*command, "--quiet")
        assert (result.exit_code, result.output) == (0, "")
        result = invoke(*command, "--quiet", "--json")
        assert json.loads(result.stdout)
        assert invoke(*command).stdout


def test_quiet_errors(exemplar: Path) -> None:
    result = invoke("compare", exemplar, "missing.png", "--quiet")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: image missing.png: no such file: check the path\n"


def test_verbose(exemplar: Path, tmp_path: Path) -> None:
    """What is logged, on standard error; afterwards nothing is."""
    picture = tmp_path / "sheet.png"
    result = invoke("compare", exemplar, exemplar, "--picture", picture, "--verbose")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"read exemplar {exemplar}", f"read image {exemplar}", f"wrote {picture}"]
    assert result.stdout == invoke("compare", exemplar, exemplar).stdout
    logger = logging.getLogger("pyengine")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)
    assert invoke("compare", exemplar, exemplar, "--picture", picture).stderr == ""


# ------------------------------------------------------------ version, info


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"pyengine, version {version('pyengine')}\n")


def test_info(tmp_path: Path) -> None:
    result = invoke("info", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert {"pyengine", "python", "numpy", "scipy", "onnx"} < set(report["versions"])
    assert "CPUExecutionProvider" in report["providers"]
    assert report["device"] == "cpu"
    assert report["threads"] >= 1
    assert report["simd"] in ("avx512", "avx2", "baseline")
    assert report["models"] == str(tmp_path / "models")
    text = invoke("info").stdout
    for expected in (f"pyengine {version('pyengine')}", "CPUExecutionProvider", "device: cpu", report["simd"]):
        assert expected in text


@pytest.mark.parametrize(
    ("distributions", "expected"),
    [
        ([], "not installed: pip install 'pyengine[cpu]'"),
        (["onnxruntime", "onnxruntime-gpu"], "pip uninstall -y onnxruntime onnxruntime-gpu"),
    ],
)
def test_info_without_a_runtime(
    distributions: list[str], expected: str, exemplar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("pyengine.network.sessions.runtimes", lambda module: dict.fromkeys(distributions, "1.2"))
    runtime.cache_clear()
    result = invoke("info")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"pyengine {version('pyengine')}" in result.stdout
    assert "device: none (" in result.stdout
    assert expected in result.stdout
    assert json.loads(invoke("info", "--json").stdout)["device"] is None
    result = invoke("synthesize", exemplar, "-o", tmp_path / "out.png")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert expected in result.stderr


# ------------------------------------------------------- real processes


@pytest.mark.parametrize("arguments", [[], ["--help"], ["info"], ["synthesize", "a.png", "-o", "b.png"]])
def test_a_clone_that_is_not_installed(arguments: list[str], tmp_path: Path) -> None:
    """What Python finds first is the source, which has no compiled module."""
    package = Path(pyengine.__file__).parent
    shutil.copytree(package, tmp_path / "pyengine", ignore=shutil.ignore_patterns("_core*", "__pycache__"))
    command = [sys.executable, "-S", "-m", "pyengine", *arguments]  # without what is installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    expected = 'the compiled module pyengine._core is not built: in the clone, run pip install -e ".[cpu]"'
    assert done.stderr == f"Error: {expected}\n"


def test_help_imports_nothing_slow() -> None:
    code = """if True:
        import sys
        from pyengine.cli import main
        main(sys.argv[1:], standalone_mode=False)
        slow = ("numpy", "onnx", "onnxruntime", "scipy", "PIL", "tqdm", "logging")
        print([name for name in slow if name in sys.modules])
    """
    for arguments in (["--help"], ["--version"], ["models", "--help"], ["info", "--help"]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_texture_from_noise_needs_no_scipy() -> None:
    """Its import takes as long as all the others."""
    code = """if True:
        import sys, numpy, pyengine
        pyengine.synthesize(numpy.eye(16), start="noise", iterations=1, threads=1)
        print([name for name in ("onnxruntime", "scipy") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['onnxruntime']\n", done.stderr


def test_an_instruction_set_that_there_is_not() -> None:
    code, stdout, stderr = finish(program("info", env={**os.environ, "PYENGINE_SIMD": "avx9"}))
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Error: PYENGINE_SIMD: expected an instruction set that this machine has (")
    assert stderr.count("\n") == 1
