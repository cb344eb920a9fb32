"""`pyengine info`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import click

from pyengine.cli.output import Output, reports
from pyengine.errors import PyengineError


@click.command()
@reports
def command(out: Output) -> None:
    """Show versions, devices, threads and folders: what a bug report needs."""
    from pyengine import _core
    from pyengine.machine import default_threads
    from pyengine.network.modelfile import user_folder
    from pyengine.versions import versions

    report = {
        "versions": versions(),
        **_devices(),
        "threads": default_threads(),
        "simd": _core.simd,
        "models": str(user_folder()),
    }
    out.document(report)
    for line in _lines(report):
        out.say(line)


def _devices() -> dict[str, Any]:
    from pyengine.devices import choose, gpus
    from pyengine.network.sessions import runtime

    try:
        providers = runtime().get_available_providers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it says what the reason does
            device = choose("auto")
    except PyengineError as error:
        return {"providers": [], "device": None, "reason": str(error), "gpus": []}
    return {"providers": providers, "device": str(device), "reason": device.reason, "gpus": gpus()}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for name, version in report["versions"].items():
        yield f"{name} {version}"
    yield f"providers: {', '.join(report['providers']) or 'none'}"
    yield f"device: {report['device'] or 'none'} ({report['reason']})"
    for gpu in report["gpus"]:
        line = "gpu {index}: {name}, compute capability {capability}, {free_bytes} of {bytes} bytes free"
        yield line.format(**gpu)
    yield f"threads: {report['threads']}"
    yield f"kernels: {report['simd']}"
    yield f"models folder: {report['models']}"
