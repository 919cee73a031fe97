"""Check every op on every available back-end against the reference.

Back-ends that cannot run on this machine are left out; `partae info` lists them with the reason. Some cases have random
sizes, which --seed sets. The exit code is 1 if a check fails.

--candidate FILE.py:FUNCTION executes that file and checks the function too. The function must take and return the same
as a pass of an op (see partae_fast/kernels/__init__.py). It is checked in every type of the op, with more cases than
partae's own back-ends and 20,000 calls of a small case. If it raises an error for a type, the type is reported as
refused, which is not a failure.

examples:
  partae verify
  partae verify encode decode --backend cpu
  partae verify --candidate mine.py:encode
  partae verify encode --candidate mine.py:encode_backward --backend reference --type float32
"""

import argparse

from ..errors import UserError
from .options import add_json, add_threads, print_json, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="*", metavar="OP", help="ops or passes (default: all)")
    parser.add_argument(
        "--backend",
        metavar="B",
        help="check this back-end only: reference, eager, cpu, triton, triton-interpreter, cuda or cuda-shim, which is"
        " CUDA C built for the CPU by g++ (default: all)",
    )
    parser.add_argument(
        "--candidate",
        metavar="FILE.py:FUNCTION",
        help="execute this file and check the function too, as the pass OP or as the pass of the same name",
    )
    parser.add_argument("--type", metavar="T", help="check the candidate in this type only, such as float32")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random sizes (default: 0)")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..conformance import load_candidate, verify  # imported here: only conformance needs the reference

    use_threads(args)
    if args.candidate and len(args.op) > 1:
        raise UserError(f"a candidate implements one op; give one of {', '.join(args.op)}")
    candidate = load_candidate(args.candidate, *args.op) if args.candidate else None
    if args.type and candidate is None:
        raise UserError("--type needs a candidate; give --candidate FILE.py:FUNCTION too")
    rows = []
    ops = [candidate.op_pass] if candidate else args.op
    for row in verify(ops, args.backend, candidate, args.seed, args.type):
        if not args.json:
            _print(row, heading=not rows)
        rows.append(row)
    failed = sum(not row.passed for row in rows)
    if args.json:
        print_json([row.to_dict() for row in rows])
    else:
        print(f"{len(rows)} rows, {failed} failed; seed {args.seed}")
    return 1 if failed or not rows else 0


def _print(row, heading: bool) -> None:
    if heading:
        print(f"{'op':<26}{'back-end':<20}{'type':<10}{'cases':>6}{'worst error':>13}{'allowed':>10}  verdict")
    verdict = "ok" if row.passed else f"FAILED at {row.where}"
    verdict = row.note if row.refused else f"{verdict} ({row.note})" if row.note else verdict
    print(
        f"{row.op:<26}{row.backend:<20}{row.type:<10}{row.cases:>6}{row.error:>13.2g}{row.tolerance:>10.2g}  {verdict}",
        flush=True,
    )
