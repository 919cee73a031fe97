"""Fuzz the readers of files: every file is read, or refused with one line.

  python -m tests.fuzz labels --minutes 10

A target is a strategy that draws the bytes of a file, and a check that reads them, returns the outcome in one word and
raises on a fault. Hypothesis shrinks and prints the file that shows a fault. The test suite runs a few files of each.
"""

import argparse
import collections
import faulthandler
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from . import audio, journal, labels, models
from .limits import Check

TARGETS = {"audio": audio.target, "journal": journal.target, "labels": labels.target, "model": models.target}
ROUND = 500  # files between two checks of the time
HANG = 120  # seconds for a file; then the process ends, and the file is the newest one in the folder that is printed


def fuzz(
    strategy: st.SearchStrategy[bytes], check: Check, minutes: float, first: int = 0
) -> tuple[collections.Counter[str], str | None]:
    """Check files drawn with seeds from `first` on; returns the number of each outcome, and the fault or None."""
    counts: collections.Counter[str] = collections.Counter()
    end, number = time.monotonic() + 60 * minutes, first
    with tempfile.TemporaryDirectory() as folder:
        print(f"files are in {folder}", file=sys.stderr)
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
                faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
                counts[check(raw, Path(folder))] += 1
                faulthandler.cancel_dump_traceback_later()

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
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a message may quote half of a surrogate pair
    started = time.monotonic()
    counts, fault = fuzz(*TARGETS[args.target](), args.minutes, args.seed)
    outcomes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(f"{args.target}: {sum(counts.values())} files in {time.monotonic() - started:.0f} s: {outcomes}")
    print(fault or "no fault")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
