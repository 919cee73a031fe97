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
from ..tables import write_csv
from .claims import check_claims
from .data import SETTINGS, Recordings, crop_frames, load, mixtures
from .figures import draw_figure
from .markdown import claims_markdown
from .models import sweep_members
from .scores import Row, scores, unprocessed_scores, validation_crops

logger = logging.getLogger("partae_fast")


def run(
    data: PathLike,
    out: PathLike,
    steps: int = 1_000_000,
    snr_intrinsic: float = -30.0,
    snr_extrinsic: float = -10.0,
    frames: int | None = None,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train partitioned and denoising autoencoders in one sweep, score them, and check the paper's claims.

    Each noise makes two mixtures, matched and unmatched, and each mixture 9 partitioned models and 1 DAE.

    Args:
        data: a folder with signal/ and two or more noise_NAME/, or the project's test recordings; see `data.load`.
        out: a folder for results.csv (a row for each score of each model), figure6.png, figure6.svg, claims.md and
            sweep/ (the models); created if missing.
        steps: per model; the paper has a million.
        snr_intrinsic, snr_extrinsic: of the songs to each noise, in dB in the band.
        frames: per crop; None for the paper's 512, or 256 or 128 if the recordings are short.
        seed: of filters and crops.
        backend, device, resume, progress: as for `pf.Sweep`.

    Returns:
        A dictionary with claims (the fields of each `Claim`), conditions, seconds and files.

    Raises UserError if recordings are missing or too short, if a result cannot be written, if `out` contains a sweep
    with other settings or `resume` is false, or if a loss becomes NaN.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    started, out = time.monotonic(), Path(out)
    recordings = load(data)
    frames = crop_frames(recordings, frames)
    conditions = _conditions(recordings, frames, steps, snr_intrinsic, snr_extrinsic, seed)
    for line in conditions.values():
        logger.info("%s", line)
    mixed = mixtures(recordings, snr_intrinsic, snr_extrinsic)
    members = sweep_members(mixed, frames, seed, chosen_device(device, backend))
    sweep = Sweep(members, out / "sweep", steps, backend, resume, progress=progress)
    sweep.run()
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} models failed: {', '.join(sweep.failed)}; the figure needs all of them")
    rows: list[Row] = []
    for mixture in mixed:
        crops = validation_crops(mixture, frames)
        rows += unprocessed_scores(mixture, crops)
        for member in members:
            if mixture.columns().items() <= member.settings.items():
                rows += scores(member, crops)
    claims = check_claims(rows)
    files = [out / name for name in ("results.csv", "figure6.png", "figure6.svg", "claims.md")]
    write_csv(files[0], rows, 3)
    caption = f"{steps} steps; songs at {snr_intrinsic:+g} dB to intrinsic, {snr_extrinsic:+g} dB to extrinsic noise"
    for path in files[1:3]:
        draw_figure(path, rows, caption)
    with atomic_path(files[3]) as path:
        path.write_text(claims_markdown(claims, conditions, rows))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _conditions(
    recordings: Recordings, frames: int, steps: int, snr_intrinsic: float, snr_extrinsic: float, seed: int
) -> dict[str, str]:
    """Return lines that describe the run."""
    rate = recordings.spectrogram.frame_rate

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
        f"{snr_intrinsic:+g} dB to intrinsic and {snr_extrinsic:+g} dB to extrinsic noise; items are sums of "
        f"magnitudes, with an RMS of {SETTINGS.level:g}.",
        "crops": f"Crops have {frames} frames ({frames / rate:.2f} s){reduced}.",
        "training": f"{steps} steps per model, {SETTINGS.optimizer}, penalty {SETTINGS.penalty:g}, seed {seed}.",
    }
