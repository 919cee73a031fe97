"""Time every op and whole training steps beside plain PyTorch and torch.compile.

Prints medians and quantiles, GFLOP/s and the fraction of what the hardware allows, as measured in the same run. Every
output and gradient of a version is compared with float64 before it is timed and once more afterwards; a wrong version
is not in the table. A time below what the hardware allows is an error. Other work on the machine spoils the figures.

--candidate runs the code of that file. The function is one more back-end of its op, called by the public function with
its checks, the dispatcher and autograd, in every contest of the op. It implements the pass of its name, or that of OP;
the other passes are partae's own. The exit code is 1 where a version was wrong or a time is an error.

examples:
  partae bench
  partae bench encode --json encode.json
  partae bench encode --candidate mine.py:encode
  partae bench encode --candidate mine.py:encode_backward
  partae bench train-step
  partae bench train-step --curves --results bench/results/cpu
"""

import argparse
import os

from ..atomic import check_writable
from .options import add_threads, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="?", metavar="OP", help="an op, train-step, startup or denoise (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows to FILE too")
    parser.add_argument("--candidate", metavar="FILE.py:FUNCTION", help="run this file and time its function too")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="time on this alone (default: all that there are)")
    parser.add_argument(
        "--type", choices=("float32", "tf32"), default="float32", help="rounding of products on a GPU (%(default)s)"
    )
    parser.add_argument("--curves", action="store_true", help="train-step: also time over each size; some minutes more")
    parser.add_argument("--quick", action="store_true", help="train-step: few samples, no memory figures")
    parser.add_argument("--results", metavar="FOLDER", help="train-step: write rows, table and plots there")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    # Imported here: benchmarks need the reference and the peers, which nothing else does.
    from ..bench.command import main

    use_threads(args)
    if args.json:
        check_writable(args.json)  # rather than after minutes of timing
    if args.results:
        check_writable(os.path.join(args.results, "train_step.json"))
    return main(
        args.op,
        args.json,
        args.candidate,
        device=args.device,
        kind=args.type,
        with_curves=args.curves,
        quick=args.quick,
        results=args.results,
    )
