"""Show a model, a checkpoint, an audio file, or the available back-ends.

Without arguments, shows versions and which back-ends can run on this machine. With --model NAME, shows which inputs
`partae train --model NAME` needs, and its settings with their defaults.

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

_LABELS = {"takes besides": "optional"}  # printed in place of keys of --json, which are kept


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a model, a checkpoint or an audio file")
    parser.add_argument("--model", metavar="NAME", help=f"show a system that can be trained: {', '.join(systems())}")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.model and args.file:
        raise UserError(f"{args.file} and --model cannot be combined; give a file, or --model NAME")
    if args.model:
        about = _about_system(args.model)
    elif args.file:
        about = _about_file(Path(args.file))
    else:
        about = _about_machine()
    if args.json:
        print_json(about)
    else:
        _print(about)
    return 0


def _about_system(name: str) -> dict[str, Any]:
    system = system_named(name)
    return {
        "model": name,
        "source": system.source,
        "needs": ", ".join(KINDS[kind] for kind in system.required),
        "takes besides": ", ".join(KINDS[kind] for kind in system.optional) or "nothing",
        "settings": system.settings().__dict__,
        "meaning": {entry.name: entry.metadata.get("help", "") for entry in fields(system.settings_type)},
        "notes": inspect.cleandoc(system.settings_type.__doc__ or ""),
    }


def _about_file(path: Path) -> dict[str, Any]:
    files.require_file(path)
    if not _is_model(path):
        return _about_audio(path)
    about = storage.describe(path)
    if about["format"] == checkpoint.FORMAT:
        losses = checkpoint.read_losses(path)
        about["loss"] = losses[-1] if losses else None
    elif about["format"] == storage.FORMAT:
        model, names = load(path), ("mean", "std", "noise_mean_square")
        about["statistics"] = {name: _summary(getattr(model, name)) for name in names if hasattr(model, name)}
    return about


def _is_model(path: Path) -> bool:
    """Return whether a file is a model or a checkpoint, possibly a damaged one."""
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


def _about_machine() -> dict[str, Any]:
    return {
        "program": storage.program(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "backends": {
            name: {"available": state.available, "reason": state.reason} for name, state in backends().items()
        },
    }


def _summary(values: torch.Tensor) -> dict[str, float]:
    """Return the minimum, mean and maximum over the bins."""
    return {"least": float(values.min()), "mean": float(values.mean()), "greatest": float(values.max())}


def _print(entries: dict[str, Any], indent: str = "") -> None:
    """Print names and values, one per line.

    Nested dictionaries are indented; the innermost are printed on one line.
    """
    for name, value in entries.items():
        if name == "meaning" or (isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values())):
            print(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            print(f"{indent}{_LABELS.get(name, name):<{20 - len(indent)}}{_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
