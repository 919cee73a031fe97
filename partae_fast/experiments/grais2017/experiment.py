"""All of it in one call: songs, both kinds of network, what they make of songs they have not heard, claims, figure."""

import csv
import io
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...models.separation import SourceSeparator
from ...models.storage import save
from ...systems.cdae import LEARNING_RATE, OPTIMIZER, fit_excerpts
from ...training.options import TrainingOptions
from .claims import CONVOLUTIONAL, FEED_FORWARD, judge
from .data import Task, tasks
from .figure import figure
from .report import report
from .scores import Row, scores

logger = logging.getLogger("partae_fast")


def run(
    out: PathLike,
    data: PathLike | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train a convolutional and a feed-forward network for each source, take unheard songs apart, judge the claims.

    Args:
        out: a folder for results.csv (the ratios of every song, source and method), boxplots.png, boxplots.svg,
            claims.md and the models; created if it is not there.
        data: songs in stems: train/SONG/ and test/SONG/ with a file for each source (the layout of MUSDB18-HQ), or
            folders of songs, of which the first half is learnt from. Of the project's test recordings, or None, a small
            run on songs made by code; of those recordings on two speakers too.
        epochs, batch: at most, and segments in a step; None for the paper's 100 and 100, in the small run for 20 (60
            of the speakers) and, of the convolutional network, 20.
        seconds: of each song, at most; None for all.
        seed: of weights and draws, and of songs made by code.
        backend, device, progress: as for `Trainer`. resume: go on from the checkpoints in `out`.

    Returns claims (letter, claim, rule, holds, figures), conditions, seconds and files.

    Raises UserError where songs cannot be learnt from, or a result cannot be written.

    Grais & Plumbley 2017, section 4.
    """
    started, out = time.monotonic(), Path(out)
    found = tasks(data, epochs, batch, seconds, seed)
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be a folder: {error.strerror}; name another with --out") from error
    conditions = [task.about for task in found]
    for line in conditions:
        logger.info("%s", line)
    rows, silent, parameters, checkpoints = [], [], {}, []
    for task in found:
        models: dict[str, SourceSeparator] = {}
        for network in (FEED_FORWARD, CONVOLUTIONAL):
            checkpoints.append(out / f"{task.name}.{network}.checkpoint")
            how = TrainingOptions(
                seed=seed,
                backend=backend,
                device=device,
                checkpoint=checkpoints[-1],
                resume=resume,
                overwrite=not resume,
                progress=progress,
            )
            since = time.monotonic()
            models[network] = fit_excerpts(task.material(network), task.settings[network], how)
            conditions.append(_trained(task, network, models[network], time.monotonic() - since))
            logger.info("%s", conditions[-1])
            save(models[network], out / f"{task.name}.{network}.safetensors")
            parameters[network] = sum(p.numel() for p in next(iter(models[network].networks)).parameters())
        rate = task.settings[FEED_FORWARD].rate
        measured = scores(task.name, task.tested, models, rate, lambda name: logger.info("%s is taken apart", name))
        rows += measured[0]
        silent += measured[1]
    claims = judge([row for row in rows if row["task"] == found[0].name], parameters)
    files = [out / name for name in ("results.csv", "boxplots.png", "boxplots.svg", "claims.md")]
    _write_table(files[0], rows)
    for path in files[1:3]:
        figure(path, [row for row in rows if row["task"] == found[0].name], found[0].about)
    with atomic_path(files[3]) as path:
        path.write_text(report(claims, conditions, rows, silent, parameters))
    for path in checkpoints:
        path.unlink(missing_ok=True)
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _trained(task: Task, network: str, model: Any, seconds: float) -> str:
    """What a model came to, in a line."""
    settings, steps = task.settings[network], len(model.history.loss)
    what = f"segments of {model.frames} frames" if model.frames > 1 else "single frames"
    return (
        f"{task.name}, {network.upper()}: {len(model.sources)} networks, {steps} steps of {settings.batch} {what} (at "
        f"most {settings.epochs} epochs, the paper: 100; batch in the paper: 100), {OPTIMIZER}, learning rate "
        f"{LEARNING_RATE:g} at first, {seconds:.0f} s."
    )


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(value, 3) if key.endswith("_db") else value for key, value in row.items()})
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())
