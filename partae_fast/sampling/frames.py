"""Random single frames for training, drawn by counter: chords in white noise, and recordings.

A batch depends on the seed, the step number and the recordings alone, as in `crops`. It is x (batch, inputs), target
(batch, outputs) and noise_only (batch,), which is 1 where an item has no signal; those items come first. x and target
have one `FrameInput`.
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

_LANES = 4096  # draws that are made at once, over as many steps as that takes
_SIGNAL, _NOISE, _EXAMPLE, _EXAMPLE_NOISE = range(4)  # groups: the third word of a counter

# Hz; amplitudes from and to. The four sines of Lusterman 2016, an A major triad with its octave, a little out of tune.
CHORD = (441.0, 549.0, 660.0, 881.0)
AMPLITUDES = (0.25, 0.75)


class FrameSampler(BatchStream):
    """What samplers of frames have in common: a batch is a signal and a noise, mixed at a ratio.

    The noise of a batch has one power, that of the batch's signal over 10^(snr / 10) (Lusterman 2016, equation 24); the
    silence of noise-only items counts as signal of power 0. Iteration yields the batches of steps 0, 1, 2 and so on;
    see `BatchStream`.

    Args:
        input: what a model is given of a frame.
        snr: signal-to-noise ratio of a batch, dB.
        batch: items, >= 1.
        noise_only: share of the items without signal, from 0 to below 1.
        seed: 0 to 2**63 - 1.
        variance_as_deviation: give the noise the standard deviation that its variance should be, as the thesis's
            program does.
        power_of_signal_items: leave noise-only items out of the signal's power, as that program does.

    Raises UserError where an argument is out of range.
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
            raise UserError(f"noise_only is {noise_only}; it is a share of the items, from 0 to below 1")
        if not 0 <= seed < 2**63:
            raise UserError(f"seed {seed} is out of range; give one from 0 to 2**63 - 1")
        self.input, self.snr, self.batch, self.seed = input, float(snr), int(batch), int(seed)
        self.noise_only = float(noise_only)
        self.noise_items = min(round(batch * noise_only), batch - 1)
        self.variance_as_deviation, self.power_of_signal_items = variance_as_deviation, power_of_signal_items
        self.device = torch.device("cpu")
        self._flags = (torch.arange(batch) < self.noise_items).float()
        self._drawn, self._drawn_from = torch.empty(0), -1

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x, target and noise_only of a step, 0 <= step < 2**32; with `items` of these alone."""
        if not 0 <= step < 2**32:
            raise UserError(f"step {step} is out of range; steps are numbered from 0 to 2**32 - 1")
        x, target = self._pair(step)
        if items is None or len(items) == self.batch:
            return x, target, self._flags
        among = slice(items.start, items.stop)
        return x[among], target[among], self._flags[among]

    def to(self, device: torch.device | str) -> FrameSampler:
        """This sampler, making its batches on `device` from now on."""
        self.device = torch.device(device)
        self._flags = self._flags.to(self.device)
        self._drawn_from = -1
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that decide every batch."""
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
        """x and target of a step."""
        clean = self._signal(step)
        noisy = torch.addcmul(clean, self._noise(step, self.batch), self._gain(clean))
        return self.input.of_samples(noisy), self.input.target_of(clean)

    def _signal(self, step: int) -> Tensor:
        """The signal (batch, span) of a step, 0 in noise-only items."""
        raise NotImplementedError

    def _noise(self, step: int, items: int) -> Tensor:
        """Noise (items, span) of power 1."""
        return self._white(step, items, _NOISE, self.input.span)

    def _gain(self, clean: Tensor) -> Tensor:
        """The factor on noise of power 1 that goes with a batch's signal."""
        heard = clean[self.noise_items :] if self.power_of_signal_items else clean
        power = torch.linalg.vector_norm(heard).square() / heard.numel()
        variance = power / 10 ** (self.snr / 10)
        return variance if self.variance_as_deviation else variance.sqrt()

    def _white(self, step: int, items: int, group: int, samples: int) -> Tensor:
        """White Gaussian noise (items, samples) of power 1."""
        kernels = implementation("normals", resolve("normals", "auto", self.device, torch.float32))
        return kernels.normals(self.seed, step, range(items), group, samples, self.device)

    def _words_at(self, step: int) -> Tensor:
        """What random words say of a step's items, see `_words`; made for many steps at a time."""
        steps = max(1, _LANES // self.batch)
        first = step - step % steps
        if first != self._drawn_from:
            self._drawn, self._drawn_from = self._words(first, steps), first
        return self._drawn[step - first]

    def _words(self, first: int, steps: int) -> Tensor:
        """(steps, ...) of the steps from `first` on."""
        raise NotImplementedError


class ChordSampler(FrameSampler):
    """Chords of four sines in white Gaussian noise: what Lusterman 2016 trains and measures on.

    Each sine of each item has an amplitude and a phase of its own, uniform in `amplitudes` and over a turn. The thesis
    gives frequencies and ranges in its equations 43 to 48; here they are those of its program, which its author
    published (github.com/luster/thesis, thesis/comparisons/autoencoder.py).

    Args:
        input, snr, batch, noise_only, seed, variance_as_deviation, power_of_signal_items: see `FrameSampler`.
        rate: samples per second.
        frequencies: in Hz, below rate / 2.
        amplitudes: the least and the largest amplitude of a sine.

    Raises UserError where an argument is out of range.

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
            raise UserError(f"frequencies are {tuple(frequencies)}; give some between 0 and half the rate, {rate / 2}")
        if not 0 <= amplitudes[0] <= amplitudes[1]:
            raise UserError(f"amplitudes are {tuple(amplitudes)}; give the least and the largest, 0 or more")
        self.rate, self.frequencies, self.amplitudes = rate, tuple(frequencies), tuple(amplitudes)
        self._sines = self._sines_of(input.span)

    def to(self, device: torch.device | str) -> ChordSampler:
        """This sampler, making its batches on `device` from now on."""
        super().to(device)
        self._sines = self._sines.to(self.device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that decide every batch."""
        own = {"rate": self.rate, "frequencies": list(self.frequencies), "amplitudes": list(self.amplitudes)}
        return {**super().fingerprint(), **own}

    def example(self, number: int, samples: int) -> tuple[Tensor, Tensor]:
        """A chord and the same in noise, (samples,) each: audio that no batch has, to measure on."""
        clean = self._weights(torch.tensor([[number]]), torch.zeros(1, 1, dtype=torch.int64), _EXAMPLE)[0]
        clean = clean @ self._sines_of(samples).to(self.device)
        noise = self._white(number, 1, _EXAMPLE_NOISE, samples)
        power = clean.square().mean()
        variance = power / 10 ** (self.snr / 10)
        return clean[0], (clean + noise * (variance if self.variance_as_deviation else variance.sqrt()))[0]

    def _signal(self, step: int) -> Tensor:
        return self._words_at(step) @ self._sines

    def _words(self, first: int, steps: int) -> Tensor:
        """The weights of the sines and cosines, (steps, batch, 2 * sines)."""
        weights = self._weights(torch.arange(first, first + steps)[:, None], torch.arange(self.batch)[None, :], _SIGNAL)
        weights[:, : self.noise_items] = 0
        return weights

    def _weights(self, steps: Tensor, items: Tensor, group: int) -> Tensor:
        """a sin(wn + p) is a cos p times sin(wn) and a sin p times cos(wn): the factors, (steps, items, 2 * sines)."""
        sines = len(self.frequencies)
        drawn = [word for block in range(-(-2 * sines // 4)) for word in words(self.seed, steps, items, group, block)]
        uniform = torch.stack(drawn[: 2 * sines], dim=-1).double() * 2.0**-32
        least, largest = self.amplitudes
        amplitude = least + (largest - least) * uniform[..., :sines]
        phase = 2 * math.pi * uniform[..., sines:]
        return torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], dim=-1).float().to(self.device)

    def _sines_of(self, samples: int) -> Tensor:
        """sin(wn) and then cos(wn) of each frequency, (2 * sines, samples)."""
        turns = torch.tensor(self.frequencies, dtype=torch.float64)[:, None] / self.rate
        angles = 2 * math.pi * torch.remainder(turns * torch.arange(samples, dtype=torch.float64), 1.0)
        return torch.cat([angles.sin(), angles.cos()]).float()


class RecordedFrames(FrameSampler):
    """Frames of recordings, anywhere in them.

    With `snr`, `signal` is clean: an item is a frame of it and noise, white or out of `noise`, scaled to that ratio
    over the batch; a noise-only item is the noise alone; the target is the clean frame. With snr None, `signal` is
    noisy: an item is a frame of it as it is, a noise-only item one of `noise` as it is, and the target is what the
    model is given: what systems learn from that have weak labels alone.

    Args:
        signal, noise: recordings (T,) at one rate, float; those shorter than a frame are left out. `noise` None is
            white, which needs an snr.
        input, snr, batch, noise_only, seed, variance_as_deviation, power_of_signal_items: see `FrameSampler`.

    Raises UserError where there is none long enough, where all are silent or one is not finite, or where an argument is
    out of range.

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
            raise UserError("there is no noise for the noise-only items; give recordings of noise")
        self.mixed = snr is not None
        self._digest = hashlib.sha256()
        self._groups = [self._laid_out("signal", signal)]
        self._groups += [] if noise is None else [self._laid_out("noise", noise)]

    def to(self, device: torch.device | str) -> RecordedFrames:
        """This sampler, its recordings on `device`, where it makes its batches from now on."""
        super().to(device)
        for group in self._groups:
            group.source = group.source.to(self.device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that decide every batch, and SHA-256 of the recordings."""
        return {**super().fingerprint(), "mixed": self.mixed, "recordings_sha256": self._digest.hexdigest()}

    def _laid_out(self, name: str, recordings: Sequence[np.ndarray]) -> _Group:
        span = self.input.span
        kept = [np.ascontiguousarray(r, np.float32) for r in recordings if len(r) >= span]
        if not kept:
            longest = max((len(r) for r in recordings), default=0)
            raise UserError(
                f"{name}: the longest recording has {longest} samples and a frame takes {span}; give longer ones"
            )
        self._digest.update(name.encode())
        for recording in kept:
            if not np.isfinite(recording).all():
                raise UserError(f"{name}: a recording has NaN or infinite samples; repair or leave it out")
            self._digest.update(str(len(recording)).encode() + recording.tobytes())
        if not any(recording.any() for recording in kept):
            raise UserError(f"{name}: every recording is silent; give some with sound")
        return _Group(kept, span)

    def _words(self, first: int, steps: int) -> Tensor:
        """Where items start in each group, (steps, groups, batch)."""
        step, item = torch.arange(first, first + steps)[:, None], torch.arange(self.batch)[None, :]
        drawn = [group.starts(words(self.seed, step, item, i, 0)[0]) for i, group in enumerate(self._groups)]
        return torch.stack(drawn, dim=1)

    def _frames(self, step: int, group: int) -> Tensor:
        """A group's frames (batch, span)."""
        source, starts = self._groups[group].source, self._words_at(step)[group]
        if source.is_cpu:  # a frame is a run of samples: no index for each of them
            samples, found = source.numpy(), np.empty((self.batch, self.input.span), np.float32)
            for row, start in zip(found, starts.tolist(), strict=True):
                row[:] = samples[start : start + self.input.span]
            return torch.from_numpy(found)
        within = torch.arange(self.input.span, device=self.device)
        return source[starts.to(self.device)[:, None] + within]

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
        heard = self._signal(step)
        if self.noise_items:
            heard[: self.noise_items] = self._frames(step, _NOISE)[: self.noise_items]
        x = self.input.of_samples(heard)
        return x, self.input.middle(x)


class _Group:
    """Recordings end to end, `source` (samples,), in which every run of `span` samples of one of them is as likely."""

    def __init__(self, recordings: list[np.ndarray], span: int) -> None:
        lengths = np.array([len(recording) for recording in recordings])
        runs = lengths - span + 1
        self.source = torch.from_numpy(np.concatenate(recordings))
        self._runs = int(runs.sum())
        if self._runs >= 2**32:
            raise UserError("the recordings have 2**32 samples or more, more than a draw can reach; give fewer")
        self._until = torch.from_numpy(np.cumsum(runs))  # runs of a recording and of those before it
        # From a run's number to its first sample.
        self._shift = torch.from_numpy(np.cumsum(lengths) - lengths - (np.cumsum(runs) - runs))

    def starts(self, word: Tensor) -> Tensor:
        """The first samples of the runs that random words, int64 below 2**32, choose."""
        run = (word * self._runs) >> 32
        return run + self._shift[torch.searchsorted(self._until, run, right=True)]
