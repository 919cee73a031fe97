"""Run a measurement at scale: `python -m partae_fast.bench.scale NAME ...`."""

import importlib
import sys

NAMES = ("work", "memory", "folder", "cluster", "soak", "ddp")


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name not in NAMES:
        print(f"usage: python -m partae_fast.bench.scale {{{','.join(NAMES)}}} [--help]", file=sys.stderr)
        return 2
    return importlib.import_module(f"{__package__}.{name}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
