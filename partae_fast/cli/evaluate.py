"""Score denoising against known clean signals, and compare it with other methods.

DATA is a folder with subfolders clean/ and noise/. Every clean recording is mixed with every noise recording, or, if
both folders contain the same file names, with the noise of the same name. The first 60 % of a noise recording go into
the mixture; the rest is the noise-only audio for all methods. A song that is longer than its noise is cut to its
loudest stretch. To use other noise-only audio, put it into noise_only/
under the same name. A new partae model is trained on each mixture and its noise-only audio, unless --model is given.
Scores are computed in the band of the song and over all frequencies. --speech adds STOI and PESQ, which need pystoi and
pesq (install partae-fast[evaluate]) and recordings of speech at 8 kHz or more.

The other methods are noisereduce (install partae-fast[evaluate]), wiener, gate (a spectral gate) and ratio-mask (the
ideal ratio mask, an upper bound). --out gets evaluation.md, .csv, .json and .png.

--protocol is for figures that hold elsewhere. In DATA, clean/ and noise/ then have a folder for every kind of sound.
Kinds are dealt out to two halves, scenes are drawn within a half by --seed, at -10 to 10 dB, with noise-only audio of
3 s and of 10 s or more, some of it 6 dB off or of another recording, and what is chosen on one half is reported on the
other. --out gets protocol.md, .csv and .png.

examples:
  partae evaluate recordings --out evaluation
  partae evaluate recordings --model dawn.safetensors --levels -10 0 --peers noisereduce
  partae evaluate recordings --steps 2000 --seeds 3 --mismatch -12
  partae evaluate voices --speech --levels 0 5
  partae evaluate recordings --protocol --presets field stowell2015 --out quality
"""

import argparse
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluation import crossfit, protocol
from ..evaluation.evaluate import LEVELS, PEERS, evaluate
from ..evaluation.peers import trained, with_model
from ..evaluation.protocol import draw
from ..evaluation.results import environment, prepare_folder, write, write_protocol
from ..evaluation.scenes import scenes_of
from ..evaluation.summary import markdown, summarise
from ..models import load
from ..systems.registry import DEFAULT, system_named, systems
from .options import add_json, add_threads, int_at_least, print_json, use_threads

_TRAINING = ("preset", "steps", "seeds")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="a folder with clean/ and noise/")
    parser.add_argument("--out", metavar="FOLDER", help="write table, rows and figure to this folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the results in FOLDER")
    training = parser.add_argument_group("partae model")
    training.add_argument("--model", metavar="MODEL", help="score this model instead of training models")
    training.add_argument("--preset", help=f"the system to train: {' or '.join(_weak_systems())} (default: {DEFAULT})")
    training.add_argument(
        "--in-band", action="store_true", help="train on the band of the song, not on the band of the preset"
    )
    training.add_argument(
        "--steps", type=int_at_least(0), metavar="N", help="training steps (default: as for partae train)"
    )
    training.add_argument(
        "--seeds", type=int_at_least(1), metavar="N", help="models for each mixture and level (default: 1)"
    )
    scenes = parser.add_argument_group("mixtures and other methods")
    levels = " ".join(f"{level:g}" for level in LEVELS)
    scenes.add_argument(
        "--levels",
        type=float,
        nargs="+",
        metavar="DB",
        help=f"signal-to-noise ratios in the band of the song (default: {levels})",
    )
    scenes.add_argument(
        "--mismatch",
        type=float,
        default=0.0,
        metavar="DB",
        help="make the noise-only audio louder than the noise in the mixture (default: %(default)s)",
    )
    scenes.add_argument("--low", type=float, metavar="HZ", help="lower end of the band (default: that of the song)")
    scenes.add_argument("--high", type=float, metavar="HZ", help="upper end of the band (default: that of the song)")
    scenes.add_argument(
        "--peers", nargs="*", metavar="NAME", help=f"other methods: {', '.join(PEERS)} (default: all installed)"
    )
    scenes.add_argument(
        "--speech",
        action="store_true",
        help="also score STOI and PESQ (wideband at 16 kHz, or narrowband at 8 kHz if the rate is lower), of speech",
    )
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--protocol", action="store_true", help="run the cross-fitted protocol")
    protocol.add_argument("--presets", nargs="+", metavar="NAME", help=f"to compare (default {DEFAULT})")
    protocol.add_argument("--scenes", type=int_at_least(2), metavar="N", help="an even number (default 48)")
    protocol.add_argument("--seed", type=int_at_least(0), metavar="N", help="of the draw (default 0)")
    protocol.add_argument("--quick", action="store_true", help="a third of the scenes, one mixture each, for a search")
    add_threads(parser)
    add_json(parser)


def _weak_systems() -> list[str]:
    """Return the names of the systems that train on noisy recordings and noise alone."""
    return [
        name for name, system in systems().items() if system.required == ("recordings",) and "noise" in system.optional
    ]


def _default_steps(preset: str) -> int:
    """Return the default number of training steps of a system with weak labels."""
    if preset not in _weak_systems():
        raise UserError(f"preset {preset!r} is not known; choose {' or '.join(_weak_systems())}")
    return system_named(preset).settings().steps


def run(args: argparse.Namespace) -> int:
    use_threads(args)
    _check_apart(args)
    if args.protocol:
        return _run_protocol(args)
    settings, denoisers = _denoisers(args)
    levels = sorted(set(args.levels or LEVELS))
    scenes = scenes_of(args.data, args.low, args.high)
    if args.out:
        prepare_folder(Path(args.out), args.overwrite)
    rows = evaluate(scenes, denoisers, levels, args.mismatch, args.peers, args.speech)
    summary = summarise(rows)
    settings |= {"data": args.data, "mismatch": args.mismatch, "bands": {s.name: s.band for s in scenes}}
    report = {"environment": environment(), "settings": settings, "summary": summary, "rows": rows}
    if args.out:
        write(Path(args.out), report)
    if args.json:
        print_json(report)
    else:
        print(markdown(summary), end="")
        if args.out:
            print(f"- rows, table and figure are in {args.out}")
    return 0


def _denoisers(args: argparse.Namespace) -> tuple[dict[str, Any], list[Any]]:
    """Return the settings for the report, and a function for each seed.

    The function returns the denoiser of a scene.
    """
    if args.model:
        options = [name for name in _TRAINING if getattr(args, name) is not None]
        if options:
            raise UserError(f"--model and --{options[0]} cannot be combined: score a model or train; leave one out")
        denoiser = with_model(load(args.model))
        return {"model": args.model}, [lambda scene: denoiser]
    settings = {name: getattr(args, name) for name in ("preset", "steps") if getattr(args, name) is not None}
    settings.setdefault("preset", DEFAULT)
    settings.setdefault("steps", _default_steps(settings["preset"]))
    seeds = range(args.seeds or 1)
    return {**settings, "seeds": len(seeds), "in_band": args.in_band}, [
        lambda scene, seed=seed: trained(
            scene.band if args.in_band else None, settings["preset"], steps=settings["steps"], seed=seed
        )
        for seed in seeds
    ]


_PROTOCOL_ALONE = ("presets", "scenes", "seed", "quick")
_NOT_PROTOCOL = ("model", "preset", "in_band", "seeds", "levels", "mismatch", "low", "high", "speech")


def _check_apart(args: argparse.Namespace) -> None:
    """Refuse flags of the protocol without it, and others with it."""
    name, wrong = ("with", _NOT_PROTOCOL) if args.protocol else ("without", _PROTOCOL_ALONE)
    surplus = [flag for flag in wrong if getattr(args, flag)]
    if surplus:
        flag = surplus[0].replace("_", "-")
        raise UserError(f"--{flag} was given {name} --protocol, where it has no meaning; leave it out")


def _run_protocol(args: argparse.Namespace) -> int:
    presets = list(dict.fromkeys(args.presets or [DEFAULT]))
    for preset in presets:
        _default_steps(preset)
    options = {} if args.steps is None else {"steps": args.steps}
    systems = {preset: lambda seed, preset=preset: trained(None, preset, seed=seed, **options) for preset in presets}
    if args.out:
        prepare_folder(Path(args.out), args.overwrite, protocol=True)
    settings = {"data": args.data, "scenes": args.scenes or 48, "seed": args.seed or 0, "quick": args.quick, **options}
    cases = list(draw(args.data, settings["scenes"], settings["seed"], args.quick))
    rows = protocol.run(cases, systems, args.peers)
    summary = crossfit.summarise(rows, presets)
    report = {"environment": environment(), "settings": settings, "summary": summary, "rows": rows}
    if args.out:
        write_protocol(Path(args.out), report)
    if args.json:
        print_json(report)
    else:
        print(crossfit.markdown(summary), end="")
    return 0
