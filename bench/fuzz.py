"""Files that nobody meant: every reader gives what is in them or refuses in one line, and never fails otherwise.

  python -m partae_fast.bench.fuzz labels --minutes 10

A target is a strategy, which draws a file's bytes, and a check, which writes them into a folder, reads them, says in a
word what became of them, and raises where something is wrong. What is found is shrunk, and printed as the bytes that
show it. The test suite runs the same, briefly.
"""

import argparse
import collections
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from . import fuzz_labels, fuzz_model

Check = Callable[[bytes, Path], str]

TARGETS: dict[str, Callable[[], tuple[st.SearchStrategy[bytes], Check]]] = {
    "labels": fuzz_labels.target,
    "model": fuzz_model.target,
}
ROUND = 500  # files between two looks at the clock


def fuzz(
    strategy: st.SearchStrategy[bytes], check: Check, minutes: float, first: int = 0
) -> tuple[collections.Counter[str], str | None]:
    """Check files drawn with seeds from `first` on, for so long; returns what became of them, and the fault if any."""
    counts: collections.Counter[str] = collections.Counter()
    end, number = time.monotonic() + 60 * minutes, first
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:

            @seed(number)
            @settings(
                max_examples=ROUND,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=(
                    HealthCheck.too_slow,
                    HealthCheck.data_too_large,
                    HealthCheck.large_base_example,
                ),
            )
            @given(strategy)
            def one_round(raw: bytes) -> None:
                counts[check(raw, Path(folder))] += 1

            try:
                one_round()
            except Exception as fault:
                notes = "\n".join(getattr(fault, "__notes__", []))
                return counts, f"seed {number}: {type(fault).__name__}: {fault}\n{notes}"
            number += 1
    return counts, None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default %(default)s)")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    counts, fault = fuzz(*TARGETS[args.target](), args.minutes, args.seed)
    told = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(f"{args.target}: {sum(counts.values())} files in {time.monotonic() - started:.0f} s: {told}")
    print(fault or "no fault")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
