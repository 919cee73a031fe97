"""Source separation by masks: the interface of models, and models with a network for each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram

VOICE_AND_NOISE = ("voice", "noise")
_MAX_NAME = 100  # characters of a source's name
_MAX_SEGMENTS = 64  # per pass, to limit memory


@dataclass(frozen=True)
class Separation:
    """How a model separates a mixture; the result of a model's method `separation(step, count)`.

    Attributes:
        sources: names of the sources, all different; also names of files.
        masks: function from magnitudes (N, bins) of a mixture to masks (sources, N, bins), in [0, 1]. The masks of all
            sources add up to 1, so the estimates add up to the mixture.
        frames: excerpts of a mixture must start at a multiple of this number of frames.
        halo: frames on either side of an excerpt that affect its masks, a multiple of `frames`.
        whole_recording: whether masks depend on the whole mixture, so that it cannot be separated in excerpts.
    """

    sources: tuple[str, ...]
    masks: Callable[[Tensor], Tensor]
    frames: int = 1
    halo: int = 0
    whole_recording: bool = False


def voice_and_noise(
    masks: Callable[[Tensor], Tensor], step: int | None, count: int | None, halo: int = 0, whole_recording: bool = False
) -> Separation:
    """Return a separation into voice and noise.

    Args:
        masks: function from magnitudes (B, N, bins) to masks (B, N, bins, 2), voice first.
        step: must be None, because there are no segments.
        count: sources, None or 2.
        halo, whole_recording: as for `Separation`.

    Raises UserError for another step or count.
    """
    if step is not None:
        raise UserError(f"step is {step}; this model has no segments, so omit it")
    if count not in (None, len(VOICE_AND_NOISE)):
        raise UserError(f"count is {count}; this model separates 2 sources, voice and noise: omit count or give 2")
    return Separation(
        VOICE_AND_NOISE, lambda x: masks(x[None])[0].movedim(-1, 0), halo=halo, whole_recording=whole_recording
    )


class SourceSeparator(StatefulModel):
    """A network for each source that estimates the source's magnitudes in segments of a mixture.

    Subclasses define the networks. Each network treats the other sources as noise, and networks share no weights. The
    estimate of a segment depends on no frames outside it.

    Args:
        sources: names of the sources, all different; also names of files.
        bins: of the spectrogram.
        frames: per segment.
        seed: of the initial weights, in [0, 2^64).
        network: function from the number of a source to its network.

    Attributes:
        networks: in the order of `sources`.
        scale: buffer (bins,); magnitudes are divided by it before the networks and multiplied by it after them; 1 until
            set. Ratios of estimates in a bin do not depend on it.
        spectrogram: converts recordings to input; None until set. Saved with the model.
        backend: "auto" or a name of `pf.backends()`.

    Raises UserError if an argument is out of range.

    Grais & Plumbley 2017.
    """

    mask = None  # the masks are ratios of the estimates
    scale: Tensor

    def __init__(
        self, sources: Sequence[str], bins: int, frames: int, seed: int, network: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        for name, value in (("bins", bins), ("frames", frames)):
            if not isinstance(value, Integral) or not 1 <= value < 2**31:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least 1")
        self.sources = check_names(sources)
        self.bins, self.frames, self.seed = bins, frames, seed
        self.spectrogram: Spectrogram | None = None
        self.backend = "auto"
        self.networks = nn.ModuleList(network(number) for number in range(len(self.sources)))
        self.register_buffer("scale", torch.ones(bins))

    def config(self) -> dict[str, int | list[str]]:
        """Return the arguments that construct an equal, untrained model."""
        return {"sources": list(self.sources), "bins": self.bins, "seed": self.seed}

    def forward(self, x: Tensor) -> Tensor:
        """Return the sources' magnitudes (B, sources, frames, bins), >= 0, of segments x (B, frames, bins)."""
        return self._run_networks(x / self.scale, self.backend) * self.scale

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the mean squared error of all networks on scaled magnitudes, a scalar.

        Networks share no weights, so each learns independently of the others.

        Args:
            batch: segments (B, frames, bins) of a mixture and (B, sources, frames, bins) of its sources.
            penalty: ignored.
            backend: of the ops.
        """
        mixture, target = batch
        return F.mse_loss(self._run_networks(mixture / self.scale, backend), target / self.scale)

    def estimates(self, x: Tensor, step: int | None = None) -> Tensor:
        """Return the sources' magnitudes (sources, N, bins) of a mixture x (N, bins), segment by segment.

        Frames beyond the ends of the mixture are 0.

        Args:
            x: (N, bins) magnitudes.
            step: frames from one segment to the next; it must divide the frames of a segment. If it is smaller, the
                estimates of overlapping segments are averaged. None for segments without overlap, as in the paper.

        Raises UserError if `step` does not divide the frames of a segment.
        """
        self.check_step(step)
        step = self.frames if step is None else step
        lead, overlap = self.frames - step, self.frames // step
        count = (len(x) - 1 + lead) // step + 1
        padded = F.pad(x, (0, 0, lead, (count - 1) * step + self.frames - lead - len(x)))
        segments = padded.unfold(0, self.frames, step).transpose(1, 2)
        total = x.new_zeros(len(self.sources), count + overlap - 1, step, self.bins)
        for first in range(0, count, _MAX_SEGMENTS):
            estimates = self(segments[first : first + _MAX_SEGMENTS]).unflatten(2, (overlap, step))
            for part in range(overlap):
                total[:, first + part : first + part + len(estimates)] += estimates[:, :, part].transpose(0, 1)
        return total.flatten(1, 2)[:, lead : lead + len(x)] / overlap

    def masks(self, x: Tensor, step: int | None = None) -> Tensor:
        """Return ratio masks (sources, N, bins) of a mixture x (N, bins); `step` as for `estimates`."""
        return ratio_masks(self.estimates(x, step))

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Return the separation into the model's sources.

        Args:
            step: as for `estimates`.
            count: sources, None or the number of the model's sources.

        Raises UserError for another step or count.
        """
        self.check_step(step)
        if count not in (None, len(self.sources)):
            raise UserError(
                f"count is {count}; this model separates {len(self.sources)}, {', '.join(self.sources)}: omit count"
            )
        halo = 0 if step in (None, self.frames) else self.frames
        return Separation(self.sources, lambda x: self.masks(x, step), self.frames, halo)

    def check_step(self, step: int | None) -> None:
        """Raise UserError if `step` does not divide the frames of a segment."""
        if step is not None and (step < 1 or self.frames % step):
            raise UserError(f"step is {step}; it must divide the {self.frames} frames of a segment")

    def _run_networks(self, x: Tensor, backend: str) -> Tensor:
        return torch.stack([network(x, backend) for network in self.networks], dim=1)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def ratio_masks(estimates: Tensor) -> Tensor:
    """Return each estimate over the sum of all estimates (sources, ...), >= 0; equal masks where the sum is 0.

    Masks are in [0, 1], and those of all sources add up to 1.

    Grais & Plumbley 2017, equation 2.

    >>> ratio_masks(torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
    tensor([[0.7500, 0.5000],
            [0.2500, 0.5000]])
    """
    total = estimates.sum(0)
    return torch.where(total > 0, estimates / total, 1 / len(estimates))


def check_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple; raise UserError if they are not distinct or not valid names of files."""
    if isinstance(sources, str) or not all(isinstance(name, str) for name in sources):
        raise UserError(f"sources are {sources!r}; give a list of names")
    if not sources or len(set(sources)) < len(sources):
        raise UserError(f"sources are [{', '.join(sources)}]; give one or more different names")
    for name in sources:
        if not name or name.startswith(".") or set(name) & set("/\\\0") or len(name) > _MAX_NAME:
            raise UserError(f"source {name[:_MAX_NAME]!r} is not a valid name of a file; give another name")
    return tuple(sources)
