"""Time every op and whole training steps beside plain PyTorch and torch.compile.

Prints medians and quantiles, GFLOP/s and the fraction of what the hardware allows, as measured in the same run. Every
output and gradient of a version is compared with float64 before it is timed and once more afterwards; a wrong version
is not in the table. A time below what the hardware allows is an error. Other work on the machine spoils the figures.

--candidate runs the code of that file. The function is one more back-end of its op, called by the public function with
its checks, the dispatcher and autograd, in every group whose pass runs it. It implements the pass of its name, or that
of OP; the other passes are partae's own. --compare measures a commit with the benchmarks of this tree, then this tree.
The exit code is 1 where a version was wrong or a time is an error.

`pytest bench` in a checkout takes these options and all of pytest-benchmark: docs/benchmarking.md.

examples:
  partae bench
  partae bench encode --quick
  partae bench encode --shape 16,320,64,32,9,4 --pass backward --json encode.json
  partae bench encode --candidate mine.py:encode_backward
  partae bench encode --quick --compare HEAD
  partae bench train-step --memory
"""

import argparse

from ..atomic import check_writable
from .options import add_threads, int_at_least, use_threads

VALUES = ("device", "type", "shape", "pass", "candidate", "rounds")
SWITCHES = ("quick", "memory")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="?", metavar="OP", help="an op, train-step, denoise, ... (default: all)")
    parser.add_argument("--shape", metavar="SIZES", help="sizes in the order of the table: B,N,H,K,M,P of encode")
    parser.add_argument("--pass", metavar="PASS", help="forward, backward, both, ...: this pass alone")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where (default: a GPU where there is one)")
    parser.add_argument("--type", choices=("float32", "tf32"), help="rounding of products on a GPU (default: float32)")
    parser.add_argument("--candidate", metavar="FILE.py:FUNCTION", help="run this file and time its function too")
    parser.add_argument("--compare", metavar="REF", help="compare with a commit, or with a file that --json wrote")
    parser.add_argument("--json", metavar="FILE", help="write pytest-benchmark's JSON to FILE")
    parser.add_argument("--quick", action="store_true", help="the first shape, few samples, no max-autotune")
    parser.add_argument("--rounds", type=int_at_least(1), metavar="N", help="samples of each version")
    parser.add_argument("--memory", action="store_true", help="train-step: also what a step allocates")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    # Imported here: benchmarks need the reference and the peers, which nothing else does.
    from ..bench.run import main

    use_threads(args)
    if args.json:
        check_writable(args.json)  # rather than after minutes of timing
    values = vars(args)
    options = [f"--{name}={values[name]}" for name in VALUES if values[name] is not None]
    options += [f"--{name}" for name in SWITCHES if values[name]]
    return main(args.op, options, args.json, args.compare)
