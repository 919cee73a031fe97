"""Protocols of models: what denoising, separation and training use of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from ..masking.mask import Mask


class Model(Protocol):
    """A model that `pf.denoise` accepts, as `pf.fit` and `pf.load` return it."""

    pool: int
    taps: int
    spectrogram: Any  # Spectrogram; None before training, which `pf.denoise` refuses
    mask: Mask | None

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstructions of foreground and background, (B, N, H) each, for magnitudes (B, N, H)."""
        ...


@runtime_checkable
class SignalEstimator(Protocol):
    """A model that reconstructs the signal alone, which is enough if its mask does not use the noise."""

    def signal(self, x: Tensor) -> Tensor:
        """Return the first result of `Model.separate` for magnitudes (B, N, H)."""
        ...


@runtime_checkable
class SpectrumEstimator(Protocol):
    """A model that estimates the spectra of the signal, with their phases, instead of a mask."""

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the complex spectra of the signal for those of the recording, (channels, N, n_fft//2 + 1)."""
        ...


@runtime_checkable
class Chunked(Protocol):
    """A model that defines the chunks of a stream itself, instead of by its taps and pool."""

    @property
    def block(self) -> int:
        """Chunks start at a multiple of this number of frames."""
        ...

    @property
    def halo(self) -> int:
        """Number of frames on each side of a chunk that affect it, a multiple of `block`."""
        ...

    @property
    def window(self) -> int:
        """Samples of the longest window that the model applies."""
        ...


class TrainableModel(Protocol):
    """A model that `pf.Trainer` accepts; any nn.Module with `training_loss` is one."""

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss of a sampler's batch, averaged over its items."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...

    def state_dict(self) -> dict[str, Any]: ...
