"""Options that several verbs have, and how results are printed."""

import argparse
import csv
import json
from collections.abc import Iterable
from typing import Any

from ..kernels import OPS
from ..labels import FORMATS, GUARD
from ..training.presets import PRESETS

_SPECTROGRAM = ("low", "high", "rate", "n_fft", "hop", "bins")


def whole(least: int) -> Any:
    """An argument's type: a whole number of at least `least`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return number

    return read


def add_material(parser: argparse.ArgumentParser, several: str = "+") -> None:
    """What is trained on; `several` says of recordings whether there may be none ("*")."""
    parser.add_argument(
        "recordings", nargs=several, metavar="RECORDING", help="noisy recordings, any rate and channels"
    )
    parser.add_argument("--noise", nargs="+", metavar="FILE", help="recordings of noise alone")
    parser.add_argument("--labels", nargs="+", metavar="FILE", help="labels: Audacity, Raven, CSV, BirdNET and more")
    add_label_rules(parser)


def add_label_rules(parser: argparse.ArgumentParser) -> None:
    """Which labels count, and as what."""
    rules = parser.add_argument_group("labels", "which labels count, and as what")
    rules.add_argument(
        "--guard",
        type=float,
        default=GUARD,
        metavar="SECONDS",
        help="time around each event that counts as the event does (default %(default)s)",
    )
    rules.add_argument(
        "--signal-labels",
        type=names,
        metavar="A,B",
        help="labels of signal; time with others alone is unknown: never noise, and not learnt from (default: all)",
    )
    rules.add_argument(
        "--noise-labels", type=names, default=[], metavar="C,D", help="labels that do not count: their time is noise"
    )
    rules.add_argument(
        "--min-noise",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="noise-only stretches that are shorter are unknown (default %(default)s)",
    )
    rules.add_argument(
        "--label-format",
        choices=FORMATS,
        metavar="NAME",
        help=f"{', '.join(FORMATS)} (default: as the content shows)",
    )


def names(text: str) -> list[str]:
    """An argument's type: names with commas between them; one that has a comma itself stands in double quotes."""
    found = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not found or not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of labels such as A,B")
    return found


def label_rules_of(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_label_rules` adds, as `fit` takes it."""
    return {
        "guard": args.guard,
        "signal_labels": args.signal_labels,
        "noise_labels": args.noise_labels,
        "min_noise": args.min_noise,
        "label_format": args.label_format,
    }


def add_spectrogram(parser: argparse.ArgumentParser, default: str, presets: Iterable[str] = PRESETS) -> None:
    """The preset, one of `presets`, and what is not to be as it has it."""
    parser.add_argument("--preset", default=default, help=f"{' or '.join(presets)} (default %(default)s)")
    band = parser.add_argument_group(
        "spectrogram", "by default the labels' band where they have one, else the preset's"
    )
    band.add_argument("--low", type=float, metavar="HZ", help="lower end of the band")
    band.add_argument("--high", type=float, metavar="HZ", help="upper end of the band")
    band.add_argument("--rate", type=whole(1), metavar="HZ", help="sample rate at which the model works")
    band.add_argument("--n-fft", type=whole(1), metavar="N", help="samples in a window")
    band.add_argument("--hop", type=whole(1), metavar="N", help="samples from a window to the next")
    band.add_argument("--bins", type=whole(1), metavar="N", help="bins in the band, in place of --high")


def spectrogram_of(args: argparse.Namespace) -> dict[str, Any]:
    """The spectrogram's settings, as `fit` takes them."""
    return {name: getattr(args, name) for name in _SPECTROGRAM}


def add_place(parser: Any) -> None:
    """Where training runs."""
    parser.add_argument(
        "--backend",
        default="auto",
        choices=("auto", *OPS["train_steps"].backends),
        help="what computes (default %(default)s)",
    )
    parser.add_argument("--device", metavar="D", help="cpu or cuda (default: a GPU where there is one)")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=whole(1), metavar="N", help="CPU threads (default: as PyTorch chooses)")


def use_threads(args: argparse.Namespace) -> None:
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for a program to read")


def print_json(result: Any) -> None:
    print(json.dumps(result, indent=2))
