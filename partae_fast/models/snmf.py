"""Sparse non-negative matrix factorisation with a dictionary for voices and one for noises (Hetherly et al. 2018).

The updates are those of Le Roux, Weninger & Hershey 2015 for the Kullback-Leibler divergence: the mathematics is in
`partae_fast.reference.snmf`. Written here because scikit-learn's sparse factorisation does not normalise dictionaries,
so that its sparsity is lost in their scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from .separation import Separation, voice_and_noise
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

_TINY = 1e-12


class SparseNMF(StatefulModel):
    """Magnitudes of a few frames as sums of a dictionary's rows, some of them of voices, the others of noises.

    A frame is looked at with `context` frames before it. The voice is what its rows explain: the recording's spectrum
    times their share of what all rows explain (a ratio mask).

    Args:
        bins: of the spectrogram. bases: rows for voices, and as many for noises; 1000 in the paper.
        context: frames before a frame; 8 in the paper. sparsity: weight of the activations' sum; 5 in the paper.
        iterations: updates of the activations in inference.

    Attributes:
        dictionary: buffer (2 * bases, (context + 1) * bins), rows of length 1, the voices' first; 0 before `learn`.
        spectrogram: how recordings become input; None until set, saved with the model. mask: None.
        pool: 1. taps: context + 1.

    Raises UserError where an argument is out of range.

    >>> model = SparseNMF(bins=5, bases=2, context=1)
    >>> model.learn(torch.rand(30, 5), torch.rand(30, 5), iterations=3)
    >>> model.masks(torch.rand(1, 7, 5)).shape
    torch.Size([1, 7, 5, 2])
    """

    RESTORED = ("sparsity", "iterations")

    dictionary: Tensor

    def __init__(
        self, bins: int = 257, bases: int = 1000, context: int = 8, sparsity: float = 5.0, iterations: int = 50
    ) -> None:
        super().__init__()
        for name, value, least in (("bins", bins, 1), ("bases", bases, 1), ("context", context, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**16:
                raise UserError(f"{name} is {value!r}; it must be a whole number, from {least} to 65535")
        if not (0 <= sparsity < float("inf")) or iterations < 1:
            raise UserError(f"sparsity is {sparsity} and iterations {iterations}; give 0 or more, and 1 or more")
        self.bins, self.bases, self.context = bins, bases, context
        self.sparsity, self.iterations = float(sparsity), iterations
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps = "auto", 1, context + 1
        self.register_buffer("dictionary", torch.zeros(2 * bases, (context + 1) * bins))

    @staticmethod
    def least_numbers(bins: int = 257, bases: int = 1000, context: int = 8, **_: Any) -> int:
        """How many numbers a model of such a configuration has."""
        return 2 * bases * (context + 1) * bins

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
        return {name: getattr(self, name) for name in ("bins", "bases", "context", "sparsity", "iterations")}

    def learn(self, voices: Tensor, noises: Tensor, iterations: int = 100, seed: int = 0) -> list[float]:
        """Set the dictionary by magnitudes (N, bins) of either kind; returns the objective after each iteration.

        The objective is the sum of both kinds'. Raises UserError where there is no frame or no iteration.
        """
        found = []
        for x in (voices, noises):
            if iterations < 1 or not len(x):
                raise UserError(
                    f"{len(x)} frames and {iterations} iterations were given; one or more of each are needed"
                )
            found.append(learned(stacked(x, self.context), self.bases, self.sparsity, iterations, seed))
        self.dictionary.copy_(torch.cat([dictionary for dictionary, _ in found]))
        return [sum(pair) for pair in zip(*(objective for _, objective in found), strict=True)]

    def masks(self, x: Tensor) -> Tensor:
        """The shares of voice and noise, (B, N, bins, 2), of magnitudes x (B, N, bins); in 0 .. 1."""
        frames = torch.cat([stacked(item, self.context) for item in x])
        active = activations(frames, self.dictionary, self.sparsity, self.iterations)
        last = self.dictionary[:, -self.bins :]
        parts = [active[:, rows] @ last[rows] for rows in (slice(0, self.bases), slice(self.bases, None))]
        explained = torch.stack(parts, dim=-1)
        shares = explained / explained.sum(-1, keepdim=True).clamp_min(_TINY)
        return shares.view(*x.shape, 2)

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Into voice and noise by `masks`; UserError for a step, and for a count other than 2."""
        return voice_and_noise(self.masks, step, count, halo=self.context)

    def estimate(self, spectra: Tensor) -> Tensor:
        """The voice's spectra of recordings' spectra, both (channels, N, bins) complex."""
        return self.masks(spectra.abs())[..., 0] * spectra

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def stacked(x: Tensor, context: int) -> Tensor:
    """Each frame of magnitudes x (N, bins) with those before it, the oldest first: (N, (context + 1) * bins).

    Before the first frame is silence.
    """
    return F.pad(x, (0, 0, context, 0)).unfold(0, context + 1, 1).transpose(1, 2).flatten(1)


def learned(x: Tensor, bases: int, sparsity: float, iterations: int, seed: int) -> tuple[Tensor, list[float]]:
    """A dictionary (bases, H), rows of length 1, of magnitudes x (N, H); and the objective after each iteration.

    The objective is the Kullback-Leibler divergence of x from activations @ dictionary, and sparsity times the
    activations' sum, over N. Le Roux, Weninger & Hershey 2015.
    """
    random = torch.Generator().manual_seed(seed)
    dictionary = unit_rows((torch.rand(bases, x.shape[1], generator=random) + 0.1).to(x))
    active = (torch.rand(len(x), bases, generator=random) + 0.1).to(x)
    # Rooms that every iteration overwrites: arrays of this size cost more to come by than to fill.
    room, logs = torch.empty_like(x), torch.empty_like(x)
    least = _sum(torch.special.xlogy(x, x).sub_(x))
    explained, objectives = _explained(active, dictionary, room), []
    for _ in range(iterations):
        active = updated_activations(active, dictionary, _ratio(x, explained), sparsity)
        dictionary = updated_dictionary(active, dictionary, _ratio(x, _explained(active, dictionary, room)))
        explained = _explained(active, dictionary, room)
        divergence = least - _sum(torch.log(explained, out=logs).mul_(x)) + _sum(explained)
        objectives.append(float(divergence + sparsity * active.sum()) / len(x))
    return dictionary, objectives


def activations(x: Tensor, dictionary: Tensor, sparsity: float, iterations: int) -> Tensor:
    """Activations (N, K) of a dictionary's rows (K, H) in magnitudes x (N, H), frame by frame."""
    active, room = x.new_ones(len(x), len(dictionary)), torch.empty_like(x)
    for _ in range(iterations):
        active = updated_activations(active, dictionary, _ratio(x, _explained(active, dictionary, room)), sparsity)
    return active


def updated_activations(active: Tensor, dictionary: Tensor, ratio: Tensor, sparsity: float) -> Tensor:
    """Activations (N, K) after one multiplicative update, by the ratio (N, H) of magnitudes to what is explained."""
    return (ratio @ dictionary.t()).mul_(active).div_((dictionary.sum(1) + sparsity).clamp_min_(_TINY))


def updated_dictionary(active: Tensor, dictionary: Tensor, ratio: Tensor) -> Tensor:
    """The dictionary (K, H) after one multiplicative update that allows for its rows being of length 1."""
    wanted, there = active.t() @ ratio, active.sum(0)[:, None].clamp_min_(_TINY)
    down = torch.addcmul(there, dictionary, torch.linalg.vecdot(wanted, dictionary)[:, None])
    up = wanted.addcmul_(dictionary, there * dictionary.sum(1, keepdim=True))
    return unit_rows(up.mul_(dictionary).div_(down))


def unit_rows(dictionary: Tensor) -> Tensor:
    """Rows scaled to length 1, in place."""
    return dictionary.div_(dictionary.norm(dim=1, keepdim=True).clamp_min_(_TINY))


def _explained(active: Tensor, dictionary: Tensor, room: Tensor) -> Tensor:
    """What activations and dictionary explain, above 0, (N, H), in `room`."""
    return torch.mm(active, dictionary, out=room).clamp_min_(_TINY)


def _sum(x: Tensor) -> Tensor:
    """The sum of x (N, H), of its rows' sums in float64."""
    return x.sum(1).sum(dtype=torch.float64)


def _ratio(x: Tensor, explained: Tensor) -> Tensor:
    """x over what is explained, in the latter's place."""
    return torch.div(x, explained, out=explained)
