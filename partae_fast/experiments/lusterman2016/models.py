"""The models: four systems at five signal-to-noise ratios, and the extensions that the thesis proposes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...audio.files import read
from ...audio.frame_input import FrameInput
from ...audio.resample import resample
from ...audio.spectrogram import Spectrogram
from ...errors import UserError
from ...models import CurroAutoencoder, DenseAutoencoder, DensePartitionedAutoencoder
from ...models.dense import DEEP
from ...sampling.frames import ChordSampler, RecordedFrames

RATE, N_FFT, BATCH = 16000, 1024, 128  # Hz, samples, items
LEARNING_RATE, PENALTY = 1e-3, 0.75  # Adam's default rate; the penalty of the partitioned system
EXAMPLE_FRAMES = 128  # of the example for the MSE, half a frame apart
EXAMPLE = (EXAMPLE_FRAMES - 1) * N_FFT // 2  # samples of the example
SNRS = (-6.0, -3.0, 0.0, 3.0, 6.0)  # dB
SUPERVISED, SUPERVISED_PLAIN = "supervised", "supervised without batch norm"
PARTITIONED, CURRO, DEEP_ONE = "partitioned", "Curro", "deep"
SYSTEMS = (SUPERVISED_PLAIN, SUPERVISED, PARTITIONED, CURRO)
# Variants that the thesis proposes as future work; they are trained at the middle SNR.
TWO_SIDED, EVERY_LAYER, RECORDED = "two-sided FFT", "batch norm in every layer", "recorded noise"
_MIDDLE = 0.0

_DEEP = {"layers": DEEP, "activation": "leaky_relu", "batch_norm": "every", "l2": 1e-5, "l1": 1e-6}
_MODELS = {
    SUPERVISED: (DenseAutoencoder, {"batch_norm": "input"}),
    SUPERVISED_PLAIN: (DenseAutoencoder, {"batch_norm": "none"}),
    PARTITIONED: (DensePartitionedAutoencoder, {}),
    CURRO: (CurroAutoencoder, {}),
    DEEP_ONE: (DenseAutoencoder, _DEEP),
}
# Settings in which the thesis's program differs from its text.
_AS_PROGRAM = {
    SUPERVISED: {"batch_norm": "input-hidden", "statistics": "batch"},
    SUPERVISED_PLAIN: {"batch_norm": "hidden", "statistics": "batch"},
    PARTITIONED: {"background": 0.5, "rectified_output": True, "mean_over_items": True, "unpenalised": 1},
}
_NOISE_ONLY, _NOISE_ONLY_AS_PROGRAM = 0.25, 0.5  # share of noise-only items, for systems that learn from weak labels
_HELD_OUT, _SHORTEST = 0.2, 16000  # share of a noise recording, at its end, for the example; its fewest samples
TEXT, PROGRAM = VERSIONS = ("text", "program")  # of the thesis: its text, and the program of its appendix


@dataclass(frozen=True)
class ModelSpec:
    """The specification of a model as plain values, so that another process can make and train it.

    Attributes:
        base: one of `SYSTEMS`, or `DEEP_ONE`.
        snr: of the signal to the noise in dB.
        seed: of weights and batches.
        variant: "", `TWO_SIDED`, `EVERY_LAYER` or `RECORDED`.
        as_program: whether to follow the thesis's program rather than its text.
        noise: files of the recorded noise.
        sizes: settings that replace the thesis's, as pairs, for small models.
    """

    base: str
    snr: float
    seed: int
    variant: str = ""
    as_program: bool = False
    noise: tuple[str, ...] = ()
    sizes: tuple[tuple[str, Any], ...] = ()

    @property
    def system(self) -> str:
        """The name of the system: base and variant."""
        return f"{self.base}, {self.variant}" if self.variant else self.base

    @property
    def version(self) -> str:
        """One of `VERSIONS`."""
        return PROGRAM if self.as_program else TEXT

    @property
    def penalty(self) -> float:
        """The weight of the penalty; 0 for systems without one."""
        return PENALTY if self.base == PARTITIONED else 0.0

    def model(self) -> Any:
        """Return the untrained model."""
        kind, settings = _MODELS[self.base]
        settings = settings | (_AS_PROGRAM.get(self.base, {}) if self.as_program else {})
        if self.variant == EVERY_LAYER:
            settings |= {"batch_norm": "every"}
        shape = self._input
        model = kind(n_fft=N_FFT, spectrum=shape.spectrum, seed=self.seed, **(settings | dict(self.sizes)))
        model.spectrogram = Spectrogram(rate=RATE, n_fft=N_FFT, hop=shape.hop, low=0.0, high=RATE / 2)
        return model

    def training_data(self) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the sampler of batches, and the clean and noisy example, (samples,) each, for the MSE.

        The example is the same for all systems and seeds at an SNR.
        """
        chords, example = self._chords(self.seed), self._chords(0).example(0, EXAMPLE)
        if self.variant != RECORDED:
            return chords, example
        training, held_out = _read_noise(self.noise)
        clean = example[0]
        noise = torch.from_numpy(np.resize(held_out, EXAMPLE))
        scale = (clean.square().mean() / noise.square().mean() / 10 ** (self.snr / 10)).sqrt()
        songs = [chords.example(number, EXAMPLE)[0].numpy() for number in range(1, 101)]
        sampler = RecordedFrames(songs, training, self._input, self.snr, BATCH, self._noise_only, self.seed)
        return sampler, (clean, clean + scale * noise)

    def _chords(self, seed: int) -> ChordSampler:
        """Return a sampler of chords in white noise."""
        program = self.as_program
        mixing: dict[str, Any] = {"variance_as_deviation": program, "power_of_signal_items": program}
        return ChordSampler(self._input, self.snr, BATCH, self._noise_only, seed, rate=RATE, **mixing)

    @property
    def _input(self) -> FrameInput:
        """The input of the model: 512 bins of a frame in the text, all 1024 in the program."""
        two_sided = self.as_program or self.variant == TWO_SIDED
        return FrameInput("magnitude", N_FFT, "two-sided" if two_sided else "without-nyquist")

    @property
    def _noise_only(self) -> float:
        """The share of noise-only items."""
        if self.base not in (PARTITIONED, CURRO):
            return 0.0
        return _NOISE_ONLY_AS_PROGRAM if self.as_program else _NOISE_ONLY


def model_specs(seeds: int, first: int, as_program: bool, extras: bool, noise: tuple[str, ...]) -> list[ModelSpec]:
    """Return the models of the figures and, with `extras`, the others; slow models come first.

    Args:
        seeds: models of each kind.
        first: the first seed.
        as_program: whether to add the models of the thesis's program to those of its text.
        extras: whether to add the deep system and the variants; the variant with recorded noise needs `noise`.
        noise: see `ModelSpec`.
    """
    variants = [(CURRO, TWO_SIDED), *((base, EVERY_LAYER) for base in (CURRO, PARTITIONED, SUPERVISED))]
    variants += [(base, RECORDED) for base in reversed(SYSTEMS)] if noise else []
    versions, all_seeds = (False, True) if as_program else (False,), range(first, first + seeds)
    specs = [
        ModelSpec(base, snr, seed, as_program=version)
        for base in (CURRO, PARTITIONED, SUPERVISED, SUPERVISED_PLAIN, *([DEEP_ONE] if extras else []))
        for version in versions
        for snr in SNRS
        for seed in all_seeds
    ]
    return specs + [
        ModelSpec(base, _MIDDLE, seed, variant, version, noise if variant == RECORDED else ())
        for base, variant in (variants if extras else [])
        for version in versions
        for seed in all_seeds
    ]


def _read_noise(paths: tuple[str, ...]) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Read noise at `RATE`: recordings for training, and the end of the first recording for the example."""
    training, held_out = [], None
    for path in paths:
        samples, rate = read(path)
        mono = resample(samples.mean(axis=1, keepdims=True), rate, RATE)[:, 0]
        cut = round(len(mono) * (1 - _HELD_OUT))
        training.append(mono[:cut])
        held_out = mono[cut:] if held_out is None else held_out
    if held_out is None or len(held_out) < _SHORTEST or not held_out.any():
        shortest = _SHORTEST / RATE / _HELD_OUT
        raise UserError(
            f"{paths[0]}: recorded noise must last {shortest:g} s or more and not end in silence; give another file"
        )
    return training, held_out
