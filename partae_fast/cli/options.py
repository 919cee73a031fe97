"""Options that several verbs have, and how results are printed."""

import argparse
import json
from typing import Any


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
