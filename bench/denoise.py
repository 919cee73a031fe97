"""Denoising from file to file: how many times faster than the recording plays, beside noisereduce on the same file.

The models are untrained: their filters are as large, and a trained one's latents are silent more often. Each version
reads the file, denoises it and writes another.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast.audio.files import read, write
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.denoising.denoise import denoise, denoise_blocks
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError
from partae_fast.evaluation import peers
from partae_fast.masking.mask import Mask
from partae_fast.masking.rules import BYPASS
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder
from partae_fast.systems.field import Settings

from .timing import QUANTILES, measure

RATE = 22050
SECONDS = 600
NOISE_SECONDS = 10  # of noise alone, at the beginning, which noisereduce is told of
ROUNDS = 7
GATE = 1e-6  # of full scale: what the chunks of a stream may differ by from the recording in one piece


def compare(rounds: int = ROUNDS, seconds: int = SECONDS) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """A row for each version, why others were left out, and those of ours that were wrong and so not timed."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "recording.wav", Path(folder) / "denoised.wav"
        audio = recording(seconds)
        write(source, audio, RATE)
        ours = models(audio)
        wrong = [name for name, model in ours.items() if not error(model, audio[: 30 * RATE]) <= GATE]
        calls = {
            name: lambda model=model: denoise_file(model, source, target, overwrite=True)
            for name, model in ours.items()
            if name not in wrong
        }
        others, skipped = _peers(source, target)
        samples = measure({**calls, **others}, "cpu", rounds)
    medians = {name: float(np.median(taken)) for name, taken in samples.items()}
    best = min((medians[name] for name in others), default=None)
    rows = []
    for name, taken in samples.items():
        low, middle, high = (float(q) for q in np.quantile(taken, QUANTILES))
        rows.append(
            {
                "op": "denoise",
                "version": name,
                "peer": name in others,
                "audio_seconds": seconds,
                "rate": RATE,
                "seconds_10": low,
                "seconds": middle,
                "seconds_90": high,
                "times_real_time": seconds / middle,
                "ratio_to_best_peer": None if best is None else best / middle,
            }
        )
    return rows, skipped, wrong


def recording(seconds: int) -> np.ndarray:
    """Noise (seconds * RATE,), and after NOISE_SECONDS of it a chirp of 0.1 s twice a second."""
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.05, seconds * RATE).astype(np.float32)
    time = np.arange(RATE // 10) / RATE
    chirp = 0.3 * np.hanning(len(time)) * np.sin(2 * np.pi * (3000 + 10_000 * time) * time)
    for start in range(NOISE_SECONDS * RATE, len(audio) - len(chirp), RATE // 2):
        audio[start : start + len(chirp)] += chirp
    return audio


def models(audio: np.ndarray) -> dict[str, Any]:
    """The default's and the paper's model, with the statistics of the audio's beginning, which is noise."""
    settings = Settings()
    own = Spectrogram(**asdict(settings.usual))
    default = ConvDenoisingAutoencoder(own.bins, latents=settings.latents, taps=settings.taps, pool=settings.pool)
    default.mask = replace(settings.mask, bypass=BYPASS)
    bands = own, Spectrogram(rate=RATE)
    paper = ConvPartitionedAutoencoder()
    paper.mask = Mask()
    for model, spectrogram in zip((default, paper), bands, strict=True):
        model.spectrogram = spectrogram
        noise = spectrogram.magnitude(audio[: NOISE_SECONDS * RATE])
        for buffer, values in (
            (model.mean, noise.mean(0)),
            (model.std, noise.std(0)),
            (model.noise_mean_square, np.square(noise).mean(0)),
        ):
            buffer.copy_(torch.from_numpy(values))
    return {"partae default": default, "partae paper's": paper}


def error(model: Any, audio: np.ndarray) -> float:
    """The largest difference between the audio denoised in chunks and in one piece; NaN where either has one."""
    pieces = [audio[start : start + 10_000, None] for start in range(0, len(audio), 10_000)]
    whole = np.concatenate(list(denoise_blocks([audio[:, None]], RATE, 1, model, chunk=len(audio))))[:, 0]
    chunked = np.concatenate(list(denoise_blocks(pieces, RATE, 1, model, chunk=1000)))[:, 0]
    return float(max(np.abs(chunked - whole).max(), np.abs(denoise(audio, RATE, model) - whole).max()))


def _peers(source: Path, target: Path) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    found, skipped = {}, {}
    for name, stationary in (("noisereduce stationary", True), ("noisereduce non-stationary", False)):
        try:
            denoiser = peers.noisereduce(stationary)
        except UserError as reason:
            skipped[name] = str(reason)
            continue

        def call(denoiser: peers.Denoiser = denoiser) -> None:
            audio = read(source)[0][:, 0]
            write(target, denoiser(audio, audio[: NOISE_SECONDS * RATE], RATE), RATE, overwrite=True)

        found[name] = call
    return found, skipped
