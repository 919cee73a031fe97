"""Benchmark every op and whole training steps against PyTorch and torch.compile.

Prints median times and quantiles, GFLOP/s, and the fraction of the hardware limit measured in the same run. Before and
after timing, every output and gradient is compared with a float64 reference; a version with wrong results is left out
of the table. A time below the hardware limit is reported as an error. Run nothing else on the machine meanwhile.

--candidate FILE.py:FUNCTION executes that file and times the function as one more back-end of its op, through the
public function with its checks, dispatch and autograd, in every group whose pass runs it. The function implements the
pass of the same name, or the pass OP; partae supplies the other passes. --compare first measures another commit with
the benchmarks of this tree. The exit code is 1 if a version was wrong or a time was an error.

In a checkout `pytest bench` takes these options and all of pytest-benchmark: see docs/benchmarking.md.

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
    kinds = ("float32", "tf32", "bfloat16")
    parser.add_argument("--type", choices=kinds, help="rounding of products on a GPU (default: float32)")
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
