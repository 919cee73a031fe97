"""What `partae train` does with --model: the systems besides the convolutional partitioned autoencoder."""

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from ..atomic import check_writable
from ..errors import UserError
from ..labels import Rules
from ..models import save
from ..training.presets import DEFAULT
from ..training.systems import KINDS, SYSTEMS, Given, Run, system_named
from .options import label_rules_of, print_json

logger = logging.getLogger("partae_fast")

CONVOLUTIONAL = "conv"
_LAST = 100  # steps over which the loss that is printed is averaged
# What is of the convolutional system alone, as it is where it is not asked for.
_ITS_OWN = {"figure": None, "cache": None, "reservoir": None, "low": None, "high": None, "rate": None}
_ITS_OWN |= {"n_fft": None, "hop": None, "bins": None, "preset": DEFAULT}


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model", "another system than the convolutional partitioned autoencoder")
    group.add_argument(
        "--model",
        choices=(CONVOLUTIONAL, *SYSTEMS),
        default=CONVOLUTIONAL,
        metavar="NAME",
        help=f"{', '.join((CONVOLUTIONAL, *SYSTEMS))} (default %(default)s)",
    )
    group.add_argument("--clean", nargs="+", metavar="FILE", help="clean recordings of what is wanted")
    group.add_argument("--stems", nargs="+", metavar="DIR", help="songs, each a folder of stems")
    group.add_argument("--speech", nargs="+", metavar="DIR", help="speech, a folder for each speaker")
    group.add_argument(
        "--set",
        action="append",
        type=_setting,
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the model's own, again for each; `partae info --model NAME` lists them",
    )


def run(args: argparse.Namespace) -> int:
    """Train one of `SYSTEMS`, write it, and say how it went."""
    system, out = system_named(args.model), Path(args.out)
    checkpoint = checkpoint_path(args.out)
    for name, idle in _ITS_OWN.items():
        if getattr(args, name) != idle:
            raise UserError(f"--{name.replace('_', '-')} is not for --model {args.model}; see what --set takes")
    settings = system.settings(dict(args.set))
    check_places(out, [checkpoint], args.resume, args.overwrite)
    rules = label_rules_of(args)
    label_format = rules.pop("label_format")
    given = Given(
        **{kind: getattr(args, kind) or () for kind in KINDS}, rules=Rules(**rules), label_format=label_format
    )
    how = Run(
        steps=args.steps,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        penalty=args.penalty,
        seed=args.seed,
        backend=args.backend,
        device=args.device,
        checkpoint=checkpoint,
        resume=args.resume,
        overwrite=args.overwrite,
        progress=False if args.quiet else None,
        history=f"{out}.history.jsonl",
        tensorboard=f"{out}.tensorboard" if args.log else None,
    )
    started = time.monotonic()
    try:
        model = system.fit(given, settings, how)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(stopped(checkpoint)) from None
    save(model, out, overwrite=args.overwrite)
    checkpoint.unlink(missing_ok=True)
    _tell(args, model, round(time.monotonic() - started, 3))
    return 0


def _tell(args: argparse.Namespace, model: Any, seconds: float) -> None:
    losses = model.history.loss
    last = losses[-_LAST:]
    loss = sum(last) / len(last) if last else None
    if args.json:
        print_json({"model": args.out, "steps": len(losses), "loss": loss, "seconds": seconds})
        return
    mean = f", loss {loss:.4g} (mean of the last {len(last)} steps)" if last else ""
    print(f"{args.out}: {len(losses)} steps{mean}, {seconds:.1f} s")


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting such as snr=3")
    return name.replace("-", "_"), value


def checkpoint_path(out: str) -> Path:
    """Where the checkpoint of a model that is being trained stands."""
    return Path(f"{out}.checkpoint")


def check_places(out: Path, checkpoints: list[Path], resume: bool, overwrite: bool) -> None:
    """Refuse before the work begins, rather than after it, what could not be written."""
    check_writable(out, overwrite=True)
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; choose another --out, or replace it with --overwrite")
    for path in checkpoints:
        check_writable(path, overwrite=True)
        if path.exists() and not (resume or overwrite):
            raise UserError(f"{path}: an earlier run stopped here; go on with --resume, or anew with --overwrite")
    if resume and not checkpoints[0].exists():
        logger.warning("%s: there is no checkpoint to resume; training starts at the first step", checkpoints[0])


def stopped(checkpoint: Path) -> str:
    if not checkpoint.exists():
        return "stopped before the first checkpoint; nothing was written"
    return f"stopped; the checkpoint is {checkpoint}: the same command with --resume goes on from there"
