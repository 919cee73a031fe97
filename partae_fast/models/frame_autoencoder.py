"""What the models of single frames share (Lusterman 2016): their input, and how they are used on a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..audio.frame_input import FrameInput
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask


class FrameAutoencoder(StatefulModel):
    """A network that makes a frame of clean sound out of a frame of noisy sound.

    Attributes:
        input: what a frame is to the network; see `FrameInput`.
        bins: of the spectra that `estimate` takes, n_fft / 2 + 1.
        taps: frames of a recording that one frame of the estimate depends on. pool: 1.
        spectrogram: how recordings become spectra; None until set, saved with it. mask: None.
        backend: what serves it, "auto" or a name out of `pf.backends()`.
        step: the number of the training step at hand.
    """

    def __init__(self, input: FrameInput, seed: int) -> None:
        super().__init__()
        self.input, self.seed = input, seed
        self.bins, self.pool, self.taps = input.n_fft // 2 + 1, 1, 2 * input.reach + 1
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend = "auto"
        self.step = 0

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
        shape = self.input
        return {
            "input": shape.kind,
            "n_fft": shape.n_fft,
            "spectrum": shape.spectrum,
            "context": shape.context,
            "seed": self.seed,
        }

    def signal(self, x: Tensor) -> Tensor:
        """The signal's part (B, outputs) of frames x (B, inputs)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The same as `signal`."""
        return self.signal(x)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The loss of x (B, inputs), target (B, outputs) and noise_only (B,), a scalar; batch statistics are taken."""
        raise NotImplementedError

    def estimate(self, spectra: Tensor) -> Tensor:
        """The signal's spectra of recordings' spectra, both (channels, N, n_fft / 2 + 1) complex.

        Of time frames and of complex spectra the phase is the model's own, of magnitudes that of `spectra`.
        """
        return self.input.to_spectra(self.signal(self.input.of_spectra(spectra)), spectra)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
