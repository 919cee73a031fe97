"""Command-line options that several verbs share."""

import argparse
import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from ..kernels import OPS
from ..labels import FORMATS, GUARD, OVERRUN, Rules


def int_at_least(least: int | None = None) -> Any:
    """Return an argparse type for a whole number, of at least `least` if given."""
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


def add_material(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Add the arguments for training material.

    nargs: "*" if recordings may be omitted.
    """
    parser.add_argument(
        "recordings",
        nargs=nargs,
        metavar="RECORDING",
        help="noisy recordings of any sample rate and channel count, or folders of them",
    )
    parser.add_argument(
        "--noise", nargs="+", metavar="FILE", help="recordings that contain only noise, or folders of them"
    )
    parser.add_argument(
        "--labels", nargs="+", metavar="FILE", help="label files: Audacity, Raven, CSV, BirdNET and more"
    )
    add_label_rules(parser)


def add_label_rules(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set which labels are signal and which are noise."""
    rules = parser.add_argument_group("labels", "which labels are signal, and which are noise")
    rules.add_argument(
        "--guard",
        type=float,
        default=GUARD,
        metavar="SECONDS",
        help="margin around each event that is treated like the event (default: %(default)s)",
    )
    rules.add_argument(
        "--signal-labels",
        type=label_list,
        metavar="A,B",
        help="labels of the signal; time with other labels only is unknown and not trained on (default: all labels)",
    )
    rules.add_argument(
        "--noise-labels", type=label_list, default=[], metavar="C,D", help="labels to ignore: their time is noise-only"
    )
    rules.add_argument(
        "--min-noise",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="shortest noise-only stretch; shorter ones are unknown (default: %(default)s)",
    )
    rules.add_argument(
        "--overrun",
        type=float,
        default=OVERRUN,
        metavar="SECONDS",
        help="cut labels that pass the end of their recording by up to this, and refuse others (default: %(default)s)",
    )
    rules.add_argument(
        "--label-format",
        choices=FORMATS,
        metavar="NAME",
        help=f"{', '.join(FORMATS)} (default: detected from the content)",
    )


def label_list(text: str) -> list[str]:
    """Parse comma-separated labels; a label with a comma is in double quotes."""
    labels = [label.strip() for label in next(csv.reader([text], skipinitialspace=True), [])]
    if not labels or not all(labels):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of labels such as A,B")
    return labels


def label_rules_of(args: argparse.Namespace) -> Rules:
    """Return the rules set by the flags of `add_label_rules`.

    Raises UserError if they contradict each other.
    """
    return Rules(args.guard, args.signal_labels, args.noise_labels, args.min_noise, args.label_format, args.overrun)


def add_fields(
    group: Any, settings_type: type, names: Iterable[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> None:
    """Add a flag for each field of a settings dataclass.

    A flag has the type, default and help of its field.

    Args:
        group: the parser or argument group.
        settings_type: a dataclass whose fields are made by `partae_fast.training.options.option`.
        names: the fields to add; None for all.
        defaults: default values for the help text. A flag that is not given then sets no attribute; without `defaults`
            it sets the field's default.
    """
    types = get_type_hints(settings_type)
    for entry in fields(settings_type):
        metadata = entry.metadata
        if metadata.get("flag") is False or (names is not None and entry.name not in names):
            continue
        allowed_types = get_args(types[entry.name]) or (types[entry.name],)
        value_type = next(t for t in (bool, int, float, str) if t in allowed_types)
        default = entry.default if defaults is None else defaults[entry.name]
        text = metadata.get("help", "")
        if value_type is not bool and default not in (None, "") and "default" not in text:
            text += f" (default: {default})"
        flag: dict[str, Any] = {"help": text.replace("%", "%%")}
        flag["default"] = default if defaults is None else argparse.SUPPRESS
        if value_type is bool:
            flag["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            flag["type"] = int_at_least(metadata.get("least")) if value_type is int else value_type
            flag["metavar"] = metadata.get("metavar") or {int: "N", float: "X", str: "NAME"}[value_type]
        if "choices" in metadata:
            del flag["metavar"]
            flag["choices"] = metadata["choices"]
        group.add_argument("--" + entry.name.replace("_", "-"), **flag)


def fields_of(args: argparse.Namespace, settings_type: type) -> dict[str, Any]:
    """Return the values set by the flags of `add_fields`, by field name."""
    return {entry.name: getattr(args, entry.name) for entry in fields(settings_type) if hasattr(args, entry.name)}


def add_backend(parser: Any) -> None:
    """Add --backend and --device."""
    parser.add_argument(
        "--backend",
        default="auto",
        choices=("auto", *OPS["train_steps"].backends),
        help="implementation of the training steps (default: %(default)s)",
    )
    parser.add_argument("--device", metavar="D", help="cpu or cuda (default: a GPU if there is one)")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int_at_least(1), metavar="N", help="number of CPU threads (default: PyTorch's choice)"
    )


def use_threads(args: argparse.Namespace) -> None:
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(result: Any) -> None:
    print(json.dumps(result, indent=2))
