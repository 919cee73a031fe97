"""Run a published experiment anew, and say which of its claims hold.

Writes a table of all measures, the paper's figures and a table of its claims, each with the rule that decided. Options
come after the paper's name, and `partae reproduce PAPER --help` lists them.

examples:
  partae reproduce stowell2015 --data recordings --steps 10000 --out figure6
  partae reproduce lusterman2016 --out chords
  partae reproduce grais2017 --data musdb18hq --out sources
"""

import argparse
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..experiments import grais2017, hetherly2018, kim2015, lusterman2016, stowell2015
from ..experiments.claims import Claim, verdict
from .options import add_json, add_place, add_threads, int_at_least, print_json, use_threads


@dataclass(frozen=True)
class _Paper:
    """A paper in words, what runs its experiment, and what adds the options that are its own.

    Options have the names of `run`'s arguments. It returns a dictionary with claims (the fields of each `Claim`),
    seconds and files.
    """

    about: str
    run: Callable[..., dict[str, Any]]
    add: Callable[[argparse.ArgumentParser, dict[str, Any]], None]


def add(parser: argparse.ArgumentParser) -> None:
    papers = parser.add_subparsers(dest="paper", metavar="PAPER", required=True)
    for name, paper in _PAPERS.items():
        own = papers.add_parser(name, help=paper.about, description=paper.about)
        defaults = {key: p.default for key, p in inspect.signature(paper.run).parameters.items()}
        own.add_argument("--out", metavar="FOLDER", default=name, help="for what is written (default %(default)s)")
        paper.add(own, defaults)
        training = own.add_argument_group("training")
        if "steps" in defaults:
            training.add_argument(
                "--steps",
                type=int_at_least(1),
                default=defaults["steps"],
                metavar="N",
                help=f"a model (default {defaults['steps'] or 'as the sizes'})",
            )
        training.add_argument(
            "--seed", type=int_at_least(0), default=defaults["seed"], metavar="N", help="default %(default)s"
        )
        if "resume" in defaults:
            training.add_argument("--resume", action="store_true", help="go on with the run in FOLDER")
        add_place(training)
        add_threads(own)
        add_json(own)
        for names, meaning in (
            (("-q", "--quiet"), "no log, only warnings and errors"),
            (("--debug",), "as of the verb"),
        ):
            own.add_argument(*names, action="store_true", default=argparse.SUPPRESS, help=meaning)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    paper = _PAPERS[args.paper]
    args.progress = False if args.quiet else None
    taken = [name for name in inspect.signature(paper.run).parameters if hasattr(args, name)]
    try:
        result = paper.run(**{name: getattr(args, name) for name in taken})
    except KeyboardInterrupt:
        again = f"; the same command with --resume goes on from what is in {args.out}" if "resume" in taken else ""
        raise KeyboardInterrupt(f"stopped{again}") from None
    if args.json:
        print_json(result)
        return 0
    for claim in (Claim(**found) for found in result["claims"]):
        print(f"({claim.letter}) {claim.claim}: {verdict(claim)}")
        print(f"    {claim.figures}")
    print(f"{result['seconds']:.0f} s")
    for path in result["files"]:
        print(f"  {path}")
    return 0


def _stowell2015(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="recordings: signal/ and two or more noise_NAME/, folders of audio"
    )
    mixing = parser.add_argument_group("experiment")
    for noise in ("extrinsic", "intrinsic"):
        mixing.add_argument(
            f"--snr-{noise}",
            type=float,
            default=defaults[f"snr_{noise}"],
            metavar="DB",
            help=f"songs to {noise} noise, in the band (default %(default)g)",
        )
    mixing.add_argument("--frames", type=int_at_least(1), metavar="N", help="in a crop (default: 512, or what fits)")


def _lusterman2016(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    experiment = parser.add_argument_group("experiment")
    experiment.add_argument("--figure", type=int_at_least(1), metavar="N", help="one of 5 to 22 alone (default: all)")
    experiment.add_argument(
        "--seeds",
        type=int_at_least(1),
        default=defaults["seeds"],
        metavar="N",
        help="models of each kind (default %(default)s)",
    )
    experiment.add_argument("--as-program", action="store_true", help="as the thesis's program, not as its text")
    experiment.add_argument("--extras", action="store_true", help="also what the thesis leaves to later work")
    experiment.add_argument("--noise", nargs="+", metavar="FILE", help="recorded noise for --extras")
    experiment.add_argument(
        "--jobs", type=int_at_least(1), metavar="N", help="models at a time, each in a process (default: 1 a thread)"
    )


def _kim2015(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="recordings: clean/SPEAKER/ and noise/KIND/, folders of audio, or TIMIT's TRAIN/ and TEST/ beside noise/",
    )
    parser.add_argument(
        "--singing", metavar="DIR", help="clips of two channels, accompaniment and voice, as MIR-1K has: panel e"
    )
    sizes = parser.add_argument_group("sizes", "smaller where nothing is said on the project's own test recordings")
    sizes.add_argument("--hidden", type=int_at_least(1), metavar="N", help="units of a hidden layer")
    sizes.add_argument("--learning-rate", type=float, metavar="X", help="step size of training")
    sizes.add_argument("--epochs", type=int_at_least(1), metavar="N", help="of adaptation")
    sizes.add_argument("--adapting-rate", type=float, metavar="X", help="step size of adaptation")


def _hetherly2018(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="recordings: speech/ and noise/, a folder for each source in either",
    )
    parser.add_argument(
        "--mixtures",
        type=int_at_least(1),
        default=defaults["mixtures"],
        metavar="N",
        help="to test on, in-set and as many out-of-set (default %(default)s)",
    )


def _grais2017(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="songs in stems, in train/ and test/ as in MUSDB18-HQ (default: a small run on songs made by code)",
    )
    size = parser.add_argument_group("size")
    size.add_argument("--epochs", type=int_at_least(1), metavar="N", help="at most (default: 100, in the small run 20)")
    size.add_argument("--batch", type=int_at_least(1), metavar="N", help="segments in a step (default: 100)")
    size.add_argument("--seconds", type=float, metavar="S", help="of each song, at most (default: all)")


_PAPERS = {
    "stowell2015": _Paper(
        "Stowell & Turner 2015, Denoising without access to clean data using a partitioned autoencoder: figure 6",
        stowell2015.run,
        _stowell2015,
    ),
    "kim2015": _Paper(
        "Kim & Smaragdis 2015, Adaptive denoising autoencoders: figure 3",
        kim2015.run,
        _kim2015,
    ),
    "lusterman2016": _Paper(
        "Lusterman 2016, A partitioned autoencoder for audio de-noising: figures 5 to 22",
        lusterman2016.run,
        _lusterman2016,
    ),
    "hetherly2018": _Paper(
        "Hetherly et al. 2018, Deep speech denoising with vector space projections: improvement by noise and by SNR",
        hetherly2018.run,
        _hetherly2018,
    ),
    "grais2017": _Paper(
        "Grais & Plumbley 2017, Single channel audio source separation using convolutional denoising autoencoders",
        grais2017.run,
        _grais2017,
    ),
}
