"""Repeat a published experiment and check the claims of the paper.

Writes a table of all measurements, the figures of the paper, and a table of its claims with the rule that decided each.
Give options after the name of the paper; `partae reproduce PAPER --help` lists them. Without --data, the run is small
and takes the recordings that the scripts in bench/corpora make, from the folder that the environment variable
PARTAE_CORPORA names (by default ~/.local/share/partae_fast/corpora). The settings of a run are written to settings.yaml
beside its results, and --config repeats them.

examples:
  partae reproduce hetherly2018
  partae reproduce stowell2015 --data recordings --steps 10000 --out figure6
  partae reproduce stowell2015 --data recordings --config figure6/settings.yaml --seed 1 --out seed1
  partae reproduce lusterman2016 --out chords
  partae reproduce grais2017 --data musdb18hq --seeds 3 --out sources
"""

import argparse
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..experiments import grais2017, hetherly2018, kim2015, lusterman2016, stowell2015
from ..experiments.claims import Claim, verdict
from ..experiments.corpora import VARIABLE
from ..experiments.settings_file import read_settings
from ..kernels.train_steps import RULES
from .options import add_backend, add_json, add_threads, int_at_least, print_json, use_threads

Defaults = dict[str, Any]  # of the arguments of an experiment
# Where recordings come from without --data.
_CORPORA = f"default: a small run on the folder of this paper in {VARIABLE}, see bench/corpora"


@dataclass(frozen=True)
class _Paper:
    """A paper and its experiment.

    Options are named like arguments of `run`. Options of files are separate, because files differ between machines and
    are not in settings files.
    """

    about: str  # one line for the help
    run: Callable[..., dict[str, Any]]  # returns claims (a dictionary of each Claim's fields), seconds and files
    add_settings: Callable[[argparse.ArgumentParser, Defaults], None]
    add_files: Callable[[argparse.ArgumentParser], None]

    def settings_parser(self) -> argparse.ArgumentParser:
        """Return a parser of the settings; settings that are not given set no attribute."""
        parser = argparse.ArgumentParser(
            add_help=False, argument_default=argparse.SUPPRESS, exit_on_error=False, allow_abbrev=False
        )
        defaults = {key: p.default for key, p in inspect.signature(self.run).parameters.items()}
        self.add_settings(parser, defaults)
        training = parser.add_argument_group("training")
        if "steps" in defaults:
            training.add_argument(
                "--steps",
                type=int_at_least(1),
                metavar="N",
                help=f"training steps of each model (default: {defaults['steps'] or 'depends on the sizes'})",
            )
        if "seeds" in defaults:
            training.add_argument(
                "--seeds",
                type=int_at_least(1),
                metavar="N",
                help=f"models of each kind, with different seeds (default: {defaults['seeds']})",
            )
        training.add_argument(
            "--seed", type=int_at_least(0), metavar="N", help=f"random seed, the first (default: {defaults['seed']})"
        )
        return parser


def add(parser: argparse.ArgumentParser) -> None:
    papers = parser.add_subparsers(dest="paper", metavar="PAPER", required=True)
    for name, paper in _PAPERS.items():
        subparser = papers.add_parser(
            name, help=paper.about, description=paper.about, parents=[paper.settings_parser()]
        )
        paper.add_files(subparser)
        subparser.add_argument(
            "--out", metavar="FOLDER", default=name, help="folder for the results (default: %(default)s)"
        )
        subparser.add_argument(
            "--config",
            metavar="FILE",
            help="take settings from the settings.yaml of a run; options on the command line have priority",
        )
        if "resume" in inspect.signature(paper.run).parameters:
            subparser.add_argument("--resume", action="store_true", help="continue the run in FOLDER")
        add_backend(subparser)
        add_threads(subparser)
        add_json(subparser)
        for names, meaning in (
            (("-q", "--quiet"), "log warnings and errors only"),
            (("--debug",), "show the traceback of an error"),
        ):
            subparser.add_argument(*names, action="store_true", default=argparse.SUPPRESS, help=meaning)


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    paper = _PAPERS[args.paper]
    args.progress = False if args.quiet else None
    names = [name for name in inspect.signature(paper.run).parameters if hasattr(args, name)]
    settings = _settings_in(args.config, args.paper) if args.config else {}
    try:
        result = paper.run(**settings | {name: getattr(args, name) for name in names})
    except KeyboardInterrupt:
        hint = f"; the same command with --resume continues from the files in {args.out}" if "resume" in names else ""
        raise KeyboardInterrupt(f"stopped{hint}") from None
    if args.json:
        print_json(result)
        return 0
    for claim in (Claim(**entries) for entries in result["claims"]):
        print(f"({claim.letter}) {claim.claim}: {verdict(claim)}")
        print(f"    {claim.figures}")
    print(f"{result['seconds']:.0f} s")
    for path in result["files"]:
        print(f"  {path}")
    return 0


def _settings_in(path: str, paper: str) -> dict[str, Any]:
    """Return the settings in a file, checked like options.

    Raises UserError if a setting is unknown or has a value that its option does not accept.
    """
    arguments = []
    for name, value in read_settings(path, paper).items():
        if value is None or value is False:
            continue  # as if the option were not given
        values = value if isinstance(value, list) else [] if value is True else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    try:
        settings, unknown = _PAPERS[paper].settings_parser().parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{path}: {error}; correct it, or take the settings.yaml of a run") from error
    if unknown:
        raise UserError(f"{path}: {' '.join(unknown)} is no option of {paper}; see `partae reproduce {paper} --help`")
    return vars(settings)


def _stowell2015(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    experiment = parser.add_argument_group("experiment")
    for noise in ("intrinsic", "extrinsic"):
        experiment.add_argument(
            f"--snr-{noise}",
            type=float,
            metavar="DB",
            help=f"ratio of songs to {noise} noise in the band (default: {defaults[f'snr_{noise}']:g})",
        )
    experiment.add_argument(
        "--penalty",
        type=float,
        nargs="+",
        metavar="X",
        help="penalties of the partitioned models; the first is that of the verdicts (default: "
        f"{' '.join(f'{penalty:g}' for penalty in defaults['penalty'])})",
    )
    experiment.add_argument(
        "--penalty-reduction",
        choices=stowell2015.REDUCTIONS,
        help="sum: errors and latents are summed, as printed; mean: both are means, which makes a penalty 16 times as "
        f"strong at the paper's sizes (default: {defaults['penalty_reduction']})",
    )
    experiment.add_argument(
        "--optimizer",
        nargs="+",
        choices=tuple(RULES),
        help=f"optimizers; the first is that of the verdicts (default: {' '.join(defaults['optimizer'])})",
    )
    experiment.add_argument(
        "--frames", type=int_at_least(1), metavar="N", help="frames in a crop (default: 512, or as many as fit)"
    )


def _stowell2015_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"folder with recordings in signal/ and in two or more folders noise_NAME/ ({_CORPORA})",
    )


def _lusterman2016(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    experiment = parser.add_argument_group("experiment")
    experiment.add_argument(
        "--figure", type=int_at_least(1), metavar="N", help="reproduce this figure only, 5 to 22 (default: all)"
    )
    experiment.add_argument(
        "--as-program",
        action="store_true",
        help="also train the models of the thesis's program, beside those of its text",
    )
    experiment.add_argument(
        "--extras", action="store_true", help="also run the experiments that the thesis leaves to future work"
    )


def _lusterman2016_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--noise", nargs="+", metavar="FILE", help="recorded noise for --extras")
    parser.add_argument(
        "--jobs",
        type=int_at_least(1),
        metavar="N",
        help="models to train at a time, each in its own process (default: 1 per CPU thread)",
    )


def _kim2015(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    sizes = parser.add_argument_group(
        "sizes", "by default those of the paper, and smaller ones without --data or with the project's test recordings"
    )
    sizes.add_argument(
        "--clips", type=int_at_least(1), metavar="N", help="largest number of test clips of singing (default: all)"
    )
    sizes.add_argument(
        "--tests",
        type=int_at_least(1),
        metavar="N",
        help="largest number of tests of speech (default: all, or 8 in a small run)",
    )
    sizes.add_argument("--hidden", type=int_at_least(1), metavar="N", help="units of a hidden layer")
    sizes.add_argument("--learning-rate", type=float, metavar="X", help="learning rate of training")
    sizes.add_argument("--epochs", type=int_at_least(1), metavar="N", help="epochs of adaptation")
    sizes.add_argument("--adapting-rate", type=float, metavar="X", help="learning rate of adaptation")


def _kim2015_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with recordings in clean/SPEAKER/ and noise/KIND/, or with TIMIT's TRAIN/ and TEST/ and noise/ "
        f"({_CORPORA})",
    )
    parser.add_argument(
        "--singing",
        metavar="DIR",
        help="clips with accompaniment and voice in two channels, such as MIR-1K, for panel e",
    )


def _hetherly2018(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    parser.add_argument(
        "--mixtures",
        type=int_at_least(1),
        metavar="N",
        help=f"test mixtures of speakers in training, and as many of other speakers (default: {defaults['mixtures']})",
    )
    parser.add_argument(
        "--snmf-frames",
        type=int_at_least(1),
        metavar="N",
        help="training frames of sparse NMF, of voices and of noises (default: 390625, or 20000 for small networks)",
    )
    parser.add_argument(
        "--small-dae",
        action="store_true",
        help="reduce DAE-30 to the size of a small run: it needs 20 times the time of the other networks",
    )


def _hetherly2018_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", help=f"folder with speech/ and noise/, each with a folder per source ({_CORPORA})"
    )


def _grais2017(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    size = parser.add_argument_group("size")
    size.add_argument(
        "--epochs",
        type=int_at_least(1),
        metavar="N",
        help="largest number of epochs (default: 100, or 20 in a small run)",
    )
    size.add_argument("--batch", type=int_at_least(1), metavar="N", help="segments in a batch (default: 100)")
    size.add_argument(
        "--songs",
        type=int_at_least(1),
        metavar="N",
        help="largest number of songs for training, and of songs for tests (default: all, or 8 in a small run)",
    )
    size.add_argument(
        "--seconds", type=float, metavar="S", help="use this much of each song, from its middle (default: all)"
    )


def _grais2017_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with songs as stems in train/ and test/, like MUSDB18-HQ "
        f"({_CORPORA}, or on synthetic songs if it is missing)",
    )


_PAPERS = {
    "stowell2015": _Paper(
        "Stowell & Turner 2015, Denoising without access to clean data using a partitioned autoencoder: figure 6",
        stowell2015.run,
        _stowell2015,
        _stowell2015_files,
    ),
    "kim2015": _Paper(
        "Kim & Smaragdis 2015, Adaptive denoising autoencoders: figure 3",
        kim2015.run,
        _kim2015,
        _kim2015_files,
    ),
    "lusterman2016": _Paper(
        "Lusterman 2016, A partitioned autoencoder for audio de-noising: figures 5 to 22",
        lusterman2016.run,
        _lusterman2016,
        _lusterman2016_files,
    ),
    "hetherly2018": _Paper(
        "Hetherly et al. 2018, Deep speech denoising with vector space projections: improvement by noise and by SNR",
        hetherly2018.run,
        _hetherly2018,
        _hetherly2018_files,
    ),
    "grais2017": _Paper(
        "Grais & Plumbley 2017, Single channel audio source separation using convolutional denoising autoencoders",
        grais2017.run,
        _grais2017,
        _grais2017_files,
    ),
}
