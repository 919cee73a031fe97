"""Scores of the models: SNR and SI-SDR of their outputs against the input, the partly clean and truly clean signals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...metrics import si_sdr, snr
from ...sampling.crops import CropSampler
from ...sweeps.grid import Member
from .data import SETTINGS, Mixture
from .models import PARTITIONED

# References: songs with both noises, songs with intrinsic noise, songs alone.
INPUT, PARTLY_CLEAN, TRULY_CLEAN = REFERENCES = ("input", "partly clean", "truly clean")

# Parts of an output: the estimate of the signal, and the whole reconstruction.
SIGNAL, WHOLE = PARTS = ("signal", "whole")

UNPROCESSED = "none"  # the method that returns its input

_CROPS, _SEED = 128, 2**64 - 1  # this seed is not used for training

Row = dict[str, Any]


def validation_crops(mixture: Mixture, frames: int) -> NDArray[np.float32]:
    """Draw 128 crops each of songs, intrinsic and extrinsic noise from the validation data, (3, 128, frames, bins)."""
    groups = [split.validation for split in mixture.splits]
    sampler = CropSampler(groups, [], frames=frames, batch=_CROPS, noise_only=0.0, seed=_SEED)
    rows = sampler.starts_at(0).reshape(3, _CROPS, 1) + np.arange(frames)
    return sampler.source.numpy()[rows]


def unprocessed_scores(mixture: Mixture, crops: NDArray[np.float32]) -> list[Row]:
    """Return the rows of the unprocessed input, the baseline of denoising."""
    settings = dict.fromkeys(("optimizer", "seed", "share", "penalty"))
    row = {"method": UNPROCESSED, **mixture.columns(), **settings, "part": SIGNAL}
    references = dict(zip(REFERENCES, _references(crops), strict=True))
    return [
        {**row, "reference": name, **_ratios(references[name], references[INPUT])}
        for name in (PARTLY_CLEAN, TRULY_CLEAN)
    ]


def scores(member: Member, crops: NDArray[np.float32]) -> list[Row]:
    """Return the rows of a trained model, one for each part of its output and each reference.

    The signal of the partitioned model is the reconstruction of its foreground latents. At a share of 0 % there is no
    foreground, and the signal is the whole reconstruction, the limit for small shares. The signal of the DAE is its
    whole output.

    Args:
        member: a model of the sweep.
        crops: of its mixture; see `validation_crops`.

    Returns:
        Rows with the member's settings, part, reference and, over all crops together,

        snr_db      10 log10(|reference|^2 / |reference - part|^2), of magnitudes
        si_sdr_db   the same for the part at its best level

    Stowell & Turner 2015, section 4 and figure 6.
    """
    references = dict(zip(REFERENCES, _references(crops), strict=True))
    with torch.no_grad():
        x = torch.from_numpy(references[INPUT]).to(member.model.w_enc.device)
        signal, whole = (part.cpu().numpy() for part in (member.model.separate(x)[0], member.model(x)))
    if member.settings["share"] == 0:
        signal = whole
    return [
        {**member.settings, "part": name, "reference": reference, **_ratios(references[reference], part)}
        for name, part in zip(PARTS, (signal, whole), strict=True)
        for reference in REFERENCES
    ]


def configurations(rows: Sequence[Row]) -> dict[tuple[str, float], list[Row]]:
    """Return the rows of each optimizer and penalty, with those of the DAEs of this optimizer and of the input.

    Rows of earlier versions have no optimizer and no penalty; they are of AdaDelta and 0.75.
    """
    defaults = {"optimizer": SETTINGS.optimizer, "penalty": SETTINGS.penalty}
    partitioned = [{**defaults, **row} for row in rows if row["method"] == PARTITIONED]
    keys = dict.fromkeys((row["optimizer"], row["penalty"]) for row in partitioned)
    others = [row for row in rows if row["method"] != PARTITIONED]
    return {
        (optimizer, penalty): [
            *(row for row in partitioned if (row["optimizer"], row["penalty"]) == (optimizer, penalty)),
            *(row for row in others if row.get("optimizer") in (None, optimizer)),
        ]
        for optimizer, penalty in keys
    }


def mean_over_noises(rows: Sequence[Row], measure: str = "snr_db", **key: Any) -> float:
    """Return the mean of a measure over the rows with the values in `key`, one row for each noise and seed.

    >>> rows = [{"share": 50.0, "snr_db": 1.0}, {"share": 50.0, "snr_db": 2.0}, {"share": 0.0, "snr_db": 9.0}]
    >>> mean_over_noises(rows, share=50.0)
    1.5
    """
    return float(np.mean([row[measure] for row in rows if all(row[name] == value for name, value in key.items())]))


def _references(crops: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    songs, intrinsic, extrinsic = crops
    return songs + intrinsic + extrinsic, songs + intrinsic, songs


def _ratios(reference: NDArray[np.float32], part: NDArray[np.float32]) -> dict[str, float]:
    return {"snr_db": snr(reference.ravel(), part.ravel()), "si_sdr_db": si_sdr(reference.ravel(), part.ravel())}
