"""The files of an evaluation or of the protocol: a Markdown table, the rows as CSV, and a plot."""

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
from .plots import draw_evaluation, draw_protocol
from .summary import markdown, scene_table

_NAMES = {suffix: f"evaluation.{suffix}" for suffix in ("md", "csv", "json", "png")}
_PROTOCOL = {suffix: f"protocol.{suffix}" for suffix in ("md", "csv", "png")}
_PACKAGES = ("partae-fast", "torch", "numpy", "scipy", "soxr", "noisereduce", "fast_bss_eval", "pystoi", "pesq")


def environment() -> dict[str, Any]:
    """Return the date, the machine, the number of threads and the versions that the results depend on."""
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


def prepare_folder(folder: Path, overwrite: bool, protocol: bool = False) -> None:
    """Create the output folder and check that the result files can be written.

    Raises UserError if the folder cannot be created, or if a result file exists and `overwrite` is false.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be created: {error.strerror}; choose another --out") from error
    for name in (_PROTOCOL if protocol else _NAMES).values():
        check_writable(folder / name, overwrite)


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write the result files into a folder.

    Args:
        folder: see `prepare_folder`.
        results: environment, settings, summary (see `summarise`) and rows (see `evaluate`), by these names.
    """
    rows = results["rows"]
    _write_rows(folder / _NAMES["csv"], rows)
    with atomic_path(folder / _NAMES["json"]) as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    with atomic_path(folder / _NAMES["md"]) as path:
        path.write_text(f"{_conditions(results)}\n\n{markdown(results['summary'])}\n{scene_table(rows)}")
    draw_evaluation(folder / _NAMES["png"], results["summary"])


def write_protocol(folder: Path, results: dict[str, Any]) -> None:
    """Write the result files of the protocol into a folder; `results` has the names that `write` expects."""
    _write_rows(folder / _PROTOCOL["csv"], results["rows"])
    with atomic_path(folder / _PROTOCOL["md"]) as path:
        path.write_text(f"{_conditions(results)}\n\n{crossfit.markdown(results['summary'])}")
    draw_protocol(folder / _PROTOCOL["png"], results["rows"], results["summary"])


def read_protocol(path: Path) -> list[Row]:
    """Return the rows of a protocol's CSV, numbers as numbers."""
    with path.open(newline="") as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def _conditions(results: dict[str, Any]) -> str:
    conditions = {**results["settings"], **results["environment"]["versions"]}
    listed = ", ".join(f"{name} {value}" for name, value in conditions.items() if name != "bands")
    return f"{results['environment']['date']}: {listed}"


def _write_rows(path: Path, rows: list[Row]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
