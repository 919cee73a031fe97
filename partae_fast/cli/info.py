"""Say what is in a model, a checkpoint or an audio file; without a file, which back-ends can run here.

With --model, what `partae train --model NAME` learns from, and its settings with their defaults and meaning.

examples:
  partae info --model curro
  partae info dawn.safetensors
  partae info dawn.wav --json
  partae info
"""

import argparse
import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ..audio import files
from ..errors import UserError
from ..kernels import backends
from ..models import load, storage
from ..systems.registry import system_named, systems
from ..training import checkpoint
from ..training.material import KINDS
from .options import add_json, print_json


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="MODEL|FILE", help="a model, a checkpoint or an audio file")
    parser.add_argument("--model", metavar="NAME", help=", ".join(systems()))
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.model and args.file:
        raise UserError(f"{args.file}: give a file, or --model, not both")
    found = _about_system(args.model) if args.model else _about(Path(args.file)) if args.file else _machine()
    if args.json:
        print_json(found)
    else:
        _print(found)
    return 0


def _about_system(name: str) -> dict[str, Any]:
    system = system_named(name)
    return {
        "model": name,
        "source": system.source,
        "needs": ", ".join(KINDS[kind] for kind in system.needs),
        "takes besides": ", ".join(KINDS[kind] for kind in system.may) or "nothing",
        "settings": system.settings().__dict__,
        "meaning": {entry.name: entry.metadata.get("help", "") for entry in fields(system.settings_type)},
        "notes": inspect.cleandoc(system.settings_type.__doc__ or ""),
    }


def _about(path: Path) -> dict[str, Any]:
    files.require_file(path)
    if not _is_sealed(path):
        return _about_audio(path)
    about = storage.describe(path)
    if about["format"] == checkpoint.FORMAT:
        losses = checkpoint.read_losses(path)
        about["loss"] = losses[-1] if losses else None
    elif about["format"] == storage.FORMAT:
        model, names = load(path), ("mean", "std", "noise_mean_square")
        about["statistics"] = {name: _summary(getattr(model, name)) for name in names if hasattr(model, name)}
    return about


def _is_sealed(path: Path) -> bool:
    """Whether this is, or was before it was damaged, a model or a checkpoint."""
    with open(path, "rb") as file:
        return path.suffix in (".safetensors", ".checkpoint") or file.read(9)[8:] == b"{"


def _about_audio(path: Path) -> dict[str, Any]:
    about = files.info(path)
    return {
        "file": str(path),
        "format": about.format,
        "subtype": about.subtype,
        "rate": about.rate,
        "channels": about.channels,
        "frames": about.frames,
        "seconds": round(about.seconds, 6),
    }


def _machine() -> dict[str, Any]:
    """What this installation is and can do."""
    return {
        "program": storage.program(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "backends": {
            name: {"available": state.available, "reason": state.reason} for name, state in backends().items()
        },
    }


def _summary(values: torch.Tensor) -> dict[str, float]:
    """Of a statistic per bin: the least, the mean and the greatest."""
    return {"least": float(values.min()), "mean": float(values.mean()), "greatest": float(values.max())}


def _print(found: dict[str, Any], indent: str = "") -> None:
    """Names and values, one a line; what is nested is indented, and the innermost stands on one line."""
    for name, value in found.items():
        if name == "meaning" or (isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values())):
            print(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            print(f"{indent}{name:<{20 - len(indent)}}{_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
