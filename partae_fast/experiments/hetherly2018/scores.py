"""SDR and SI-SDR of each method on each test mixture."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...denoising import denoise
from ...metrics import bss, si_sdr
from ...models.protocol import Model
from ...sampling.mixtures import MixtureSampler

Audio = NDArray[np.float32]
# From a mixture (T,) and its clean voice (T,) to the voice; only the choice of a cluster uses the clean voice.
VoiceEstimator = Callable[[Audio, Audio], Audio]
# The seed is added by `experiment`.
Row = dict[str, Any]  # seed, method, set, mixture, noise, snr_db, sdr_in_db, sdr_db, si_sdr_in_db, si_sdr_db

IN_SET, OUT_OF_SET = SETS = ("in-set", "out-of-set")
_MIN_SI_SDR = -100.0  # dB, in place of minus infinity


def scores(estimators: dict[str, VoiceEstimator], sampler: MixtureSampler, test_set: str, count: int) -> Iterator[Row]:
    """Yield a row for each mixture and method, with the scores of the mixture and of the estimate.

    Args:
        estimators: by method.
        sampler: of test mixtures.
        test_set: one of `SETS`.
        count: number of mixtures.
    """
    names = [*sampler.voices, *sampler.noises]
    for step in range(-(-count // sampler.batch)):
        sounds, sources = sampler.sounds_at(step)
        for item in range(min(sampler.batch, count - step * sampler.batch)):
            voice, noise = sounds[item].numpy()
            mixture = voice + noise
            sdr_in, si_sdr_in = bss(voice, noise, mixture).sdr, si_sdr(voice, mixture)
            number = step * sampler.batch + item
            key: Row = {"set": test_set, "mixture": number, "noise": names[int(sources[item, 1])]}
            key["snr_db"] = float(10 * np.log10(np.sum(voice**2) / np.sum(noise**2)))
            for method, estimator in estimators.items():
                estimate = estimator(mixture, voice)
                yield {
                    "method": method,
                    **key,
                    "sdr_in_db": sdr_in,
                    "sdr_db": bss(voice, noise, estimate).sdr,
                    "si_sdr_in_db": si_sdr_in,
                    "si_sdr_db": max(si_sdr(voice, estimate), _MIN_SI_SDR),
                }


def denoising_estimator(model: Model) -> VoiceEstimator:
    """Return an estimator that denoises with a model."""
    return lambda mixture, voice: denoise(mixture, model.spectrogram.rate, model)


def cluster_estimator(model: Any) -> VoiceEstimator:
    """Return an estimator by k-means of a model's embeddings: the cluster closer to the clean voice, as a binary mask.

    The paper chooses the cluster by the clean voice for its evaluation. Denoising cannot, and the model's `estimate`
    chooses in another way.
    """

    def estimator(mixture: Audio, voice: Audio) -> Audio:
        spectra = model.spectrogram.stft(mixture)
        with torch.no_grad():
            labels = model.clusters(torch.from_numpy(np.abs(spectra))[None], 2)[0].numpy()
        estimates = [model.spectrogram.istft(spectra * (labels == number), len(mixture)) for number in (0, 1)]
        return max(estimates, key=lambda estimate: si_sdr(voice, estimate))

    return estimator


def improvement(rows: Sequence[Row], **key: Any) -> float:
    """Return the mean SDR improvement in dB over the rows with the values in `key`; NaN if there are no such rows."""
    gains = [r["sdr_db"] - r["sdr_in_db"] for r in rows if all(r[name] == value for name, value in key.items())]
    return float(np.mean(gains)) if gains else float("nan")
