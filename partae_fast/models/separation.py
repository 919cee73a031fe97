"""Mixtures taken apart by masks: what such a model says of itself, and models of one network for each source."""

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
_LONGEST_NAME = 100
_AT_ONCE = 64  # segments that the networks are given at a time: a bound on memory


@dataclass(frozen=True)
class Separation:
    """How a model takes a mixture apart; a model that does has a method `separation(step, count)` that gives one.

    Attributes:
        sources: their names, all different; files are called after them.
        masks: magnitudes (N, bins) of a mixture -> each source's share of them, (sources, N, bins), 0 .. 1. They add up
            to 1, so that the sources add up to the mixture.
        frames: a stretch of a mixture begins on a multiple of these.
        halo: how many frames on either side of a stretch change its masks, a multiple of `frames`.
        whole: whether all frames do, so that a mixture is given in one piece.
    """

    sources: tuple[str, ...]
    masks: Callable[[Tensor], Tensor]
    frames: int = 1
    halo: int = 0
    whole: bool = False


def voice_and_noise(
    masks: Callable[[Tensor], Tensor], step: int | None, count: int | None, halo: int = 0, whole: bool = False
) -> Separation:
    """The separation by masks of magnitudes (B, N, bins), (B, N, bins, 2), voice first; `halo`, `whole` as there.

    Raises UserError for a step, as there are no segments, and for a number of sources other than 2.
    """
    if step is not None:
        raise UserError("step is for models that look at segments of a mixture; leave it out")
    if count not in (None, len(VOICE_AND_NOISE)):
        raise UserError(f"{count} sources were asked for; this model tells voice from noise, which are 2")
    return Separation(VOICE_AND_NOISE, lambda x: masks(x[None])[0].movedim(-1, 0), halo=halo, whole=whole)


class SourceSeparator(StatefulModel):
    """One network for each source, each of which makes its source's magnitudes of those of a mixture.

    Models are its subclasses: they say what a network is. To a network the other sources are noise; no two share
    anything. Networks see segments of so many frames and know nothing of the frames around one.

    Args:
        sources: the sources' names, all different; files are called after them.
        bins: of the spectrogram. frames: in a segment. seed: of the weights that training starts from, in [0, 2^64).
        network: makes the network of the source of that number.

    Attributes:
        networks: the sources' networks, in the order of `sources`.
        scale (bins,): buffer, what magnitudes are divided by before a network and multiplied by behind it; 1 until set.
            A ratio of two sources' estimates in a bin does not depend on it.
        spectrogram: how recordings become input; None until set, saved with the model.
        backend: what serves it, "auto" or a name out of `pf.backends()`.

    Raises UserError where an argument is out of range.

    Grais & Plumbley 2017.
    """

    mask = None  # what it takes from a mixture follows from its estimates alone
    scale: Tensor

    def __init__(
        self, sources: Sequence[str], bins: int, frames: int, seed: int, network: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        for name, value in (("bins", bins), ("frames", frames)):
            if not isinstance(value, Integral) or not 1 <= value < 2**31:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least 1")
        self.sources = checked_names(sources)
        self.bins, self.frames, self.seed = bins, frames, seed
        self.spectrogram: Spectrogram | None = None
        self.backend = "auto"
        self.networks = nn.ModuleList(network(number) for number in range(len(self.sources)))
        self.register_buffer("scale", torch.ones(bins))

    def config(self) -> dict[str, int | list[str]]:
        """The arguments that construct an equal, untrained model."""
        return {"sources": list(self.sources), "bins": self.bins, "seed": self.seed}

    def forward(self, x: Tensor) -> Tensor:
        """Each source's magnitudes (B, sources, frames, bins), >= 0, in segments x (B, frames, bins) of a mixture's."""
        return self._made_of(x / self.scale, self.backend) * self.scale

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The mean squared error of all networks, in the scale that they see.

        `batch`: segments (B, frames, bins) of a mixture, and of its sources (B, sources, frames, bins). Nothing is
        penalised.

        As no two networks share a weight, each learns as it would alone.
        """
        mixture, wanted = batch
        return F.mse_loss(self._made_of(mixture / self.scale, backend), wanted / self.scale)

    def estimates(self, x: Tensor, step: int | None = None) -> Tensor:
        """Each source's magnitudes (sources, N, bins) in a mixture's x (N, bins), which is cut into segments.

        Args:
            step: frames from one segment to the next, which divides the frames of one; where that is less, what
                overlapping segments say of a frame is averaged. None, as in the paper: side by side.

        Beyond both ends is silence. Raises UserError for a step that does not divide.
        """
        self.check_step(step)
        step = self.frames if step is None else step
        lead, shares = self.frames - step, self.frames // step
        count = (len(x) - 1 + lead) // step + 1
        padded = F.pad(x, (0, 0, lead, (count - 1) * step + self.frames - lead - len(x)))
        segments = padded.unfold(0, self.frames, step).transpose(1, 2)
        total = x.new_zeros(len(self.sources), count + shares - 1, step, self.bins)
        for first in range(0, count, _AT_ONCE):
            made = self(segments[first : first + _AT_ONCE]).unflatten(2, (shares, step))
            for share in range(shares):
                total[:, first + share : first + share + len(made)] += made[:, :, share].transpose(0, 1)
        return total.flatten(1, 2)[:, lead : lead + len(x)] / shares

    def masks(self, x: Tensor, step: int | None = None) -> Tensor:
        """What share of each bin is each source's, (sources, N, bins), of a mixture's magnitudes x (N, bins).

        See `ratio_masks`; `step` as for `estimates`.
        """
        return ratio_masks(self.estimates(x, step))

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Segments, `step` frames from one to the next, as for `estimates`; `count` sources, or None.

        Raises UserError for a step that does not divide and for another number of sources than there are.
        """
        self.check_step(step)
        if count not in (None, len(self.sources)):
            raise UserError(f"{count} sources were asked for; this model knows {', '.join(self.sources)}")
        halo = 0 if step in (None, self.frames) else self.frames
        return Separation(self.sources, lambda x: self.masks(x, step), self.frames, halo)

    def check_step(self, step: int | None) -> None:
        """Raise UserError for a step that does not divide a segment."""
        if step is not None and (step < 1 or self.frames % step):
            raise UserError(f"step is {step}; it must divide a segment's {self.frames} frames, so that all count alike")

    def _made_of(self, x: Tensor, backend: str) -> Tensor:
        return torch.stack([network(x, backend) for network in self.networks], dim=1)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def ratio_masks(estimates: Tensor) -> Tensor:
    """Each source's share of all estimates (sources, ...), >= 0; equal shares where all estimates are 0.

    Masks are from 0 to 1, and those of all sources add up to 1. Grais & Plumbley 2017, equation 2.

    >>> ratio_masks(torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
    tensor([[0.7500, 0.5000],
            [0.2500, 0.5000]])
    """
    total = estimates.sum(0)
    return torch.where(total > 0, estimates / total, 1 / len(estimates))


def checked_names(sources: Sequence[str]) -> tuple[str, ...]:
    """The names of sources; UserError where they cannot be the names of as many files."""
    if isinstance(sources, str) or not all(isinstance(name, str) for name in sources):
        raise UserError(f"sources are {sources!r}; give a list of names")
    if not sources or len(set(sources)) < len(sources):
        raise UserError(f"sources are {', '.join(sources) or 'none'}; give one name or more, no two the same")
    for name in sources:
        if not name or name.startswith(".") or set(name) & set("/\\\0") or len(name) > _LONGEST_NAME:
            raise UserError(f"a source is called {name[:_LONGEST_NAME]!r}; give a name that a file may have")
    return tuple(sources)
