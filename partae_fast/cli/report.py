"""Write a page with recordings before and after, to look at and to listen to, for a colleague.

The page is one file that needs no network: spectrograms, players for before, signal and noise, and the model's
settings. Of a long recording an excerpt is shown, where the signal is loudest. Time expansion makes bats audible.

examples:
  partae report dawn.safetensors dawn.wav --out dawn.html
  partae report dawn.safetensors june/*.flac --out june.html --seconds 10 --reduction 20
  partae report bats.safetensors roost.wav --labels roost.txt --start 61 --seconds 2 --slower 10 --out bats.html
"""

import argparse

from .options import add_threads, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model that `partae train` wrote")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="recordings")
    parser.add_argument("--out", required=True, metavar="PAGE", help="the page to write, .html")
    parser.add_argument(
        "--labels", nargs="+", default=(), metavar="FILE", help="labels of the recordings: drawn, and made use of"
    )
    parser.add_argument("--start", type=float, metavar="S", help="where excerpts begin (default: chosen for each)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each recording (default: what plays for 30 s)")
    parser.add_argument("--reduction", type=float, metavar="DB", help="attenuate nothing by more than this")
    parser.add_argument(
        "--slower", type=float, metavar="X", help="play so many times slower (default: 10 for ultrasound, else 1)"
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    from ..report.page import write_page

    use_threads(args)
    size = write_page(
        args.out,
        args.model,
        args.inputs,
        args.labels,
        args.start,
        args.seconds,
        args.reduction,
        args.slower,
        args.title,
        args.overwrite,
    )
    count = len(args.inputs)
    print(f"{args.out}: {count} recording{'' if count == 1 else 's'}, {size / 1e6:.1f} MB")
    return 0
