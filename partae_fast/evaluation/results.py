"""The files of an evaluation and of the protocol: table, rows, all of it as JSON, and the figure."""

import csv
import datetime
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from ..atomic import atomic_path, check_writable
from ..errors import UserError
from . import crossfit
from .evaluate import Row
from .figure import figure, protocol_figure
from .summary import cases, markdown

_NAMES = {suffix: f"evaluation.{suffix}" for suffix in ("md", "csv", "json", "png")}
_PROTOCOL = {suffix: f"protocol.{suffix}" for suffix in ("md", "csv", "png")}
_PACKAGES = ("partae-fast", "torch", "numpy", "scipy", "soxr", "noisereduce", "fast_bss_eval")


def environment() -> dict[str, Any]:
    """What scores and seconds were taken with."""
    import torch

    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_place(folder: Path, overwrite: bool, protocol: bool = False) -> None:
    """Create the folder; raises UserError where results cannot be written into it, or are there and may not be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be created: {error.strerror}; choose another --out") from error
    for name in (_PROTOCOL if protocol else _NAMES).values():
        check_writable(folder / name, overwrite)


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write `environment`, `settings`, `summary` and `rows` into the folder."""
    rows = report["rows"]
    _write_rows(folder / _NAMES["csv"], rows)
    with atomic_path(folder / _NAMES["json"]) as path:
        path.write_text(json.dumps(report, indent=1) + "\n")
    with atomic_path(folder / _NAMES["md"]) as path:
        path.write_text(f"{_about(report)}\n\n{markdown(report['summary'])}\n{cases(rows)}")
    figure(folder / _NAMES["png"], report["summary"])


def write_protocol(folder: Path, report: dict[str, Any]) -> None:
    """Write `environment`, `settings`, `summary` and `rows` of the protocol into the folder."""
    _write_rows(folder / _PROTOCOL["csv"], report["rows"])
    with atomic_path(folder / _PROTOCOL["md"]) as path:
        path.write_text(f"{_about(report)}\n\n{crossfit.markdown(report['summary'])}")
    protocol_figure(folder / _PROTOCOL["png"], report["rows"], report["summary"])


def read_protocol(path: Path) -> list[Row]:
    """The rows of a protocol's CSV, numbers as numbers."""
    with path.open(newline="") as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def _about(report: dict[str, Any]) -> str:
    told = {**report["settings"], **report["environment"]["versions"]}
    about = ", ".join(f"{name} {value}" for name, value in told.items() if name != "bands")
    return f"{report['environment']['date']}: {about}"


def _write_rows(path: Path, rows: list[Row]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
