"""All of it in one call: recordings, models, one sweep, scores, claims, figure."""

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
from ...sweeps.sweep import Sweep
from ...training.options import chosen_device
from .claims import judge
from .data import SETTINGS, Recordings, crop_frames, load, mixtures
from .figure import figure
from .members import members
from .report import report
from .scores import Row, scores, untouched, validation_crops

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
    """Train 54 partitioned and 6 denoising autoencoders in one sweep, measure them, and judge the paper's claims.

    With other than three noises there are 18 and 2 for each.

    Args:
        data: a folder with signal/ and two or more noise_NAME/, or the project's test recordings.
        out: a folder for results.csv (a row for each measure of each model), figure6.png, figure6.svg, claims.md and,
            below sweep/, the models; created if it is not there.
        steps: of each model; the paper's million by default.
        snr_intrinsic, snr_extrinsic: dB in the band, songs against what they are mixed with.
        frames: in a crop; None for the paper's 512, or what fits of 256 and 128.
        seed: of filters and crops.
        backend, device, resume, progress: as for `pf.Sweep`.

    Returns claims (letter, claim, rule, holds, figures), conditions, seconds and files.

    Raises UserError where recordings are missing or too short, a result cannot be written, the folder holds a sweep of
    other settings or `resume` is false, or a model's loss turned NaN.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    started, out = time.monotonic(), Path(out)
    recordings = load(data)
    length = crop_frames(recordings, frames)
    conditions = _conditions(recordings, length, steps, snr_intrinsic, snr_extrinsic, seed)
    for line in conditions.values():
        logger.info("%s", line)
    mixed = mixtures(recordings, snr_intrinsic, snr_extrinsic)
    models = members(mixed, length, seed, chosen_device(device, backend))
    sweep = Sweep(models, out / "sweep", steps, backend, resume, progress=progress)
    sweep.run()
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} models failed, so there is no figure: {', '.join(sweep.failed)}")
    rows = []
    for mixture in mixed:
        crops = validation_crops(mixture, length)
        rows += untouched(mixture, crops)
        for member in models:
            if mixture.about().items() <= member.settings.items():
                rows += scores(member, crops)
    claims = judge(rows)
    files = [out / name for name in ("results.csv", "figure6.png", "figure6.svg", "claims.md")]
    _write_table(files[0], rows)
    caption = f"{steps} steps; songs {snr_intrinsic:+g} dB to intrinsic, {snr_extrinsic:+g} dB to extrinsic noise"
    for path in files[1:3]:
        figure(path, rows, caption)
    with atomic_path(files[3]) as path:
        path.write_text(report(claims, conditions, rows))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(value, 3) if key.endswith("_db") else value for key, value in row.items()})
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())


def _conditions(
    recordings: Recordings, frames: int, steps: int, snr_intrinsic: float, snr_extrinsic: float, seed: int
) -> dict[str, str]:
    """What the run is, in lines to be read."""
    rate = recordings.spectrogram.frame_rate

    def seconds(name: str, magnitudes: Sequence[Any]) -> str:
        return f"{name} {sum(map(len, magnitudes)) / rate:.1f} s"

    material = [seconds("songs", recordings.songs.training)]
    for noise in recordings.noises:
        material += [
            seconds(f"{noise.name} {role}", part.training)
            for role, part in (("intrinsic", noise.intrinsic), ("extrinsic", noise.extrinsic))
        ]
    shrunk = "" if frames == SETTINGS.frames else f", not the paper's {SETTINGS.frames}"
    return {
        "material": f"To train on: {', '.join(material)}; a third as much, from other times, to validate on.",
        "mixing": f"In the band from {recordings.spectrogram.low:g} to {recordings.spectrogram.high:g} Hz songs are "
        f"{snr_intrinsic:+g} dB to intrinsic and {snr_extrinsic:+g} dB to extrinsic noise; magnitudes of crops are "
        f"added; items have an RMS of {SETTINGS.level:g}.",
        "crops": f"Crops have {frames} frames ({frames / rate:.2f} s){shrunk}.",
        "training": f"{steps} steps a model, {SETTINGS.optimizer}, penalty {SETTINGS.penalty:g}, seed {seed}.",
    }
