"""Convert audio to the inputs of frame models, and their outputs to spectra."""

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
    """One of the four kinds of input of Lusterman 2016: frames of `n_fft` samples under a periodic Hann window.

    Arguments:
        kind: "time" is the windowed samples; "magnitude" is |FFT| of a frame; "context" is |FFT| of a frame and of
            `context` frames before and after it, half a window apart; "complex" is the real and then the imaginary part
            of the FFT. A model's output has the same kind, for the middle frame only.
        n_fft: samples in a frame, even.
        spectrum: bins of the kinds with an FFT. "one-sided" has n_fft / 2 + 1. "without-nyquist" has n_fft / 2, as in
            the thesis's text, and sets the last bin to 0. "two-sided" has all n_fft, as in the thesis's program, and
            averages the mirrored bins of an output, which is the real part of the inverse FFT.
        context: frames on either side, for the kind "context".

    Raises UserError if an argument is out of range.

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
            raise UserError(f"n_fft is {self.n_fft!r}; it must be an even number of at least 4")
        if isinstance(self.context, bool) or not isinstance(self.context, int) or not 0 <= self.context <= 64:
            raise UserError(f"context is {self.context!r}; it must be a whole number of frames, from 0 to 64")

    @property
    def reach(self) -> int:
        """Frames of context before and after a frame."""
        return self.context if self.kind == "context" else 0

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return self.n_fft // 2

    @property
    def span(self) -> int:
        """Samples that a frame's input covers."""
        return self.n_fft + 2 * self.reach * self.hop

    @property
    def bins(self) -> int:
        """Bins of a spectrum."""
        return {"one-sided": self.n_fft // 2 + 1, "without-nyquist": self.n_fft // 2, "two-sided": self.n_fft}[
            self.spectrum
        ]

    @property
    def outputs(self) -> int:
        """Number of a model's outputs for a frame."""
        return {"time": self.n_fft, "complex": 2 * self.bins}.get(self.kind, self.bins)

    @property
    def inputs(self) -> int:
        """Number of a model's inputs for a frame."""
        return (2 * self.reach + 1) * self.outputs

    def of_samples(self, samples: Tensor) -> Tensor:
        """Return the inputs (B, inputs) of samples (B, span), float32, before windowing."""
        frames = samples.unfold(1, self.n_fft, self.hop) * _hann(self.n_fft, samples.device, samples.dtype)
        return self._features(frames).flatten(1)

    def target_of(self, samples: Tensor) -> Tensor:
        """Return the training target (B, outputs) of samples (B, span): the features of the middle frame."""
        first = self.reach * self.hop
        return self._features(samples[:, first : first + self.n_fft] * _hann(self.n_fft, samples.device, samples.dtype))

    def middle(self, inputs: Tensor) -> Tensor:
        """Return the part (B, outputs) of inputs (B, inputs) for the middle frame."""
        return inputs[:, self.reach * self.outputs : (self.reach + 1) * self.outputs]

    def of_spectra(self, spectra: Tensor) -> Tensor:
        """Return the inputs (C * N, inputs) of spectra (C, N, n_fft / 2 + 1) of C recordings.

        The context before the first frame and after the last one is silence.
        """
        features = self._spectral_features(spectra)
        if self.reach:
            silence = features.new_zeros(features.shape[0], self.reach, features.shape[2])
            features = torch.cat([silence, features, silence], dim=1)
            features = features.unfold(1, 2 * self.reach + 1, 1).transpose(2, 3)
        return features.reshape(-1, self.inputs)

    def to_spectra(self, outputs: Tensor, spectra: Tensor) -> Tensor:
        """Return the spectra (C, N, n_fft / 2 + 1) of outputs (C * N, outputs).

        Magnitudes get the phase of `spectra`, and negative magnitudes the opposite phase, as in the thesis.
        """
        outputs = outputs.reshape(*spectra.shape[:2], -1)
        if self.kind == "time":
            return torch.fft.rfft(outputs)
        if self.kind == "complex":
            return self._one_sided(torch.complex(*outputs.chunk(2, dim=2)))
        magnitudes = _magnitudes(spectra)
        phase = torch.where(magnitudes > 0, spectra / magnitudes, 1.0)
        return self._one_sided(outputs) * phase

    def _features(self, frames: Tensor) -> Tensor:
        """Return the features (..., outputs) of windowed frames (..., n_fft)."""
        return frames if self.kind == "time" else self._spectral_features(torch.fft.rfft(frames))

    def _spectral_features(self, spectra: Tensor) -> Tensor:
        """Return the features (..., outputs) of spectra (..., n_fft / 2 + 1)."""
        if self.kind == "time":
            return torch.fft.irfft(spectra, self.n_fft)
        if self.kind == "complex":
            selected = self._select_bins(spectra)
            return torch.cat([selected.real, selected.imag], dim=-1)
        return self._select_bins(_magnitudes(spectra))

    def _select_bins(self, spectra: Tensor) -> Tensor:
        """Return the bins that `spectrum` selects from real or complex spectra (..., n_fft / 2 + 1)."""
        if self.spectrum == "two-sided":
            return torch.cat([spectra, spectra[..., 1:-1].flip(-1).conj()], dim=-1)
        return spectra[..., : self.bins]

    def _one_sided(self, spectra: Tensor) -> Tensor:
        """Return the one-sided spectra (..., n_fft / 2 + 1) for the output of `_select_bins`."""
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
    """Return |spectra|; on the CPU with NumPy, which takes a fifth of PyTorch's time on one thread."""
    if spectra.is_cpu and not spectra.requires_grad:
        return torch.from_numpy(np.abs(spectra.numpy()))
    return spectra.abs()
