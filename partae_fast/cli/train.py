"""Learn a model from noisy recordings and noise alone.

What is noise is said by recordings of noise alone (--noise), by labels for the recordings (--labels: Audacity, Raven,
CSV, BirdNET and more; time outside every label of a recording that is listed is noise), or by both. `partae labels`
shows beforehand what labels say.

At its end it says what can be told without clean audio: how much noise-only audio is attenuated, how much of the rest
is kept, of a partitioned model how well both parts together match the recordings, and a warning where noise and signal
were not told apart.

While it trains, a checkpoint stands beside the model, as MODEL.checkpoint, and MODEL.checkpoint.remixed1 and 2 of the
models that the default trains next. After Ctrl-C or a power cut the same command with --resume continues from there, to
the same bits as if it had never stopped. MODEL.history.jsonl is the record of the run: settings, and the loss over the
steps.

Recordings that do not fit into memory: --cache FOLDER keeps their spectrograms on disk, where the next run finds them,
and crops are drawn from a part of them, the reservoir, which is renewed as training goes.

Several processes, a GPU for each, train one model together, each on its share of every batch:
  torchrun --nproc-per-node 2 -m partae_fast train ...
The model is the same with 2 processes as with 4, and that of one but for rounding. It pays where batches are large.

--model NAME trains another system. Each has settings of its own, a flag each: `partae train --model NAME --help` lists
them, and `partae info --model NAME` says what it learns from.

examples:
  partae train dawn1.wav dawn2.wav --noise rain.wav --out dawn.safetensors
  partae train spinetail.flac --labels spinetail.audacity.txt --out spinetail.safetensors --steps 3000
  partae train dawn1.wav dawn2.wav --noise rain.wav --out dawn.safetensors --resume
"""

import argparse
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluation.diagnostics import diagnose
from ..file_lock import only_writer
from ..models import save
from ..systems.fit import fit
from ..systems.registry import DEFAULT, System, system_named, systems
from ..training import figure
from ..training.distributed import Ranks, joined, share_processors
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.session import checkpoint_paths
from .options import (
    add_fields,
    add_json,
    add_material,
    add_threads,
    fields_of,
    label_rules_of,
    print_json,
    use_threads,
)
from .places import check_places, checkpoint_path, stopped

logger = logging.getLogger("partae_fast")

_LAST = 100  # steps over which the loss that is printed is averaged


def add(parser: argparse.ArgumentParser, arguments: Sequence[str] = ()) -> None:
    """Add the flags: `arguments`, the command line, says which system's settings are among them."""
    add_material(parser, several="*")
    model = parser.add_argument_group("model", "what is trained; its settings are the last group of flags")
    model.add_argument(
        "--model", "--preset", default=DEFAULT, metavar="NAME", help=f"{', '.join(systems())} (default: {DEFAULT})"
    )
    model.add_argument("--clean", nargs="+", metavar="FILE", help="clean recordings of what is wanted")
    model.add_argument("--stems", nargs="+", metavar="DIR", help="songs, each a folder of stems")
    model.add_argument("--speech", nargs="+", metavar="DIR", help="speech, a folder for each speaker")
    model.add_argument(
        "--set",
        action="append",
        type=_setting,
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the model, another way to write its flag; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="MODEL", help="the model to write, by habit NAME.safetensors")
    parser.add_argument(
        "--figure", metavar="PICTURE", help="draw loss, latents and filters to this file, .png, .pdf or .svg"
    )
    run = parser.add_argument_group("training", "optimizer and learning rate apply to the first model that is trained")
    add_fields(run, TrainingOptions)
    run.add_argument(
        "--log",
        choices=("tensorboard",),
        help="also write curves to the folder MODEL.tensorboard, for tensorboard --logdir",
    )
    add_threads(parser)
    add_json(parser)
    system = _system_in(arguments)
    own = parser.add_argument_group(f"settings of {system.name}")
    add_fields(own, system.settings_type, defaults=system.defaults())


def _system_in(arguments: Sequence[str]) -> System:
    """The system that a command line names; the default where it names none or one that is not known."""
    names = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    names.add_argument("--model", "--preset", default=DEFAULT)
    try:
        return system_named(names.parse_known_args(list(arguments))[0].model)
    except (UserError, argparse.ArgumentError):
        return system_named(DEFAULT)


def run(args: argparse.Namespace) -> int:
    options = TrainingOptions(**fields_of(args, TrainingOptions))
    with joined(options.chosen_device()) as ranks:
        if not args.threads:
            share_processors()
        use_threads(args)
        with only_writer(args.out) if ranks.leads else contextlib.nullcontext():
            return _run(args, ranks)


def _run(args: argparse.Namespace, ranks: Ranks) -> int:
    system = system_named(args.model)
    values = fields_of(args, system.settings_type) | dict(args.set)
    settings = system.settings(values)
    out, checkpoint = Path(args.out), checkpoint_path(args.out)
    stages = getattr(settings, "stages", lambda steps: [steps])
    checkpoints = checkpoint_paths(checkpoint, len(stages(0)))
    if args.figure and not system.weak:
        raise UserError(f"--figure is not for --model {system.name}; leave it out")
    if ranks.leads:
        check_places(out, checkpoints, args.resume, args.overwrite)
        if args.figure:
            figure.check_path(args.figure, args.overwrite)
    material = Material(
        args.recordings,
        args.noise or (),
        args.labels or (),
        args.clean or (),
        args.stems or (),
        args.speech or (),
        label_rules_of(args),
    )
    options = TrainingOptions(
        **fields_of(args, TrainingOptions)
        | {
            "checkpoint": checkpoint,
            "progress": False if args.quiet else None,
            "history": f"{out}.history.jsonl",
            "tensorboard": f"{out}.tensorboard" if args.log else None,
        }
    )
    started = time.monotonic()
    try:
        model = fit(material, system=system.name, settings=values, options=options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(stopped(checkpoint)) from None
    if not ranks.leads:
        return 0
    save(model, out, overwrite=args.overwrite)
    for path in checkpoints:
        path.unlink(missing_ok=True)
    losses = model.history.loss
    result: dict[str, Any] = {"model": args.out, "steps": len(losses), "loss": None, "seconds": 0.0}
    last = losses[-min(_LAST, stages(len(losses))[-1] or _LAST) :]  # of the last model alone
    if last:
        result["loss"] = sum(last) / len(last)
    lines = []
    if material.spectrograms is not None:
        spectrograms = material.spectrograms.excerpt(args.seed, settings.frames)
        diagnostics = diagnose(model, spectrograms)
        if args.figure:
            figure.draw(args.figure, model, spectrograms, system.name, stages(len(losses)), args.overwrite)
        result |= {"figure": args.figure, "report": asdict(diagnostics)}
        lines = diagnostics.lines()
    result["seconds"] = round(time.monotonic() - started, 3)
    if args.json:
        print_json(result)
        return 0
    mean = f", loss {result['loss']:.4g} (mean of the last {len(last)} steps)" if last else ""
    print(f"{args.out}: {len(losses)} steps{mean}, {result['seconds']:.1f} s")
    for line in lines:
        print(f"  {line}")
    return 0


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting such as snr=3")
    return name.replace("-", "_"), value
