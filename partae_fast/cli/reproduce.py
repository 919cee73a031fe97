"""Run a published experiment anew, and say which of its claims hold.

Writes a table of all measures, the paper's figure and a table of its claims, each with the rule that decided. DATA has
signal/ and two or more noise_NAME/, folders of audio files.

papers:
  stowell2015   Stowell & Turner 2015, Denoising without access to clean data using a partitioned autoencoder: figure 6

example:
  partae reproduce stowell2015 --data recordings --steps 10000 --out figure6
"""

import argparse
import inspect

from ..experiments import stowell2015
from .options import add_json, add_place, add_threads, print_json, use_threads, whole

_PAPERS = {"stowell2015": stowell2015.run}
_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(stowell2015.run).parameters.items()}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", choices=tuple(_PAPERS), metavar="PAPER", help=" or ".join(_PAPERS))
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of recordings")
    parser.add_argument("--out", metavar="FOLDER", help="for what is written (default: the paper's name)")
    mixing = parser.add_argument_group("experiment")
    for noise in ("extrinsic", "intrinsic"):
        mixing.add_argument(
            f"--snr-{noise}",
            type=float,
            default=_DEFAULTS[f"snr_{noise}"],
            metavar="DB",
            help=f"songs to {noise} noise, in the band (default %(default)g)",
        )
    mixing.add_argument("--frames", type=whole(1), metavar="N", help="in a crop (default: 512, or what fits)")
    training = parser.add_argument_group("training")
    training.add_argument(
        "--steps", type=whole(1), default=_DEFAULTS["steps"], metavar="N", help="of each model (default %(default)s)"
    )
    training.add_argument("--seed", type=whole(0), default=_DEFAULTS["seed"], metavar="N", help="default %(default)s")
    training.add_argument("--resume", action="store_true", help="go on with the run in FOLDER")
    add_place(training)
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    out = args.out or args.paper
    try:
        result = _PAPERS[args.paper](
            args.data,
            out,
            steps=args.steps,
            snr_intrinsic=args.snr_intrinsic,
            snr_extrinsic=args.snr_extrinsic,
            frames=args.frames,
            seed=args.seed,
            backend=args.backend,
            device=args.device,
            resume=args.resume,
            progress=False if args.quiet else None,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command with --resume goes on from what is in {out}") from None
    if args.json:
        print_json(result)
        return 0
    for claim in result["claims"]:
        print(f"({claim['letter']}) {claim['claim']}: {'holds' if claim['holds'] else 'DOES NOT HOLD'}")
        print(f"    {claim['figures']}")
    print(f"{result['seconds']:.0f} s")
    for path in result["files"]:
        print(f"  {path}")
    return 0
