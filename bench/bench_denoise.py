"""Benchmark denoising from file to file, compared with noisereduce on the same file.

Each version reads the file, denoises it and writes another; speeds are multiples of real time. The models are
untrained: their filters have the size of trained ones, and the latents of a trained model are more often 0.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partae_fast.audio.files import read, write
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.bench.common import Contest, Deviation, Wrong
from partae_fast.bench.declaration import benchmark
from partae_fast.denoising.denoise import denoise, denoise_blocks
from partae_fast.denoising.files import denoise_file
from partae_fast.evaluation import peers
from partae_fast.masking.mask import Mask
from partae_fast.masking.rules import BYPASS
from partae_fast.models import ConvDenoisingAutoencoder, ConvPartitionedAutoencoder, FilteredDenoisingAutoencoder
from partae_fast.models.noise_filter import NoiseFilter
from partae_fast.systems.field import Settings

RATE = 22050
NOISE_SECONDS = 10  # length of the noise-only beginning, which is also noisereduce's noise sample
GATE = 1e-6  # largest difference allowed between denoising in chunks and in one piece, relative to full scale

OURS = ("partae default", "partae default's network", "partae paper's")
PEERS = {"noisereduce stationary": True, "noisereduce non-stationary": False}


@benchmark(
    "denoise",
    passes=("file-to-file",),
    shapes=[{"seconds": 600}],
    smoke={"seconds": 12},
    quick={"seconds": 60},
    ours=lambda device: [*OURS],
    peers=lambda device: [*PEERS],
    devices=("cpu",),
    rounds=7,
)
def bench_denoise(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    folder = tempfile.TemporaryDirectory()
    source, target = Path(folder.name) / "recording.wav", Path(folder.name) / "denoised.wav"
    audio = recording(shape["seconds"])
    write(source, audio, RATE)

    def check(outputs: Sequence[Tensor]) -> Iterator[Deviation]:
        for difference in map(float, outputs):
            if not difference <= GATE:
                raise Wrong(f"audio denoised in chunks is off by {difference:.2g}, above {GATE:g}")
            yield Deviation("audio denoised in chunks", difference)

    return Contest(
        "denoise",
        op_pass,
        {},
        ours={
            name: _Ours(model, audio[: 30 * RATE], source, target, folder)
            for name, model in zip(OURS, models(audio), strict=True)
        },
        peers={name: _Peer(stationary, source, target) for name, stationary in PEERS.items()},
        work=None,
        truth=lambda copies: check,
        about={name: {"audio_seconds": shape["seconds"], "rate": RATE} for name in (*OURS, *PEERS)},
    )


@dataclass
class _Ours:
    """A call that denoises the file; its result is the error of denoising in chunks."""

    model: Any
    audio: np.ndarray
    source: Path
    target: Path
    folder: Any  # kept so that the temporary folder exists as long as this object

    def __call__(self) -> None:
        denoise_file(self.model, self.source, self.target, overwrite=True)

    def results(self) -> tuple[Tensor]:
        return (torch.tensor(chunking_error(self.model, self.audio)),)


class _Peer:
    """A call that denoises the file with noisereduce; its result is not checked."""

    def __init__(self, stationary: bool, source: Path, target: Path) -> None:
        self.stationary, self.source, self.target = stationary, source, target

    def __call__(self) -> None:
        audio = read(self.source)[0][:, 0]
        denoised = self.denoiser(audio, audio[: NOISE_SECONDS * RATE], RATE)
        write(self.target, denoised, RATE, overwrite=True)

    def results(self) -> tuple[()]:
        self.denoiser = peers.noisereduce(self.stationary)
        return ()


def recording(seconds: int) -> np.ndarray:
    """Return noise, (seconds * RATE,), with two chirps of 0.1 s per second after the first NOISE_SECONDS."""
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.05, seconds * RATE).astype(np.float32)
    time = np.arange(RATE // 10) / RATE
    chirp = 0.3 * np.hanning(len(time)) * np.sin(2 * np.pi * (3000 + 10_000 * time) * time)
    for start in range(NOISE_SECONDS * RATE, len(audio) - len(chirp), RATE // 2):
        audio[start : start + len(chirp)] += chirp
    return audio


def models(audio: np.ndarray) -> list[Any]:
    """Return untrained models of the default preset, which is a network and a filter, its network, and the paper's.

    Their statistics of the noise are those of the first NOISE_SECONDS of the audio, from which the filter learns too.
    """
    settings = Settings()
    default_spectrogram, paper_spectrogram = Spectrogram(**asdict(settings.usual)), Spectrogram(rate=RATE)
    network = ConvDenoisingAutoencoder(
        default_spectrogram.bins, latents=settings.latents, taps=settings.taps, pool=settings.pool
    )
    network.mask = replace(settings.mask, bypass=BYPASS)
    paper = ConvPartitionedAutoencoder()
    paper.mask = Mask()
    for model, spectrogram in ((network, default_spectrogram), (paper, paper_spectrogram)):
        model.spectrogram = spectrogram
        noise = spectrogram.magnitude(audio[: NOISE_SECONDS * RATE])
        for buffer, values in (
            (model.mean, noise.mean(0)),
            (model.std, noise.std(0)),
            (model.noise_mean_square, np.square(noise).mean(0)),
        ):
            buffer.copy_(torch.from_numpy(values))
    filter = NoiseFilter(default_spectrogram.hop, RATE, default_spectrogram.low)
    filter.learn([audio[: 6 * NOISE_SECONDS * RATE]], [audio[: NOISE_SECONDS * RATE]])
    return [FilteredDenoisingAutoencoder.of(network, filter, settings.filter_share), network, paper]


def chunking_error(model: Any, audio: np.ndarray) -> float:
    """Return the largest difference between denoising in chunks and in one piece; NaN if a result has NaN."""
    pieces = [audio[start : start + 10_000, None] for start in range(0, len(audio), 10_000)]
    whole = np.concatenate(list(denoise_blocks([audio[:, None]], RATE, 1, model, chunk=len(audio))))[:, 0]
    chunked = np.concatenate(list(denoise_blocks(pieces, RATE, 1, model, chunk=1000)))[:, 0]
    return float(max(np.abs(chunked - whole).max(), np.abs(denoise(audio, RATE, model) - whole).max()))
