"""Learn a model from noisy recordings and noise alone.

What is noise is said by recordings of noise alone (--noise), by labels for the recordings (--labels: Audacity, Raven,
CSV, BirdNET and more; time outside every label of a recording that is listed is noise), or by both. `partae labels`
shows beforehand what labels say.

At its end it says what can be told without clean audio: how much noise-only audio is attenuated, how much of the rest
is kept, of a partitioned model how well both parts together match the recordings, and a warning where noise and signal
were not told apart.

While it trains, a checkpoint stands beside the model, as MODEL.checkpoint, and MODEL.checkpoint.remixed1 and 2 of the
models that preset field trains next. After Ctrl-C or a power cut the same command with --resume goes on from there, to
the same bits as if it had never stopped. MODEL.history.jsonl is the record of the run: settings, and the loss as it
went.

Recordings that do not fit into memory: --cache FOLDER keeps their spectrograms on disk, where the next run finds them,
and crops are drawn from a part of them, the reservoir, which is renewed as training goes.

Several processes, a GPU for each, train one model together, each on its share of every batch:
  torchrun --nproc-per-node 2 -m partae_fast train ...
The model is the same with 2 processes as with 4, and that of one but for rounding. It pays where batches are large.

Other systems than the convolutional one: --model NAME. What each learns from, and the settings that --set takes, says
`partae info --model NAME`.

examples:
  partae train dawn1.wav dawn2.wav --noise rain.wav --out dawn.safetensors
  partae train spinetail.flac --labels spinetail.audacity.txt --out spinetail.safetensors --steps 3000
  partae train dawn1.wav dawn2.wav --noise rain.wav --out dawn.safetensors --resume
"""

import argparse
import contextlib
import inspect
import logging
import time
from dataclasses import asdict
from pathlib import Path

from ..errors import UserError
from ..evaluation.report import report
from ..file_lock import only_writer
from ..kernels.optimiser import RULES
from ..models import save
from ..training import figure
from ..training.distributed import Ranks, joined, share_processors
from ..training.fit import checkpoints, chosen_device, fit_material
from ..training.material import prepare
from ..training.presets import DEFAULT, preset_named
from ..training.reservoir import DEFAULT_MIB
from . import systems
from .options import (
    add_json,
    add_material,
    add_place,
    add_spectrogram,
    add_threads,
    label_rules_of,
    print_json,
    spectrogram_of,
    use_threads,
    whole,
)
from .systems import check_places, checkpoint_path, stopped

logger = logging.getLogger("partae_fast")

_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(fit_material).parameters.items()}
_LAST = 100  # steps over which the loss that is printed is averaged


def add(parser: argparse.ArgumentParser) -> None:
    add_material(parser, several="*")
    systems.add(parser)
    parser.add_argument("--out", required=True, metavar="MODEL", help="the model to write, by habit NAME.safetensors")
    parser.add_argument(
        "--figure", metavar="PICTURE", help="draw loss, latents and filters to this file, .png, .pdf or .svg"
    )
    add_spectrogram(parser, DEFAULT)
    memory = parser.add_argument_group("memory")
    memory.add_argument("--cache", metavar="FOLDER", help="keep spectrograms there (default: in memory)")
    memory.add_argument(
        "--reservoir", type=whole(1), metavar="MIB", help=f"of these in memory, with --cache (default: {DEFAULT_MIB})"
    )
    run = parser.add_argument_group(
        "training", "penalty, optimizer and learning rate are of the partitioned model, not of one that learns from it"
    )
    run.add_argument("--steps", type=whole(1), metavar="N", help="in all (default: the preset's)")
    run.add_argument("--penalty", type=float, metavar="X", help="on noise in foreground latents (default: preset's)")
    run.add_argument("--optimizer", choices=tuple(RULES), help="default: the preset's")
    run.add_argument(
        "--learning-rate", type=float, metavar="X", help="default: the preset's, or another optimizer's own"
    )
    run.add_argument("--weight-decay", type=float, default=0.0, metavar="X", help="L2 on all weights (default: 0)")
    run.add_argument("--seed", type=whole(0), default=_DEFAULTS["seed"], metavar="N", help="default %(default)s")
    run.add_argument(
        "--log",
        choices=("tensorboard",),
        help="also write curves to the folder MODEL.tensorboard, for tensorboard --logdir",
    )
    run.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    run.add_argument("--overwrite", action="store_true", help="replace a model or checkpoint that exists")
    add_place(run)
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    with joined(chosen_device(args.device, args.backend)) as ranks:
        if not args.threads:
            share_processors()
        use_threads(args)
        with only_writer(args.out) if ranks.leads else contextlib.nullcontext():
            return _run(args, ranks)


def _run(args: argparse.Namespace, ranks: Ranks) -> int:
    if args.model != systems.CONVOLUTIONAL:
        return systems.run(args)
    if not args.recordings:
        raise UserError("no recording was given; name at least one")
    out, checkpoint = Path(args.out), checkpoint_path(args.out)
    if args.reservoir and not args.cache:
        raise UserError("--reservoir is a part of what --cache keeps on disk; give --cache FOLDER too")
    if ranks.leads:
        check_places(out, checkpoints(checkpoint, preset_named(args.preset)), args.resume, args.overwrite)
        if args.figure:
            figure.check_place(args.figure, args.overwrite)
    started, progress = time.monotonic(), False if args.quiet else None
    try:
        material = prepare(
            args.recordings,
            noise=args.noise,
            labels=args.labels,
            preset=args.preset,
            **spectrogram_of(args),
            **label_rules_of(args),
            cache=args.cache,
            progress=progress,
        )
        model = fit_material(
            material,
            steps=args.steps,
            penalty=args.penalty,
            optimizer=args.optimizer,
            learning_rate=args.learning_rate,
            weight_decay=args.weight_decay,
            backend=args.backend,
            device=args.device,
            seed=args.seed,
            checkpoint=checkpoint,
            resume=args.resume,
            overwrite=args.overwrite,
            progress=progress,
            history=f"{out}.history.jsonl",
            tensorboard=f"{out}.tensorboard" if args.log else None,
            reservoir=args.reservoir,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(stopped(checkpoint)) from None
    if not ranks.leads:
        return 0
    save(model, out, overwrite=args.overwrite)
    for path in checkpoints(checkpoint, material.preset):
        path.unlink(missing_ok=True)
    material = material.excerpt(args.seed)
    judged = report(model, material)
    if args.figure:
        figure.figure(args.figure, model, material, args.overwrite)
    losses = model.history.loss
    last = losses[-min(_LAST, material.preset.split(len(losses))[-1] or _LAST) :]  # of the last model alone
    result = {
        "model": str(out),
        "figure": args.figure,
        "steps": len(losses),
        "loss": sum(last) / len(last),
        "seconds": round(time.monotonic() - started, 3),
        "report": asdict(judged),
    }
    if args.json:
        print_json(result)
    else:
        mean = f"loss {result['loss']:.4g} (mean of the last {len(last)} steps)"
        print(f"{out}: {result['steps']} steps, {mean}, {result['seconds']:.1f} s")
        for line in judged.lines():
            print(f"  {line}")
    return 0
