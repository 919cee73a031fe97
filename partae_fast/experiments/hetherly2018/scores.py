"""What each method makes of each test mixture, in dB."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...denoising import denoise
from ...metrics import bss, si_sdr
from ...sampling.mixtures import MixtureSampler

INSIDE, OUTSIDE = SETS = ("in-set", "out-of-set")
Row = dict[str, Any]  # method, set, noise, snr_db, sdr_in_db, sdr_db, si_sdr_in_db, si_sdr_db
Method = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


def scores(methods: dict[str, Method], sampler: MixtureSampler, where: str, count: int) -> Iterator[Row]:
    """A row for each method and mixture: SDR and SI-SDR of the mixture, and of what the method makes of it.

    Args:
        methods: by name, each from a mixture (T,) and its clean voice (T,) to the voice. The latter is for choosing
            between clusters alone.
        sampler: of test mixtures. where: one of `SETS`. count: mixtures.
    """
    names = [*sampler.voices, *sampler.noises]
    for step in range(-(-count // sampler.batch)):
        sounds, sources = sampler.sounds_at(step)
        for item in range(min(sampler.batch, count - step * sampler.batch)):
            voice, noise = sounds[item].numpy()
            heard = voice + noise
            before = _sdr(voice, noise, heard), si_sdr(voice, heard)
            about: Row = {"set": where, "noise": names[int(sources[item, 1])]}
            about["snr_db"] = float(10 * np.log10(np.sum(voice**2) / np.sum(noise**2)))
            for name, method in methods.items():
                found = method(heard, voice)
                yield {
                    "method": name,
                    **about,
                    "sdr_in_db": before[0],
                    "sdr_db": _sdr(voice, noise, found),
                    "si_sdr_in_db": before[1],
                    "si_sdr_db": max(si_sdr(voice, found), -100.0),
                }


def _sdr(voice: NDArray[np.float32], noise: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return bss(voice, noise, found).sdr


def as_denoised(model: Any) -> Method:
    """What a model denoises a mixture to."""
    return lambda heard, voice: denoise(heard, model.spectrogram.rate, model)


def by_clusters(model: Any) -> Method:
    """The cluster of two, by k-means of a model's embeddings, that is nearer to the clean voice, as a binary mask.

    That the clean voice chooses is how the paper evaluates; who denoises has none, and `estimate` chooses otherwise.
    """

    def method(heard: NDArray[np.float32], voice: NDArray[np.float32]) -> NDArray[np.float32]:
        spectra = model.spectrogram.stft(heard)
        with torch.no_grad():
            labels = model.clusters(torch.from_numpy(np.abs(spectra))[None], 2)[0].numpy()
        found = [model.spectrogram.istft(spectra * (labels == number), len(heard)) for number in (0, 1)]
        return max(found, key=lambda each: si_sdr(voice, each))

    return method


def gain(rows: Sequence[Row], **where: Any) -> float:
    """The mean SDR improvement in dB over the rows that have these values; NaN where there is none."""
    found = [r["sdr_db"] - r["sdr_in_db"] for r in rows if all(r[key] == value for key, value in where.items())]
    return float(np.mean(found)) if found else float("nan")
