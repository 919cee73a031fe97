"""The base class of networks that denoise frame by frame (Lusterman 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..audio.frame_input import FrameInput
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask


class FrameAutoencoder(StatefulModel):
    """A network from a noisy frame to a clean frame.

    Subclasses define `signal` and `training_loss`, and extend `config`.

    Attributes:
        input: representation of a frame; see `FrameInput`.
        bins: of the spectra that `estimate` takes, n_fft / 2 + 1.
        taps: frames of a recording that one frame of the estimate depends on.
        pool: 1.
        spectrogram: converts recordings to spectra; None until set. Saved with the model.
        mask: None.
        backend: "auto" or a name of `pf.backends()`.
        step: number of the current training step; set by the Trainer.
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
        """Return the arguments that construct an equal, untrained model."""
        return {
            "input": self.input.kind,
            "n_fft": self.input.n_fft,
            "spectrum": self.input.spectrum,
            "context": self.input.context,
            "seed": self.seed,
        }

    def signal(self, x: Tensor) -> Tensor:
        """Return the estimate of the signal (B, outputs) in frames x (B, inputs)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return `signal(x)`."""
        return self.signal(x)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar; batch normalisation uses and updates batch statistics.

        Args:
            batch: x (B, inputs), target (B, outputs) if there is one, and noise_only (B,).
            penalty: weight of the penalty, if there is one.
            backend: of the ops.
        """
        raise NotImplementedError

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the signal's spectra of a mixture's spectra, both (channels, N, n_fft / 2 + 1) complex.

        If the input is magnitudes, the phases are those of the mixture; otherwise the model estimates them.
        """
        return self.input.to_spectra(self.signal(self.input.of_spectra(spectra)), spectra)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
