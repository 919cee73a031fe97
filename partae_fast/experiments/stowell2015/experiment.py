"""The whole experiment: recordings, models, one sweep, scores, claims and figure."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...sweeps.sweep import Sweep
from ...training.options import chosen_device
from ..corpora import MISSING, recordings_of
from ..settings_file import write_settings
from ..tables import write_csv
from .claims import check_claims
from .data import SETTINGS, Recordings, crop_frames, load, mixtures
from .figures import draw_figure, draw_gains
from .markdown import claims_markdown
from .models import OPTIMIZERS, PENALTIES, SUM, sweep_members
from .scores import Row, configurations, scores, unprocessed_scores, validation_crops

logger = logging.getLogger("partae_fast")

STEPS, SMALL_STEPS = 2000, 1000  # per model; the second in a run on the recordings of `corpora`


def run(
    out: PathLike,
    data: PathLike | None = None,
    steps: int | None = None,
    snr_intrinsic: float = -10.0,
    snr_extrinsic: float = -30.0,
    penalty: float | Sequence[float] = PENALTIES,
    penalty_reduction: str = SUM,
    optimizer: str | Sequence[str] = OPTIMIZERS,
    frames: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train partitioned and denoising autoencoders in one sweep, score them, and check the paper's claims.

    Each noise makes two mixtures, matched and unmatched. Each mixture has 9 partitioned models for each penalty,
    optimizer and seed, and a DAE for each optimizer and seed. The claims are judged for each optimizer and penalty.

    Args:
        out: a folder for results.csv (a row for each score of each model), figure6.png and figure6.svg (of the first
            optimizer and penalty), penalties.png, claims.md, settings.yaml and sweep/ (the models); created if missing.
        data: a folder with signal/ and two or more noise_NAME/, or the project's test recordings; see `data.load`. None
            for the recordings of `corpora`.
        steps: per model; None for 2000, or 1000 in a small run on the recordings of `corpora`. The paper has a million.
        snr_intrinsic, snr_extrinsic: of the songs to each noise, in dB in the band. The paper prints -10 dB and then
            -30 dB.
        penalty: one or more; the first is that of the verdicts and of figure 6.
        penalty_reduction: "sum" as the loss is printed, or "mean"; see `models.loss_penalty`.
        optimizer: one or more; the first is that of the verdicts and of figure 6.
        frames: per crop; None for the paper's 512, or 256 or 128 if the recordings are short.
        seeds: models of each kind, with different seeds.
        seed: the first, of filters and crops.
        backend, device, resume, progress: as for `pf.Sweep`.

    Returns:
        A dictionary with claims (the fields of each `Claim`), configurations (for each optimizer and penalty, the
        letters of the claims that hold), conditions, seconds and files.

    Raises UserError if recordings are missing or too short, if a result cannot be written, if `out` contains a sweep
    with other settings or `resume` is false, or if a loss becomes NaN.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    started, out = time.monotonic(), Path(out)
    penalties = [float(value) for value in ([penalty] if isinstance(penalty, int | float) else penalty)]
    optimizers = [optimizer] if isinstance(optimizer, str) else list(optimizer)
    folder = recordings_of("stowell2015") if data is None else data
    steps = steps or (STEPS if data else SMALL_STEPS)
    if folder is None:
        raise UserError(f"stowell2015: {MISSING}")
    recordings = load(folder)
    crop = crop_frames(recordings, frames)
    mixed = mixtures(recordings, snr_intrinsic, snr_extrinsic)
    members = sweep_members(
        mixed,
        crop,
        range(seed, seed + seeds),
        chosen_device(device, backend),
        penalties,
        optimizers,
        penalty_reduction,
    )
    settings = {
        "steps": steps,
        "snr_intrinsic": snr_intrinsic,
        "snr_extrinsic": snr_extrinsic,
        "penalty": penalties,
        "penalty_reduction": penalty_reduction,
        "optimizer": optimizers,
        "frames": crop,
        "seeds": seeds,
        "seed": seed,
    }
    conditions = _conditions(recordings, settings)
    for line in conditions.values():
        logger.info("%s", line)
    sweep = Sweep(members, out / "sweep", steps, backend, resume, progress=progress)
    sweep.run()
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} models failed: {', '.join(sweep.failed)}; the figure needs all of them")
    rows: list[Row] = []
    for mixture in mixed:
        crops = validation_crops(mixture, crop)
        rows += unprocessed_scores(mixture, crops)
        for member in members:
            if mixture.columns().items() <= member.settings.items():
                rows += scores(member, crops)
    return _write(out, rows, settings, conditions, started)


def _write(
    out: Path, rows: list[Row], settings: dict[str, Any], conditions: dict[str, str], started: float
) -> dict[str, Any]:
    """Check the claims, write all files, and return the result of `run`."""
    names = ("results.csv", "figure6.png", "figure6.svg", "penalties.png", "claims.md")
    table, *figures, overview, text = files = [out / name for name in names]
    by_configuration = configurations(rows)
    checked = {key: check_claims(selected) for key, selected in by_configuration.items()}
    (optimizer, penalty), first = next(iter(by_configuration.items()))
    ratios = (
        f"{settings['steps']} steps; songs at {settings['snr_intrinsic']:+g} dB to intrinsic, "
        f"{settings['snr_extrinsic']:+g} dB to extrinsic noise"
    )
    write_csv(table, rows, 3)
    for path in figures:
        draw_figure(path, first, f"{ratios}; {optimizer}, penalty {penalty:g}")
    draw_gains(overview, rows, ratios)
    with atomic_path(text) as path:
        path.write_text(claims_markdown(conditions, rows))
    files.append(write_settings(out, "stowell2015", settings))
    return {
        "claims": [vars(claim) for claim in next(iter(checked.values()))],
        "configurations": [
            {"optimizer": name, "penalty": value, "holds": "".join(claim.letter for claim in claims if claim.holds)}
            for (name, value), claims in checked.items()
        ],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _conditions(recordings: Recordings, settings: dict[str, Any]) -> dict[str, str]:
    """Return lines that describe the run."""
    rate, frames = recordings.spectrogram.frame_rate, settings["frames"]

    def seconds(name: str, magnitudes: Sequence[Any]) -> str:
        return f"{name} {sum(map(len, magnitudes)) / rate:.1f} s"

    durations = [seconds("songs", recordings.songs.training)]
    for noise in recordings.noises:
        durations += [
            seconds(f"{noise.name} {role}", part.training)
            for role, part in (("intrinsic", noise.intrinsic), ("extrinsic", noise.extrinsic))
        ]
    reduced = "" if frames == SETTINGS.frames else f"; the paper has {SETTINGS.frames}"
    return {
        "material": f"Training: {', '.join(durations)}; validation: a third as much, from other times.",
        "mixing": f"In the band {recordings.spectrogram.low:g} to {recordings.spectrogram.high:g} Hz, songs are at "
        f"{settings['snr_intrinsic']:+g} dB to intrinsic and {settings['snr_extrinsic']:+g} dB to extrinsic noise; "
        f"items are sums of magnitudes, with an RMS of {SETTINGS.level:g}.",
        "crops": f"Crops have {frames} frames ({frames / rate:.2f} s){reduced}.",
        "training": f"{settings['steps']} steps per model (the paper has a million), "
        f"{' and '.join(settings['optimizer'])}, penalties {', '.join(f'{x:g}' for x in settings['penalty'])} "
        f"({settings['penalty_reduction']} over errors and latents), seeds {settings['seed']} to "
        f"{settings['seed'] + settings['seeds'] - 1}.",
    }
