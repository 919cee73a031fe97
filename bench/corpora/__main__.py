"""Make all corpora, and the folders that `partae reproduce` reads.

python -m partae_fast.bench.corpora [NAME ...] [--folder DIR]
"""

import argparse
import sys
from pathlib import Path

from partae_fast.bench.corpora import asterisk, blanket, freedoom, fretsonfire, klettres, ktuberling, layouts, openmsx
from partae_fast.bench.corpora.common import add_arguments, make_or_report

CORPORA = {
    module.CORPUS.name: module.CORPUS
    for module in (asterisk, klettres, ktuberling, blanket, openmsx, freedoom, fretsonfire)
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the corpora, and the folders that `partae reproduce` reads.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CORPORA)} (default: all)")
    add_arguments(parser)
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in CORPORA]:
        parser.error(f"corpus {unknown[0]!r} is unknown; choose from {', '.join(CORPORA)}")
    folder = Path(args.folder).resolve()
    failed = [name for name in args.names or CORPORA if not make_or_report(CORPORA[name], folder, args.overwrite)]
    print(f"layouts: {', '.join(f'{name} {count} files' for name, count in layouts.make(folder).items()) or 'none'}")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
