"""Train a denoising model on noisy recordings and examples of noise.

Noise is given by noise-only recordings (--noise), by label files for the noisy recordings (--labels: Audacity, Raven,
CSV, BirdNET and more), or by both. In a labelled recording, the time outside all labels is noise-only. Run
`partae labels` first to see how label files divide the recordings.

After training, a report shows how much the noise-only audio is attenuated and how much of the remaining audio is kept,
on average over all frequencies and by octave, and, for a partitioned model, how well signal and noise together match
the recordings. A warning is printed if the model separates noise from signal in no octave. The report needs no clean
audio.

During training, the checkpoint is MODEL.checkpoint. The default system trains two more models after the first, with
the checkpoints MODEL.checkpoint.remixed1 and MODEL.checkpoint.remixed2. After Ctrl-C or a power cut, repeat the command
with --resume: the result is bit for bit the same as without a stop. Settings and losses are in MODEL.history.jsonl.

For recordings that do not fit into memory, --cache FOLDER stores the spectrograms on disk, and a later run reuses them.
Crops are then drawn from a part of the spectrograms in memory, which is replaced gradually during training.

To train one model with several processes, one GPU each, where each process takes a share of every batch:
  torchrun --nproc-per-node 2 -m partae_fast train ...
The model is the same with 2 and with 4 processes, and equal up to rounding with one. This is faster for large batches.

--model NAME trains another system. `partae info --model NAME` shows which inputs it needs, and
`partae train --model NAME --help` lists its settings, each of which is a flag.

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
from .output_paths import check_outputs, checkpoint_path, stop_message

logger = logging.getLogger("partae_fast")

_LOSS_STEPS = 100  # the printed loss is the mean over this many last steps


def add(parser: argparse.ArgumentParser, arguments: Sequence[str] = ()) -> None:
    """Add the flags, and those of the system named in `arguments`."""
    add_material(parser, nargs="*")
    model = parser.add_argument_group("model", "the system to train; the last group of flags are its settings")
    model.add_argument(
        "--model", "--preset", default=DEFAULT, metavar="NAME", help=f"{', '.join(systems())} (default: {DEFAULT})"
    )
    model.add_argument("--clean", nargs="+", metavar="FILE", help="clean recordings of the signal")
    model.add_argument("--stems", nargs="+", metavar="DIR", help="songs, each a folder of stems")
    model.add_argument("--speech", nargs="+", metavar="DIR", help="speech, with a folder for each speaker")
    model.add_argument(
        "--set",
        action="append",
        type=_setting,
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the system, equivalent to its flag; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="MODEL", help="the model to write, usually NAME.safetensors")
    parser.add_argument(
        "--figure", metavar="PICTURE", help="plot loss, latents and filters to a .png, .pdf or .svg file"
    )
    run = parser.add_argument_group(
        "training", "--optimizer and --learning-rate apply to the first model if a system trains several"
    )
    add_fields(run, TrainingOptions)
    run.add_argument(
        "--log",
        choices=("tensorboard",),
        help="also write curves to the folder MODEL.tensorboard, for tensorboard --logdir",
    )
    add_threads(parser)
    add_json(parser)
    system = _system_in(arguments)
    settings = parser.add_argument_group(f"settings of {system.name}")
    add_fields(settings, system.settings_type, defaults=system.defaults())


def _system_in(arguments: Sequence[str]) -> System:
    """Return the system that a command line names, or else the default."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--model", "--preset", default=DEFAULT)
    try:
        return system_named(parser.parse_known_args(list(arguments))[0].model)
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
        raise UserError(f"--figure does not support --model {system.name}; leave it out")
    if ranks.leads:
        check_outputs(out, checkpoints, args.resume, args.overwrite)
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
        raise KeyboardInterrupt(stop_message(checkpoint)) from None
    if not ranks.leads:
        return 0
    save(model, out, overwrite=args.overwrite)
    for path in checkpoints:
        path.unlink(missing_ok=True)
    losses = model.history.loss
    result: dict[str, Any] = {"model": args.out, "steps": len(losses), "loss": None, "seconds": 0.0}
    last_losses = losses[-min(_LOSS_STEPS, stages(len(losses))[-1] or _LOSS_STEPS) :]  # of the last model only
    if last_losses:
        result["loss"] = sum(last_losses) / len(last_losses)
    report_lines = []
    if material.spectrograms is not None:
        spectrograms = material.spectrograms.excerpt(args.seed, settings.frames)
        diagnostics = diagnose(model, spectrograms)
        if args.figure:
            figure.draw(args.figure, model, spectrograms, system.name, stages(len(losses)), args.overwrite)
        result |= {"figure": args.figure, "report": asdict(diagnostics)}
        report_lines = diagnostics.lines()
    result["seconds"] = round(time.monotonic() - started, 3)
    if args.json:
        print_json(result)
        return 0
    mean = f", loss {result['loss']:.4g} (mean of the last {len(last_losses)} steps)" if last_losses else ""
    print(f"{args.out}: {len(losses)} steps{mean}, {result['seconds']:.1f} s")
    for line in report_lines:
        print(f"  {line}")
    return 0


def _setting(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not a setting such as snr=3")
    return name.replace("-", "_"), value
