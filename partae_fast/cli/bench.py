"""Time every op beside plain PyTorch and torch.compile.

Prints medians and quantiles, GFLOP/s, GB/s and the fraction of what the hardware allows. What is wrong is not timed:
each op is checked first.

examples:
  partae bench
  partae bench encode --json encode.json
  partae bench encode --candidate mine.py:encode
"""

import argparse

from ..atomic import check_writable
from .options import add_threads, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="?", metavar="OP", help="an op (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows to FILE too")
    parser.add_argument("--candidate", metavar="FILE.py:FUNCTION", help="time this function too")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    # Imported here: benchmarks need the reference and the peers, which nothing else does.
    from ..bench import main

    use_threads(args)
    if args.json:
        check_writable(args.json)  # rather than after minutes of timing
    return main(args.op, args.json, args.candidate)
