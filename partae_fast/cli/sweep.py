"""Train a model for each combination of settings, and compare them.

Models of the same shape are trained together. The folder --out gets NAME.safetensors for each model, results.csv,
results.json and results.png. A model whose loss becomes NaN is marked as failed and does not stop the others; the exit
code is then 1. After Ctrl-C or a power cut, repeat the command with --resume: the result is bit for bit the same as
without a stop. With --resume, other values of --set add models, and a larger --steps trains the models further.

examples:
  partae sweep dawn.wav --noise rain.wav --set penalty=0.5,0.75,1 --set background=0.125,0.25 --out sweep
  partae sweep dawn.flac --labels dawn.txt --set seed=0,1,2,3 --set optimizer=adam --set learning_rate=1e-3,2e-3 --out s
  partae sweep dawn.wav --noise rain.wav --set penalty=0.5,0.75,1,2 --set background=0.125,0.25 --out sweep --resume
"""

import argparse
import inspect
import time
from dataclasses import fields
from typing import Any

from ..errors import UserError
from ..sweeps.grid import SETTINGS
from ..sweeps.sweep import Sweep
from ..systems.registry import system_named
from ..training.material import Material
from ..training.spectrograms import AskedSpectrogram
from .options import (
    add_backend,
    add_fields,
    add_json,
    add_material,
    add_threads,
    fields_of,
    int_at_least,
    label_rules_of,
    print_json,
    use_threads,
)

_STEPS = inspect.signature(Sweep).parameters["steps"].default
_SYSTEM = inspect.signature(Sweep.of_recordings).parameters["system"].default


def add(parser: argparse.ArgumentParser) -> None:
    add_material(parser)
    parser.add_argument(
        "--set",
        action="append",
        required=True,
        metavar="NAME=V1,V2,...",
        help=f"a setting and its values; may be repeated. Settings: {', '.join(SETTINGS)}",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder for models, table and plot")
    parser.add_argument(
        "--model", "--preset", default=_SYSTEM, metavar="NAME", help="the system to train (default: %(default)s)"
    )
    system = system_named(_SYSTEM)
    band = parser.add_argument_group("spectrogram")
    add_fields(band, system.settings_type, [entry.name for entry in fields(AskedSpectrogram)], system.defaults())
    run = parser.add_argument_group("training")
    run.add_argument(
        "--steps",
        type=int_at_least(1),
        default=_STEPS,
        metavar="N",
        help="training steps of each model (default: %(default)s)",
    )
    run.add_argument("--resume", action="store_true", help="continue the sweep in FOLDER, or add models to it")
    add_backend(run)
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    started = time.monotonic()
    sweep = Sweep.of_recordings(
        _grid(args.set),
        Material(args.recordings, args.noise or (), args.labels or (), label_rules=label_rules_of(args)),
        args.out,
        system=args.model,
        settings=fields_of(args, AskedSpectrogram),
        backend=args.backend,
        device=args.device,
        steps=args.steps,
        resume=args.resume,
        progress=False if args.quiet else None,
    )
    try:
        rows = sweep.run()
    except KeyboardInterrupt:
        hint = f"the same command with --resume continues from the files in {args.out}"
        raise KeyboardInterrupt(f"stopped; {hint}") from None
    if args.json:
        print_json({"folder": args.out, "members": rows, "seconds": round(time.monotonic() - started, 3)})
    else:
        _print(rows)
        print(f"{args.out}: {len(rows)} models, {len(sweep.failed)} failed, {time.monotonic() - started:.1f} s")
    return 1 if sweep.failed else 0


def _grid(assignments: list[str]) -> dict[str, list[str]]:
    """Parse NAME=V1,V2,... into lists of values, as text, by setting."""
    grid: dict[str, list[str]] = {}
    for text in assignments:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UserError(f"--set {text}: give NAME=V1,V2,..., such as penalty=0.5,0.75")
        if name in grid:
            raise UserError(f"--set {name} is given twice; give all its values at once")
        grid[name] = values.split(",")
    return grid


def _print(rows: list[dict[str, Any]]) -> None:
    """Print the main columns of the table."""
    width = max(4, *(len(row["name"]) for row in rows))
    print(f"{'name':<{width}}  {'steps':>8}{'loss':>11}{'error':>8}{'leak':>8}{'keep':>8}")
    for row in rows:
        loss = "" if row["loss_last"] is None else f"{row['loss_last']:.4g}"
        shares = [row[name] for name in ("error", "leak", "keep")]
        columns = "".join(" " * 8 if share is None else f"{share:8.3f}" for share in shares)
        status = "" if row["status"] == "done" else f"  {row['status']}"
        print(f"{row['name']:<{width}}  {row['steps']:>8}{loss:>11}{columns}{status}")
