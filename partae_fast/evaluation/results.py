"""The files of an evaluation: table, rows, all of it as JSON, and the figure."""

import csv
import datetime
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from ..atomic import atomic_path, check_writable
from ..errors import UserError
from .figure import figure
from .summary import cases, markdown

_NAMES = {suffix: f"evaluation.{suffix}" for suffix in ("md", "csv", "json", "png")}
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


def check_place(folder: Path, overwrite: bool) -> None:
    """Create the folder; raises UserError where results cannot be written into it, or are there and may not be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be created: {error.strerror}; choose another --out") from error
    for name in _NAMES.values():
        check_writable(folder / name, overwrite)


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write `environment`, `settings`, `summary` and `rows` into the folder."""
    rows = report["rows"]
    with atomic_path(folder / _NAMES["csv"]) as path, path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    with atomic_path(folder / _NAMES["json"]) as path:
        path.write_text(json.dumps(report, indent=1) + "\n")
    with atomic_path(folder / _NAMES["md"]) as path:
        told = {**report["settings"], **report["environment"]["versions"]}
        about = ", ".join(f"{name} {value}" for name, value in told.items() if name != "bands")
        path.write_text(f"{report['environment']['date']}: {about}\n\n{markdown(report['summary'])}\n{cases(rows)}")
    figure(folder / _NAMES["png"], report["summary"])
