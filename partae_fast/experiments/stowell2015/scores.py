"""What is measured of each model: how close its output comes to the input, the partly clean and the truly clean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...metrics import si_sdr, snr
from ...sampling.crops import CropSampler
from ...sweeps.grid import Member
from .data import Mixture

# What an output is compared with: songs and both noises, songs and intrinsic noise, songs alone.
INPUT, PARTLY_CLEAN, TRULY_CLEAN = REFERENCES = ("input", "partly clean", "truly clean")

# What is compared: the model's estimate of the signal, and all that it reconstructs.
SIGNAL, WHOLE = PARTS = ("signal", "whole")

UNTOUCHED = "none"  # the method that returns its input

_CROPS, _SEED = 128, 2**64 - 1  # a seed that no one trains with

Row = dict[str, Any]


def validation_crops(mixture: Mixture, frames: int) -> NDArray[np.float32]:
    """128 crops each of songs, intrinsic and extrinsic noise, (3, 128, frames, bins), from times not trained on."""
    groups = [part.validation for part in mixture.parts]
    sampler = CropSampler(groups, [], frames=frames, batch=_CROPS, noise_only=0.0, seed=_SEED)
    rows = sampler.starts_at(0).reshape(3, _CROPS, 1) + np.arange(frames)
    return sampler.source.numpy()[rows]


def untouched(mixture: Mixture, crops: NDArray[np.float32]) -> list[Row]:
    """The rows of the input itself, as if it were an output: where denoising starts from."""
    row = {"method": UNTOUCHED, **mixture.about(), "share": None, "part": SIGNAL}
    references = dict(zip(REFERENCES, _references(crops), strict=True))
    return [
        {**row, "reference": name, **_closeness(references[name], references[INPUT])}
        for name in (PARTLY_CLEAN, TRULY_CLEAN)
    ]


def scores(member: Member, crops: NDArray[np.float32]) -> list[Row]:
    """The rows of a trained model, one for each part of its output and each reference.

    Args:
        crops: of its mixture, as `validation_crops` gives them.

    Returns rows with the member's settings, part, reference and, over all crops at once,

    snr_db      10 log10(|reference|^2 / |reference - part|^2), of magnitudes
    si_sdr_db   the same at the part's best level: what a change of level alone cannot better

    The partitioned model's signal is what its foreground latents reconstruct; with 0 % of them, where there is no
    foreground, it is the whole reconstruction, as the share's limit. The DAE's signal is its whole output.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    references = dict(zip(REFERENCES, _references(crops), strict=True))
    with torch.no_grad():
        x = torch.from_numpy(references[INPUT]).to(member.model.w_enc.device)
        signal, whole = (part.cpu().numpy() for part in (member.model.separate(x)[0], member.model(x)))
    if member.settings["share"] == 0:
        signal = whole
    return [
        {**member.settings, "part": name, "reference": reference, **_closeness(references[reference], part)}
        for name, part in zip(PARTS, (signal, whole), strict=True)
        for reference in REFERENCES
    ]


def mean_over_noises(rows: Sequence[Row], measure: str = "snr_db", **where: Any) -> float:
    """The mean of a measure over the rows that have all of `where`, one for each noise.

    >>> rows = [{"share": 50.0, "snr_db": 1.0}, {"share": 50.0, "snr_db": 2.0}, {"share": 0.0, "snr_db": 9.0}]
    >>> mean_over_noises(rows, share=50.0)
    1.5
    """
    found = [row[measure] for row in rows if all(row[key] == value for key, value in where.items())]
    return float(np.mean(found))


def _references(crops: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    songs, intrinsic, extrinsic = crops
    return songs + intrinsic + extrinsic, songs + intrinsic, songs


def _closeness(reference: NDArray[np.float32], part: NDArray[np.float32]) -> dict[str, float]:
    return {"snr_db": snr(reference.ravel(), part.ravel()), "si_sdr_db": si_sdr(reference.ravel(), part.ravel())}
