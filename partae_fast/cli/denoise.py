"""Denoise recordings with a model: same rate, channels and length.

Of what the model takes away nothing is lost: --part noise writes exactly that, and the two add up to the input.

examples:
  partae denoise dawn.safetensors dawn.wav --out clean.wav
  partae denoise dawn.safetensors june/*.flac --out clean/ --reduction 20 --figure
"""

import argparse

from ..denoising.denoise import PARTS
from ..denoising.files import FIGURE_SECONDS, denoise_file, destinations, figure_path
from ..models import load
from .options import add_json, add_threads, print_json, use_threads


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model that `partae train` wrote")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="recordings")
    parser.add_argument("--out", required=True, metavar="WHERE", help="a file, or a folder for several inputs")
    parser.add_argument("--part", choices=PARTS, default="signal", help="what to write (default %(default)s)")
    parser.add_argument("--reduction", type=float, metavar="DB", help="attenuate nothing by more than this")
    parser.add_argument(
        "--figure", action="store_true", help=f"draw the first {FIGURE_SECONDS} s beside each output, as .png"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    model = load(args.model)
    written = []
    for source, target in destinations(args.inputs, args.out, args.overwrite, args.figure):
        denoise_file(model, source, target, args.part, args.reduction, args.figure, args.overwrite)
        figure = str(figure_path(target)) if args.figure else None
        written.append({"input": str(source), "output": str(target), "figure": figure})
        if not args.json:
            print(f"{source} -> {target}" + (f", {figure}" if figure else ""), flush=True)
    if args.json:
        print_json(written)
    return 0
