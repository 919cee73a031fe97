"""`partae denoise --adapt`: train a model on the recording that it denoises."""

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

_REQUIRE_ADAPT = ("keep_best", "trace", "reference", "gradient", "adapting_rate")


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "adaptation", "for models trained with --model adaptive-dae, and one recording, which is read into memory"
    )
    group.add_argument(
        "--adapt",
        type=int_at_least(1),
        metavar="EPOCHS",
        help="train on the recording before denoising it, for at most this many epochs; training stops when the purity "
        "error has fallen by a tenth or rises",
    )
    group.add_argument(
        "--keep-best", action="store_true", help="use the epoch with the lowest purity error, not the last"
    )
    group.add_argument("--gradient", choices=GRADIENTS, help="gradient of the purity error's target (default: through)")
    group.add_argument(
        "--adapting-rate", type=float, metavar="X", help=f"learning rate (default: {Settings.learning_rate:g})"
    )
    group.add_argument("--trace", metavar="FILE", help="write the purity error of every epoch to this .csv file")
    group.add_argument(
        "--reference", metavar="CLEAN", help="the clean recording, to add SDR, SIR and SAR to --trace; not trained on"
    )


def check(args: argparse.Namespace, single_file: bool) -> None:
    """Raise UserError for options that cannot be combined.

    single_file: whether one recording is written to one file.
    """
    if args.adapt and not single_file:
        raise UserError("--adapt works on one recording; give one INPUT file, and a file as --out")
    options = [name for name in _REQUIRE_ADAPT if getattr(args, name)]
    if options and not args.adapt:
        raise UserError(f"--{options[0].replace('_', '-')} needs --adapt; give --adapt EPOCHS too")
    if args.reference and not args.trace:
        raise UserError("--reference needs --trace; give --trace FILE too")
    if args.trace:
        check_writable(args.trace, args.overwrite)


def adapt_model(args: argparse.Namespace, model: AdaptiveDenoisingAutoencoder, source: Path) -> Adaptation:
    """Adapt the model to the recording, and print and write its purity error."""
    audio, rate = read(source)
    clean = _read_reference(args.reference, source, audio, rate) if args.reference else None
    rows: list[dict[str, Any]] = []

    def after_epoch(epoch: int, purity: float, adapted_model: AdaptiveDenoisingAutoencoder) -> None:
        row: dict[str, Any] = {"epoch": epoch, "purity_error": round(purity, 6)}
        if clean is not None:
            output = denoise(audio[:, 0], rate, adapted_model)
            ratios = bss(clean, audio[:, 0] - clean, output)
            row |= {f"{name}_db": round(value, 3) for name, value in zip(ratios._fields, ratios, strict=True)}
        rows.append(row)
        if not args.json:
            print("  ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()), flush=True)

    options = {"gradient": args.gradient, "learning_rate": args.adapting_rate}
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    adaptation = adapt(model, audio, rate, args.adapt, settings, args.keep_best, after_epoch)
    if not args.json:
        print(f"adapted for {adaptation.epoch} epochs: {adaptation.reason}")
    if args.trace:
        _write_table(args.trace, rows)
    return adaptation


def as_json(adaptation: Adaptation) -> dict[str, Any]:
    """Return the entries of an adaptation for --json."""
    return {"epoch": adaptation.epoch, "reason": adaptation.reason, "purity": adaptation.purity}


def _read_reference(path: str, source: Path, audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Read the first channel of the clean recording.

    Raises UserError unless its sample rate and length match.
    """
    clean, clean_rate = read(path)
    if clean_rate != rate or len(clean) != len(audio):
        raise UserError(
            f"{path}: has {len(clean)} samples at {clean_rate} Hz and {source} {len(audio)} at {rate} Hz; give the "
            "clean recording that the mixture was made from"
        )
    return clean[:, 0]


def _write_table(path: str, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())
