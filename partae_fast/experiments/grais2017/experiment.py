"""The whole experiment: songs, networks of both kinds, separation of test songs, claims and figure."""

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...models.separation import SourceSeparator
from ...models.storage import save
from ...systems.cdae import LEARNING_RATE, OPTIMIZER, fit_excerpts
from ...training.options import TrainingOptions
from ..corpora import recordings_of
from ..settings_file import write_settings
from ..tables import write_csv
from .claims import CONVOLUTIONAL, FEED_FORWARD, check_claims
from .data import Dataset, load
from .figures import draw_figure
from .markdown import claims_markdown
from .scores import MIXTURE, Row, scores

logger = logging.getLogger("partae_fast")


def run(
    out: PathLike,
    data: PathLike | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    songs: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train a convolutional and a feed-forward network for each source, separate test songs, and check the claims.

    Args:
        out: a folder for results.csv (the ratios of every song, source and method), boxplots.png, boxplots.svg,
            claims.md, settings.yaml and the models; created if missing.
        data: a folder of songs in stems: train/SONG/ and test/SONG/ with a file for each source (the layout of
            MUSDB18-HQ), or SONG/ folders, the first half of which is for training. None for a small run on the songs of
            `corpora`, or on synthetic songs if they are missing. The folder of the project's test recordings adds a
            recording of two speakers to a small run on synthetic songs.
        epochs: of training; None for the paper's 100, or in a small run for 15 (songs) and 6 (speakers). An epoch has
            as many steps as use the songs once as segments of 15 frames, and in a small run 10. Both networks take the
            same number of steps.
        batch: segments per step; None for the paper's 100.
        seconds: of each song, at most, from its middle; None for all, or 20 in a small run.
        songs: for training and as many for tests, at most, spread evenly; None for all, or 8 in a small run.
        seeds: networks of each kind, with different seeds.
        seed: the first, of weights and batches; also that of synthetic songs.
        backend, device, progress: as for `Trainer`.
        resume: whether to continue from the checkpoints in `out`.

    Returns:
        A dictionary with claims (the fields of each `Claim`), conditions, seconds and files.

    Raises UserError if the songs are unsuitable for training or a result cannot be written.

    Grais & Plumbley 2017, section 4.
    """
    started, out = time.monotonic(), Path(out)
    in_corpora = None if data is not None else recordings_of("grais2017")
    datasets = load(in_corpora or data, epochs, batch, seconds, songs, seed, in_corpora is not None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: the folder cannot be created: {error.strerror}; name another with --out") from error
    conditions = [dataset.description for dataset in datasets]
    for line in conditions:
        logger.info("%s", line)
    rows: list[Row] = []
    silent: list[str] = []
    parameters: dict[str, int] = {}
    checkpoints: list[Path] = []
    for dataset, each in itertools.product(datasets, range(seed, seed + seeds)):
        models: dict[str, SourceSeparator] = {}
        for network in (FEED_FORWARD, CONVOLUTIONAL):
            name = f"{dataset.name}.{network}" + (f".seed{each}" if seeds > 1 else "")
            checkpoints.append(out / f"{name}.checkpoint")
            options = TrainingOptions(
                seed=each,
                backend=backend,
                device=device,
                checkpoint=checkpoints[-1],
                resume=resume,
                overwrite=not resume,
                progress=progress,
            )
            training_started = time.monotonic()
            models[network] = fit_excerpts(dataset.excerpts(network), dataset.settings[network], options)
            conditions.append(_describe(dataset, network, models[network], each, time.monotonic() - training_started))
            logger.info("%s", conditions[-1])
            save(models[network], out / f"{name}.safetensors")
            parameters[network] = sum(p.numel() for p in next(iter(models[network].networks)).parameters())
        rate = dataset.settings[FEED_FORWARD].rate
        new_rows, new_silent = scores(dataset.name, dataset.test, models, rate, each, _log_separation)
        if each == seed:
            silent += new_silent
        rows += [row for row in new_rows if each == seed or row["method"] != MIXTURE]
    settings = {"epochs": epochs, "batch": batch, "seconds": seconds, "songs": songs, "seeds": seeds, "seed": seed}
    return _write(out, datasets[0], conditions, rows, silent, parameters, checkpoints, settings, started)


def _log_separation(name: str) -> None:
    logger.info("separating %s", name)


def _describe(dataset: Dataset, network: str, model: Any, seed: int, seconds: float) -> str:
    """Return a line that describes the training of a network."""
    settings, steps = dataset.settings[network], len(model.history.loss)
    items = f"segments of {model.frames} frames" if model.frames > 1 else "single frames"
    return (
        f"{dataset.name}, {network.upper()}: {len(model.sources)} networks, {steps} steps of {settings.batch} {items} "
        f"({settings.epochs} epochs of {settings.epoch_steps} steps; the paper has 100 epochs and a batch of 100), "
        f"hop {settings.hop}, {OPTIMIZER}, initial learning rate {LEARNING_RATE:g} with a schedule for each source, "
        f"seed {seed}, {seconds:.0f} s."
    )


def _write(
    out: Path,
    dataset: Dataset,
    conditions: Sequence[str],
    rows: Sequence[Row],
    silent: Sequence[str],
    parameters: dict[str, int],
    checkpoints: Sequence[Path],
    settings: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    """Check the claims on a dataset, write all files, remove the checkpoints, and return the result of `run`."""
    song_rows = [row for row in rows if row["task"] == dataset.name]
    claims = check_claims(song_rows, parameters)
    files = [out / name for name in ("results.csv", "boxplots.png", "boxplots.svg", "claims.md")]
    write_csv(files[0], rows, 3)
    for path in files[1:3]:
        draw_figure(path, song_rows, dataset.description)
    with atomic_path(files[3]) as path:
        path.write_text(claims_markdown(claims, conditions, rows, silent, parameters))
    networks = {network: asdict(values) for network, values in dataset.settings.items()}
    files.append(write_settings(out, "grais2017", settings, networks=networks))
    for path in checkpoints:
        path.unlink(missing_ok=True)
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": list(conditions),
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }
