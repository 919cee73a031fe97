"""Options that several verbs have, and how results are printed."""

import argparse
import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from ..kernels import OPS
from ..labels import FORMATS, GUARD, Rules


def int_at_least(least: int | None = None) -> Any:
    """An argument's type: a whole number, of at least `least` where that is given."""
    bound = "" if least is None else f" of at least {least}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or (least is not None and number < least):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{bound}")
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


def label_rules_of(args: argparse.Namespace) -> Rules:
    """The rules that flags of `add_label_rules` set; raises UserError where they do not go together."""
    return Rules(args.guard, args.signal_labels, args.noise_labels, args.min_noise, args.label_format)


def add_fields(
    group: Any, kind: type, names: Iterable[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> None:
    """Add a flag for each field of a settings dataclass, or for some: its type, default and help are the field's.

    With `defaults` a flag that is not given leaves no attribute, and the help shows the value there; without them it
    leaves the field's default.
    """
    types = get_type_hints(kind)
    for entry in fields(kind):
        about = entry.metadata
        if about.get("flag") is False or (names is not None and entry.name not in names):
            continue
        allowed = get_args(types[entry.name]) or (types[entry.name],)
        plain = next(t for t in (bool, int, float, str) if t in allowed)
        default = entry.default if defaults is None else defaults[entry.name]
        text = about.get("help", "")
        if plain is not bool and default not in (None, "") and "default" not in text:
            text += f" (default: {default})"
        flag: dict[str, Any] = {"help": text.replace("%", "%%")}
        flag["default"] = default if defaults is None else argparse.SUPPRESS
        if plain is bool:
            flag["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            flag["type"] = int_at_least(about.get("least")) if plain is int else plain
            flag["metavar"] = about.get("metavar") or {int: "N", float: "X", str: "NAME"}[plain]
        if "choices" in about:
            del flag["metavar"]
            flag["choices"] = about["choices"]
        group.add_argument("--" + entry.name.replace("_", "-"), **flag)


def fields_of(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The fields that flags of `add_fields` set."""
    return {entry.name: getattr(args, entry.name) for entry in fields(kind) if hasattr(args, entry.name)}


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
    parser.add_argument(
        "--threads", type=int_at_least(1), metavar="N", help="CPU threads (default: as PyTorch chooses)"
    )


def use_threads(args: argparse.Namespace) -> None:
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for a program to read")


def print_json(result: Any) -> None:
    print(json.dumps(result, indent=2))
