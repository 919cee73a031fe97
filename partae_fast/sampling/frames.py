"""Random single frames of chords in white noise and of recordings, drawn by a counter-based generator.

A batch depends only on the seed, the step and the recordings. It has x (batch, inputs), target (batch, outputs) and
noise_only (batch,), which is 1 for the first items, those without signal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..audio.frame_input import FrameInput
from ..errors import UserError
from ..kernels import implementation, resolve
from ..kernels.philox import words
from .batches import BatchStream

_LANES = 4096  # random words that are drawn in one call, for several steps
_SIGNAL, _NOISE, _EXAMPLE, _EXAMPLE_NOISE = range(4)  # groups: the third word of a counter

# The four sines of Lusterman 2016, in Hz (an A major triad with its octave, slightly detuned), and their amplitudes.
CHORD = (441.0, 549.0, 660.0, 881.0)
AMPLITUDES = (0.25, 0.75)  # smallest and largest


class FrameSampler(BatchStream):
    """Base class of samplers of frames, which mix a signal and a noise at a signal-to-noise ratio.

    All noise of a batch has the same power: the power of the batch's signal divided by 10^(snr / 10) (Lusterman 2016,
    equation 24). Noise-only items count as signal of power 0.

    Args:
        input: conversion of samples to the inputs of a model.
        snr: signal-to-noise ratio of a batch in dB.
        batch: items in a batch, at least 1.
        noise_only: share of the items without signal, from 0 to below 1.
        seed: seed of the draws, 0 to 2**63 - 1.
        variance_as_deviation: use the noise's variance as its standard deviation, as the thesis's program does.
        power_of_signal_items: exclude noise-only items from the power of the signal, as the thesis's program does.

    Raises UserError if an argument is out of range.
    """

    def __init__(
        self,
        input: FrameInput,
        snr: float = 0.0,
        batch: int = 128,
        noise_only: float = 0.0,
        seed: int = 0,
        variance_as_deviation: bool = False,
        power_of_signal_items: bool = False,
    ) -> None:
        if not math.isfinite(snr):
            raise UserError(f"snr is {snr}; it must be a finite number of dB, such as 0")
        if batch < 1:
            raise UserError(f"batch is {batch}; it must be at least 1")
        if not 0 <= noise_only < 1:
            raise UserError(f"noise_only is {noise_only}; it must be a share of the items, from 0 to below 1")
        if not 0 <= seed < 2**63:
            raise UserError(f"seed is {seed}; it must be from 0 to 2**63 - 1")
        self.input, self.snr, self.batch, self.seed = input, float(snr), int(batch), int(seed)
        self.noise_only = float(noise_only)
        self.noise_items = min(round(batch * noise_only), batch - 1)
        self.variance_as_deviation, self.power_of_signal_items = variance_as_deviation, power_of_signal_items
        self.device = torch.device("cpu")
        self._noise_flags = (torch.arange(batch) < self.noise_items).float()
        self._drawn, self._drawn_from = torch.empty(0), -1

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, target and noise_only of a step, 0 <= step < 2**32, or of the given items of it."""
        if not 0 <= step < 2**32:
            raise UserError(f"step {step} is out of range; steps are numbered from 0 to 2**32 - 1")
        x, target = self._pair(step)
        if items is None or len(items) == self.batch:
            return x, target, self._noise_flags
        selected = slice(items.start, items.stop)
        return x[selected], target[selected], self._noise_flags[selected]

    def to(self, device: torch.device | str) -> FrameSampler:
        """Make batches on `device` from now on; return this sampler."""
        self.device = torch.device(device)
        self._noise_flags = self._noise_flags.to(self.device)
        self._drawn_from = -1
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches."""
        return {
            **{f"input_{name}": value for name, value in asdict(self.input).items()},
            "snr": self.snr,
            "batch": self.batch,
            "noise_only": self.noise_only,
            "seed": self.seed,
            "variance_as_deviation": self.variance_as_deviation,
            "power_of_signal_items": self.power_of_signal_items,
        }

    def _pair(self, step: int) -> tuple[Tensor, Tensor]:
        """Return x and target of a step."""
        clean = self._signal(step)
        noisy = torch.addcmul(clean, self._noise(step, self.batch), self._gain(clean))
        return self.input.of_samples(noisy), self.input.target_of(clean)

    def _signal(self, step: int) -> Tensor:
        """Return the signal (batch, span) of a step, with zeros in noise-only items."""
        raise NotImplementedError

    def _noise(self, step: int, items: int) -> Tensor:
        """Return noise (items, span) of power 1."""
        return self._white_noise(step, items, _NOISE, self.input.span)

    def _gain(self, clean: Tensor) -> Tensor:
        """Return the factor of noise of power 1 for a batch with this signal."""
        signal = clean[self.noise_items :] if self.power_of_signal_items else clean
        power = torch.linalg.vector_norm(signal).square() / signal.numel()
        variance = power / 10 ** (self.snr / 10)
        return variance if self.variance_as_deviation else variance.sqrt()

    def _white_noise(self, step: int, items: int, group: int, samples: int) -> Tensor:
        """Return white Gaussian noise (items, samples) of power 1."""
        kernels = implementation("normals", resolve("normals", "auto", self.device, torch.float32))
        return kernels.normals(self.seed, step, range(items), group, samples, self.device)

    def _draws_at(self, step: int) -> Tensor:
        """Return the random draws of a step, from a cache of several steps."""
        steps = max(1, _LANES // self.batch)
        first = step - step % steps
        if first != self._drawn_from:
            self._drawn, self._drawn_from = self._draw(first, steps), first
        return self._drawn[step - first]

    def _draw(self, first: int, steps: int) -> Tensor:
        """Return the random draws (steps, ...) of the steps from `first` on."""
        raise NotImplementedError


class ChordSampler(FrameSampler):
    """Chords of four sines in white Gaussian noise, the data of Lusterman 2016.

    The amplitude and the phase of each sine of each item are uniform in `amplitudes` and in [0, 2 pi). Frequencies and
    amplitudes differ from the thesis's equations 43 to 48: they are those of its published program
    (github.com/luster/thesis, thesis/comparisons/autoencoder.py).

    Args:
        input, snr, batch, noise_only, seed, variance_as_deviation, power_of_signal_items: see `FrameSampler`.
        rate: sample rate in Hz.
        frequencies: frequencies of the sines in Hz, below rate / 2.
        amplitudes: smallest and largest amplitude of a sine.

    Raises UserError if an argument is out of range.

    >>> x, target, noise_only = ChordSampler(FrameInput(), snr=3.0, batch=4, noise_only=0.25).batch_at(0)
    >>> tuple(x.shape), noise_only.tolist()
    ((4, 513), [1.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        input: FrameInput,
        snr: float = 0.0,
        batch: int = 128,
        noise_only: float = 0.0,
        seed: int = 0,
        variance_as_deviation: bool = False,
        power_of_signal_items: bool = False,
        rate: int = 16000,
        frequencies: Sequence[float] = CHORD,
        amplitudes: tuple[float, float] = AMPLITUDES,
    ) -> None:
        super().__init__(input, snr, batch, noise_only, seed, variance_as_deviation, power_of_signal_items)
        if not frequencies or not all(0 < f < rate / 2 for f in frequencies):
            raise UserError(f"frequencies are {tuple(frequencies)}; they must lie between 0 and rate / 2, {rate / 2}")
        if not 0 <= amplitudes[0] <= amplitudes[1]:
            raise UserError(
                f"amplitudes are {tuple(amplitudes)}; they must be the smallest and the largest amplitude, 0 or more"
            )
        self.rate, self.frequencies, self.amplitudes = rate, tuple(frequencies), tuple(amplitudes)
        self._sines = self._sines_of(input.span)

    def to(self, device: torch.device | str) -> ChordSampler:
        """Make batches on `device` from now on; return this sampler."""
        super().to(device)
        self._sines = self._sines.to(self.device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches."""
        settings = {"rate": self.rate, "frequencies": list(self.frequencies), "amplitudes": list(self.amplitudes)}
        return {**super().fingerprint(), **settings}

    def example(self, number: int, samples: int) -> tuple[Tensor, Tensor]:
        """Return a chord and the same chord in noise, (samples,) each, which are in no batch, for evaluation."""
        clean = self._weights(torch.tensor([[number]]), torch.zeros(1, 1, dtype=torch.int64), _EXAMPLE)[0]
        clean = clean @ self._sines_of(samples).to(self.device)
        noise = self._white_noise(number, 1, _EXAMPLE_NOISE, samples)
        power = clean.square().mean()
        variance = power / 10 ** (self.snr / 10)
        return clean[0], (clean + noise * (variance if self.variance_as_deviation else variance.sqrt()))[0]

    def _signal(self, step: int) -> Tensor:
        return self._draws_at(step) @ self._sines

    def _draw(self, first: int, steps: int) -> Tensor:
        """Return the weights of the sines and cosines, (steps, batch, 2 * sines)."""
        weights = self._weights(torch.arange(first, first + steps)[:, None], torch.arange(self.batch)[None, :], _SIGNAL)
        weights[:, : self.noise_items] = 0
        return weights

    def _weights(self, steps: Tensor, items: Tensor, group: int) -> Tensor:
        """Return a cos(p) and a sin(p), the weights in a sin(wn + p): (steps, items, 2 * sines)."""
        sines = len(self.frequencies)
        blocks = range(-(-2 * sines // 4))
        random_words = [word for block in blocks for word in words(self.seed, steps, items, group, block)]
        uniform = torch.stack(random_words[: 2 * sines], dim=-1).double() * 2.0**-32
        smallest, largest = self.amplitudes
        amplitude = smallest + (largest - smallest) * uniform[..., :sines]
        phase = 2 * math.pi * uniform[..., sines:]
        return torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], dim=-1).float().to(self.device)

    def _sines_of(self, samples: int) -> Tensor:
        """Return sin(wn) of all frequencies w, then cos(wn), (2 * sines, samples)."""
        turns = torch.tensor(self.frequencies, dtype=torch.float64)[:, None] / self.rate
        angles = 2 * math.pi * torch.remainder(turns * torch.arange(samples, dtype=torch.float64), 1.0)
        return torch.cat([angles.sin(), angles.cos()]).float()


class RecordedFrames(FrameSampler):
    """Random frames of recordings.

    With an `snr`, `signal` is clean audio: an item is a frame of it plus noise, white or from `noise`, at that ratio
    over the batch; a noise-only item is noise alone; and the target is the clean frame. Without an `snr`, `signal` is
    noisy audio, for training from weak labels: an item is a frame of `signal`, a noise-only item is a frame of `noise`,
    and the target is the frame itself.

    Args:
        signal, noise: recordings (T,) at one rate, float; recordings shorter than a frame are left out. `noise` None
            means white noise, for which an `snr` is required.
        input, snr, batch, noise_only, seed, variance_as_deviation, power_of_signal_items: see `FrameSampler`.

    Raises UserError if no recording is long enough, if all are silent, if one is not finite, and if an argument is out
    of range.

    >>> sampler = RecordedFrames([np.ones(2000)], None, FrameInput(n_fft=64), snr=0.0, batch=4)
    >>> tuple(sampler.batch_at(0)[0].shape)
    (4, 33)
    """

    def __init__(
        self,
        signal: Sequence[np.ndarray],
        noise: Sequence[np.ndarray] | None,
        input: FrameInput,
        snr: float | None = None,
        batch: int = 128,
        noise_only: float = 0.0,
        seed: int = 0,
        variance_as_deviation: bool = False,
        power_of_signal_items: bool = False,
    ) -> None:
        super().__init__(input, snr or 0.0, batch, noise_only, seed, variance_as_deviation, power_of_signal_items)
        if snr is None and noise is None and self.noise_items:
            raise UserError("there is no noise for the noise-only items; pass recordings of noise")
        self.mixed = snr is not None
        self._digest = hashlib.sha256()
        self._groups = [self._joined("signal", signal)]
        self._groups += [] if noise is None else [self._joined("noise", noise)]

    def to(self, device: torch.device | str) -> RecordedFrames:
        """Move the recordings to `device`, where batches are made from then on; return this sampler."""
        super().to(device)
        for group in self._groups:
            group.source = group.source.to(self.device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches, and the SHA-256 of the recordings."""
        return {**super().fingerprint(), "mixed": self.mixed, "recordings_sha256": self._digest.hexdigest()}

    def _joined(self, name: str, recordings: Sequence[np.ndarray]) -> _Group:
        span = self.input.span
        kept = [np.ascontiguousarray(r, np.float32) for r in recordings if len(r) >= span]
        if not kept:
            longest = max((len(r) for r in recordings), default=0)
            raise UserError(
                f"{name}: the longest recording has {longest} samples, but a frame needs {span}; pass longer recordings"
            )
        self._digest.update(name.encode())
        for recording in kept:
            if not np.isfinite(recording).all():
                raise UserError(f"{name}: a recording has NaN or infinite samples; repair it or leave it out")
            self._digest.update(str(len(recording)).encode() + recording.tobytes())
        if not any(recording.any() for recording in kept):
            raise UserError(f"{name}: every recording is silent; pass recordings with sound")
        return _Group(kept, span)

    def _draw(self, first: int, steps: int) -> Tensor:
        """Return the first samples of the items in each group, (steps, groups, batch)."""
        step, item = torch.arange(first, first + steps)[:, None], torch.arange(self.batch)[None, :]
        starts = [group.starts(words(self.seed, step, item, i, 0)[0]) for i, group in enumerate(self._groups)]
        return torch.stack(starts, dim=1)

    def _frames(self, step: int, group: int) -> Tensor:
        """Return the frames (batch, span) of a group."""
        source, starts = self._groups[group].source, self._draws_at(step)[group]
        if source.is_cpu:  # slices are faster than an index for every sample
            samples, frames = source.numpy(), np.empty((self.batch, self.input.span), np.float32)
            for row, start in zip(frames, starts.tolist(), strict=True):
                row[:] = samples[start : start + self.input.span]
            return torch.from_numpy(frames)
        offsets = torch.arange(self.input.span, device=self.device)
        return source[starts.to(self.device)[:, None] + offsets]

    def _signal(self, step: int) -> Tensor:
        frames = self._frames(step, _SIGNAL)
        frames[: self.noise_items] = 0
        return frames

    def _noise(self, step: int, items: int) -> Tensor:
        if len(self._groups) == 1:
            return super()._noise(step, items)
        noise = self._frames(step, _NOISE)
        return noise / noise.square().mean().sqrt().clamp(min=1e-12)

    def _pair(self, step: int) -> tuple[Tensor, Tensor]:
        if self.mixed:
            return super()._pair(step)
        frames = self._signal(step)
        if self.noise_items:
            frames[: self.noise_items] = self._frames(step, _NOISE)[: self.noise_items]
        x = self.input.of_samples(frames)
        return x, self.input.middle(x)


class _Group:
    """Recordings in `source` (samples,), one after the other, and the windows of `span` samples within each of them."""

    def __init__(self, recordings: list[np.ndarray], span: int) -> None:
        lengths = np.array([len(recording) for recording in recordings])
        counts = lengths - span + 1  # windows in each recording
        self.source = torch.from_numpy(np.concatenate(recordings))
        self._windows = int(counts.sum())
        if self._windows >= 2**32:
            raise UserError("the recordings have 2**32 samples or more, which a 32-bit draw cannot reach; pass fewer")
        self._ends = torch.from_numpy(np.cumsum(counts))  # number of the first window of the next recording
        # Difference between the first sample of a window and its number.
        self._shift = torch.from_numpy(np.cumsum(lengths) - lengths - (np.cumsum(counts) - counts))

    def starts(self, word: Tensor) -> Tensor:
        """Return the first samples of the windows that random words, int64 below 2**32, select; all equally likely."""
        window = (word * self._windows) >> 32
        return window + self._shift[torch.searchsorted(self._ends, window, right=True)]
