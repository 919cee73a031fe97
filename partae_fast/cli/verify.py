"""Check every op on every back-end that can run here against the reference.

Back-ends that cannot run here are left out; `partae info` lists them with the reason. Exit code 1 if anything fails.

examples:
  partae verify
  partae verify encode --backend cpu
  partae verify --candidate mine.py:encode
"""

import argparse

from .options import add_json, add_threads, print_json, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="?", metavar="OP", help="an op or one of its passes (default: all)")
    parser.add_argument("--backend", metavar="B", help="reference, eager, cpu, triton or triton-interpreter")
    parser.add_argument(
        "--candidate",
        metavar="FILE.py:FUNCTION",
        help="check this function too, as OP or as the pass of its own name",
    )
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    # Imported here: conformance is the one part of the library that needs the reference.
    from ..conformance import load_candidate, verify

    use_threads(args)
    candidate = load_candidate(args.candidate, args.op) if args.candidate else None
    rows = []
    for row in verify(candidate.op_pass if candidate else args.op, args.backend, candidate):
        if not args.json:
            _print(row, heading=not rows)
        rows.append(row)
    failed = sum(not row.passed for row in rows)
    if args.json:
        print_json([row.to_dict() for row in rows])
    else:
        print(f"{len(rows)} rows, {failed} failed")
    return 1 if failed or not rows else 0


def _print(row, heading: bool) -> None:
    if heading:
        print(f"{'op':<26}{'back-end':<20}{'type':<10}{'cases':>6}{'worst error':>13}{'allowed':>10}  verdict")
    verdict = "ok" if row.passed else f"FAILED at {row.where}"
    print(
        f"{row.op:<26}{row.backend:<20}{row.type:<10}{row.cases:>6}{row.error:>13.2g}{row.tolerance:>10.2g}  {verdict}",
        flush=True,
    )
