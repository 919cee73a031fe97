"""Write an HTML page that shows and plays recordings before and after denoising.

The page is a single file that works offline. It contains spectrograms, players for the recording, the signal and the
noise, and the settings of the model. Long recordings are shortened to the excerpt with the loudest signal. Ultrasound
is played slowed down, which makes bat calls audible.

examples:
  partae report dawn.safetensors dawn.wav --out dawn.html
  partae report dawn.safetensors june --out june.html --seconds 10 --reduction 20
  partae report bats.safetensors roost.wav --labels roost.txt --start 61 --seconds 2 --slower 10 --out bats.html
"""

import argparse

from .options import add_threads, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model that `partae train` wrote")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="recordings, or folders of recordings")
    parser.add_argument("--out", required=True, metavar="PAGE", help="the page to write, .html")
    parser.add_argument(
        "--labels",
        nargs="+",
        default=(),
        metavar="FILE",
        help="label files, to mark events in the spectrograms and to measure attenuation outside them",
    )
    parser.add_argument(
        "--start", type=float, metavar="S", help="start of the excerpts (default: where the signal is loudest)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the excerpts (default: 30 s of playback)")
    parser.add_argument(
        "--reduction", type=float, metavar="DB", help="the largest attenuation of any frequency (default: no limit)"
    )
    parser.add_argument(
        "--slower", type=float, metavar="X", help="play X times slower (default: 10 for ultrasound, else 1)"
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing page")
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    from ..report.page import write_page

    use_threads(args)
    count, size = write_page(
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
    print(f"{args.out}: {count} recording{'' if count == 1 else 's'}, {size / 1e6:.1f} MB")
    return 0
