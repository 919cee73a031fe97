"""Benchmark every op and whole training steps against PyTorch and torch.compile.

Prints median times and quantiles, GFLOP/s, and the fraction of the hardware limit measured in the same run. Before and
after timing, every output and gradient is compared with a float64 reference; a version with wrong results is left out
of the table. A time below the hardware limit is reported as an error. Run nothing else on the machine meanwhile.

--candidate FILE.py:FUNCTION executes that file and times the function as one more back-end of its op, through the
public function with its checks, dispatch and autograd. The function implements the pass of the same name, or the pass
OP; partae supplies the other passes. The exit code is 1 if a version was wrong or a time was an error.

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
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE as JSON")
    parser.add_argument("--candidate", metavar="FILE.py:FUNCTION", help="execute this file and time its function too")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="use this device only (default: all available)")
    parser.add_argument(
        "--type",
        choices=("float32", "tf32"),
        default="float32",
        help="precision of GPU products (default: float32)",
    )
    parser.add_argument("--curves", action="store_true", help="train-step: also vary each size; takes minutes longer")
    parser.add_argument("--quick", action="store_true", help="train-step: take few samples and no memory figures")
    parser.add_argument("--results", metavar="FOLDER", help="train-step: write rows, table and plots to FOLDER")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    from ..bench.command import main  # imported here: only this verb needs the reference and the peers

    use_threads(args)
    if args.json:
        check_writable(args.json)  # before minutes of timing
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
