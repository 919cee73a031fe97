"""`partae denoise --adapt`: a model that goes on learning on the recording that it is to denoise."""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path, check_writable
from ..audio.files import read
from ..denoising.denoise import denoise
from ..errors import UserError
from ..metrics import bss
from ..models.adaptive_dae import GRADIENTS, AdaptiveDenoisingAutoencoder
from ..training.adapt import Adaptation, Settings, adapt
from .options import int_at_least

_DEPENDENT = ("keep_best", "trace", "reference", "gradient", "adapting_rate")


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "adaptation", "of a model trained with --model adaptive-dae, to one recording, which is read whole"
    )
    group.add_argument(
        "--adapt",
        type=int_at_least(1),
        metavar="EPOCHS",
        help="learn from the recording first, at most so many times through; ends where its output is as pure as clean "
        "signals are, or gets no purer",
    )
    group.add_argument("--keep-best", action="store_true", help="use the purest epoch, in place of the last")
    group.add_argument("--gradient", choices=GRADIENTS, help="of the purity error's target (default: through)")
    group.add_argument(
        "--adapting-rate", type=float, metavar="X", help=f"step size (default {Settings.learning_rate:g})"
    )
    group.add_argument("--trace", metavar="FILE", help="write the purity error of every epoch to this table, .csv")
    group.add_argument(
        "--reference", metavar="CLEAN", help="the clean recording, for SDR, SIR and SAR in --trace; never learned from"
    )


def check(args: argparse.Namespace, lone: bool) -> None:
    """Refuse options that do not go together; `lone` is whether there is one recording, into one file."""
    if args.adapt and not lone:
        raise UserError("--adapt is for one recording into one file; name both as files")
    without = [name for name in _DEPENDENT if getattr(args, name)]
    if without and not args.adapt:
        raise UserError(f"--{without[0].replace('_', '-')} is of --adapt; give --adapt EPOCHS too")
    if args.reference and not args.trace:
        raise UserError("--reference is for the measures in --trace; give --trace FILE too")
    if args.trace:
        check_writable(args.trace, args.overwrite)


def adapted(args: argparse.Namespace, model: Any, source: Path) -> Adaptation:
    """The model, adapted to the recording; prints each epoch's purity error and writes the trace, if asked for."""
    audio, rate = read(source)
    clean = _reference(args.reference, source, audio, rate) if args.reference else None
    rows: list[dict[str, Any]] = []

    def watch(epoch: int, purity: float, now: AdaptiveDenoisingAutoencoder) -> None:
        row: dict[str, Any] = {"epoch": epoch, "purity_error": round(purity, 6)}
        if clean is not None:
            output = denoise(audio[:, 0], rate, now)
            measured = bss(clean, audio[:, 0] - clean, output)
            row |= {f"{name}_db": round(value, 3) for name, value in zip(measured._fields, measured, strict=True)}
        rows.append(row)
        if not args.json:
            print("  ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()), flush=True)

    chosen = {"gradient": args.gradient, "learning_rate": args.adapting_rate}
    settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    found = adapt(model, audio, rate, args.adapt, settings, args.keep_best, watch)
    if not args.json:
        print(f"adapted by {found.epoch} epochs: {found.reason}")
    if args.trace:
        _write(args.trace, rows)
    return found


def as_json(found: Adaptation) -> dict[str, Any]:
    return {"epoch": found.epoch, "reason": found.reason, "purity": found.purity}


def _reference(path: str, source: Path, audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """The clean recording's first channel."""
    clean, its_rate = read(path)
    if its_rate != rate or len(clean) != len(audio):
        raise UserError(
            f"{path}: has {len(clean)} samples at {its_rate} Hz and {source} {len(audio)} at {rate} Hz; give the clean "
            "recording that it was mixed from"
        )
    return clean[:, 0]


def _write(path: str, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())
