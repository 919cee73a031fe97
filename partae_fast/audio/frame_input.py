"""What a model of single frames is given of audio, and how what it makes becomes spectra again."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

KINDS = ("time", "magnitude", "context", "complex")
SPECTRA = ("one-sided", "without-nyquist", "two-sided")


@dataclass(frozen=True)
class FrameInput:
    """The four kinds of input that Lusterman 2016 names, of frames of `n_fft` samples under a periodic Hann window.

    Arguments:
        kind: "time", the windowed samples; "magnitude", |FFT| of a frame; "context", |FFT| of a frame and of `context`
            frames before and after it, half a window apart; "complex", the real and then the imaginary part of the FFT.
            What comes out of a model is of the same kind, of the middle frame alone.
        n_fft: samples in a frame, even.
        spectrum: which bins the three others have: "one-sided", n_fft / 2 + 1; "without-nyquist", the n_fft / 2 that
            the thesis's text counts, the last bin being left as 0; "two-sided", all n_fft, as in its program, where of
            two mirrored bins of the output the mean is taken: the real part of the inverse FFT.
        context: frames on either side, of the kind "context".

    Raises UserError where an argument is out of range.

    >>> FrameInput("context", n_fft=8, context=1).inputs
    15
    """

    kind: str = "magnitude"
    n_fft: int = 1024
    spectrum: str = "one-sided"
    context: int = 3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"input is {self.kind!r}; choose one of {', '.join(KINDS)}")
        if self.spectrum not in SPECTRA:
            raise UserError(f"spectrum is {self.spectrum!r}; choose one of {', '.join(SPECTRA)}")
        if isinstance(self.n_fft, bool) or not isinstance(self.n_fft, int) or self.n_fft % 2 or self.n_fft < 4:
            raise UserError(f"n_fft is {self.n_fft!r}; it must be an even number, at least 4")
        if isinstance(self.context, bool) or not isinstance(self.context, int) or not 0 <= self.context <= 64:
            raise UserError(f"context is {self.context!r}; it must be a whole number of frames, from 0 to 64")

    @property
    def reach(self) -> int:
        """Frames before and after a frame that are part of its input."""
        return self.context if self.kind == "context" else 0

    @property
    def hop(self) -> int:
        """Samples from a frame to the next."""
        return self.n_fft // 2

    @property
    def span(self) -> int:
        """Samples under a frame's input."""
        return self.n_fft + 2 * self.reach * self.hop

    @property
    def bins(self) -> int:
        """Bins of a spectrum, as `spectrum` says."""
        return {"one-sided": self.n_fft // 2 + 1, "without-nyquist": self.n_fft // 2, "two-sided": self.n_fft}[
            self.spectrum
        ]

    @property
    def outputs(self) -> int:
        """Numbers that a model makes of a frame."""
        return {"time": self.n_fft, "complex": 2 * self.bins}.get(self.kind, self.bins)

    @property
    def inputs(self) -> int:
        """Numbers that a model is given of a frame."""
        return (2 * self.reach + 1) * self.outputs

    def of_samples(self, samples: Tensor) -> Tensor:
        """The inputs (B, inputs) of samples (B, span), float32, not yet windowed."""
        frames = samples.unfold(1, self.n_fft, self.hop) * _hann(self.n_fft, samples.device, samples.dtype)
        return self._maps(frames).flatten(1)

    def target_of(self, samples: Tensor) -> Tensor:
        """What a model is to make, (B, outputs), where the middle frame of samples (B, span) is all that it hears."""
        middle = self.reach * self.hop
        return self._maps(samples[:, middle : middle + self.n_fft] * _hann(self.n_fft, samples.device, samples.dtype))

    def middle(self, inputs: Tensor) -> Tensor:
        """The middle frame's part (B, outputs) of inputs (B, inputs)."""
        return inputs[:, self.reach * self.outputs : (self.reach + 1) * self.outputs]

    def of_spectra(self, spectra: Tensor) -> Tensor:
        """The inputs (C * N, inputs) of C recordings' spectra (C, N, n_fft / 2 + 1); beyond their ends is silence."""
        maps = self._of_spectra(spectra)
        if self.reach:
            silence = maps.new_zeros(maps.shape[0], self.reach, maps.shape[2])
            maps = torch.cat([silence, maps, silence], dim=1).unfold(1, 2 * self.reach + 1, 1).transpose(2, 3)
        return maps.reshape(-1, self.inputs)

    def to_spectra(self, outputs: Tensor, spectra: Tensor) -> Tensor:
        """Spectra (C, N, n_fft / 2 + 1) of outputs (C * N, outputs).

        Magnitudes are given the phase of `spectra`, those below 0 the opposite one, as in the thesis.
        """
        outputs = outputs.reshape(*spectra.shape[:2], -1)
        if self.kind == "time":
            return torch.fft.rfft(outputs)
        if self.kind == "complex":
            return self._one_sided(torch.complex(*outputs.chunk(2, dim=2)))
        size = _magnitudes(spectra)
        phase = torch.where(size > 0, spectra / size, 1.0)
        return self._one_sided(outputs) * phase

    def _maps(self, frames: Tensor) -> Tensor:
        """The maps (..., outputs) of windowed frames (..., n_fft)."""
        return frames if self.kind == "time" else self._of_spectra(torch.fft.rfft(frames))

    def _of_spectra(self, spectra: Tensor) -> Tensor:
        """The maps (..., outputs) of spectra (..., n_fft / 2 + 1)."""
        if self.kind == "time":
            return torch.fft.irfft(spectra, self.n_fft)
        if self.kind == "complex":
            sides = self._sides(spectra)
            return torch.cat([sides.real, sides.imag], dim=-1)
        return self._sides(_magnitudes(spectra))

    def _sides(self, spectra: Tensor) -> Tensor:
        """As many bins of spectra (..., n_fft / 2 + 1), real or not, as `spectrum` says."""
        if self.spectrum == "two-sided":
            return torch.cat([spectra, spectra[..., 1:-1].flip(-1).conj()], dim=-1)
        return spectra[..., : self.bins]

    def _one_sided(self, spectra: Tensor) -> Tensor:
        """The other way."""
        if self.spectrum == "one-sided":
            return spectra
        if self.spectrum == "without-nyquist":
            return torch.nn.functional.pad(spectra, (0, 1))
        half = self.n_fft // 2
        mirrored = torch.cat([spectra[..., :1], spectra[..., half:].flip(-1)], dim=-1).conj()
        return (spectra[..., : half + 1] + mirrored) / 2


@functools.cache
def _hann(n_fft: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(n_fft, device=device, dtype=dtype)


def _magnitudes(spectra: Tensor) -> Tensor:
    """|spectra|; on the CPU by NumPy, in a fifth of the time that PyTorch takes on one thread."""
    if spectra.is_cpu and not spectra.requires_grad:
        return torch.from_numpy(np.abs(spectra.numpy()))
    return spectra.abs()
