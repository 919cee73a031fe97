"""Sparse non-negative matrix factorisation with dictionaries of voices and noises (Hetherly et al. 2018).

The updates are those of Le Roux, Weninger & Hershey 2015 for the Kullback-Leibler divergence; see
`partae_fast.reference.snmf`. scikit-learn's sparse NMF does not normalise its dictionaries, so that they can grow and
make the sparsity term ineffective.
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
    """A model of stacks of magnitude frames as non-negative sums of rows of a dictionary, for voices and for noises.

    A stack is a frame and the `context` frames before it. The estimate of the voice is the mixture times a ratio mask:
    the sum over rows for voices divided by the sum over all rows.

    Args:
        bins: of the spectrogram.
        bases: rows for voices, and as many for noises; 1000 in the paper.
        context: frames before the current frame in a stack; 8 in the paper.
        sparsity: weight of the sum of the activations; 5 in the paper.
        iterations: updates of the activations in inference.

    Attributes:
        dictionary: buffer (2 * bases, (context + 1) * bins), with rows of length 1, voices first; 0 before `learn`.
        spectrogram: converts recordings to input; None until set. Saved with the model.
        mask: None.
        pool: 1.
        taps: context + 1.

    Raises UserError if an argument is out of range.

    >>> model = SparseNMF(bins=5, bases=2, context=1)
    >>> _ = model.learn(torch.rand(30, 5), torch.rand(30, 5), iterations=3)
    >>> model.masks(torch.rand(1, 7, 5)).shape
    torch.Size([1, 7, 5, 2])
    """

    RESTORED = ("sparsity", "iterations")

    dictionary: Tensor

    def __init__(
        self, bins: int = 257, bases: int = 1000, context: int = 8, sparsity: float = 5.0, iterations: int = 50
    ) -> None:
        super().__init__()
        for name, value, minimum in (("bins", bins, 1), ("bases", bases, 1), ("context", context, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 2**16:
                raise UserError(f"{name} is {value!r}; it must be a whole number, from {minimum} to 65535")
        if not (0 <= sparsity < float("inf")) or iterations < 1:
            raise UserError(
                f"sparsity is {sparsity} and iterations {iterations}; they must be at least 0 and at least 1"
            )
        self.bins, self.bases, self.context = bins, bases, context
        self.sparsity, self.iterations = float(sparsity), iterations
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps = "auto", 1, context + 1
        self.register_buffer("dictionary", torch.zeros(2 * bases, (context + 1) * bins))

    @staticmethod
    def min_values(bins: int = 257, bases: int = 1000, context: int = 8, **_: Any) -> int:
        """Return the number of values that a model of this configuration stores."""
        return 2 * bases * (context + 1) * bins

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {name: getattr(self, name) for name in ("bins", "bases", "context", "sparsity", "iterations")}

    def learn(self, voices: Tensor, noises: Tensor, iterations: int = 100, seed: int = 0) -> list[float]:
        """Learn the dictionary; return the objective after each iteration, summed over voices and noises.

        Args:
            voices, noises: (N, bins) magnitudes of each.
            iterations: updates of activations and dictionary.
            seed: of their initial values.

        Raises UserError if there are no frames or no iterations.
        """
        results = []
        for x in (voices, noises):
            if iterations < 1 or not len(x):
                raise UserError(f"there are {len(x)} frames and {iterations} iterations; give at least 1 of each")
            results.append(learn_dictionary(stack_past(x, self.context), self.bases, self.sparsity, iterations, seed))
        self.dictionary.copy_(torch.cat([dictionary for dictionary, _ in results]))
        return [sum(pair) for pair in zip(*(objectives for _, objectives in results), strict=True)]

    def masks(self, x: Tensor) -> Tensor:
        """Return masks of voice and noise, (B, N, bins, 2), in [0, 1], of magnitudes x (B, N, bins)."""
        stacks = torch.cat([stack_past(item, self.context) for item in x])
        active = activations(stacks, self.dictionary, self.sparsity, self.iterations)
        last = self.dictionary[:, -self.bins :]  # of the current frame, the last in a stack
        parts = [active[:, rows] @ last[rows] for rows in (slice(0, self.bases), slice(self.bases, None))]
        sources = torch.stack(parts, dim=-1)
        masks = sources / sources.sum(-1, keepdim=True).clamp_min(_TINY)
        return masks.view(*x.shape, 2)

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Return the separation into voice and noise by `masks`; see `voice_and_noise`."""
        return voice_and_noise(self.masks, step, count, halo=self.context)

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the voice's spectra of a mixture's spectra, both (channels, N, bins) complex."""
        return self.masks(spectra.abs())[..., 0] * spectra

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def stack_past(x: Tensor, context: int) -> Tensor:
    """Return each frame of x (N, bins) after the `context` frames before it, (N, (context + 1) * bins).

    Frames before the first are 0.
    """
    return F.pad(x, (0, 0, context, 0)).unfold(0, context + 1, 1).transpose(1, 2).flatten(1)


def learn_dictionary(x: Tensor, bases: int, sparsity: float, iterations: int, seed: int) -> tuple[Tensor, list[float]]:
    """Learn a dictionary (bases, H), with rows of length 1, of magnitudes x (N, H).

    The objective is the Kullback-Leibler divergence of x from activations @ dictionary plus sparsity times the sum of
    the activations, divided by N.

    Returns:
        The dictionary, and the objective after each iteration.

    Le Roux, Weninger & Hershey 2015.
    """
    random = torch.Generator().manual_seed(seed)
    dictionary = unit_rows((torch.rand(bases, x.shape[1], generator=random) + 0.1).to(x))
    active = (torch.rand(len(x), bases, generator=random) + 0.1).to(x)
    # Buffers that every iteration overwrites: it takes longer to allocate arrays of this size than to fill them.
    buffer, logs = torch.empty_like(x), torch.empty_like(x)
    constant = _sum(torch.special.xlogy(x, x).sub_(x))
    product, objectives = _approximated(active, dictionary, buffer), []
    for _ in range(iterations):
        active = update_activations(active, dictionary, _ratio(x, product), sparsity)
        dictionary = update_dictionary(active, dictionary, _ratio(x, _approximated(active, dictionary, buffer)))
        product = _approximated(active, dictionary, buffer)
        divergence = constant - _sum(torch.log(product, out=logs).mul_(x)) + _sum(product)
        objectives.append(float(divergence + sparsity * active.sum()) / len(x))
    return dictionary, objectives


def activations(x: Tensor, dictionary: Tensor, sparsity: float, iterations: int) -> Tensor:
    """Return activations (N, K) for a fixed dictionary (K, H) and magnitudes x (N, H)."""
    if x.device.type == "cpu":
        from . import snmf_cpu  # imported here because importing Numba is slow

        if snmf_cpu.available():
            magnitudes, rows, divisor = (
                t.contiguous().numpy() for t in (x, dictionary, _divisor(dictionary, sparsity))
            )
            return torch.from_numpy(snmf_cpu.activations(magnitudes, rows, divisor, iterations, _TINY))
    active, buffer = x.new_ones(len(x), len(dictionary)), torch.empty_like(x)
    for _ in range(iterations):
        active = update_activations(active, dictionary, _ratio(x, _approximated(active, dictionary, buffer)), sparsity)
    return active


def update_activations(active: Tensor, dictionary: Tensor, ratio: Tensor, sparsity: float) -> Tensor:
    """Return the activations (N, K) after a multiplicative update; `ratio` is x / (activations @ dictionary)."""
    return _product(ratio, dictionary.t()).mul_(active).div_(_divisor(dictionary, sparsity))


def _divisor(dictionary: Tensor, sparsity: float) -> Tensor:
    """Return the denominator of an update of activations, (K,)."""
    return (dictionary.sum(1) + sparsity).clamp_min_(_TINY)


def update_dictionary(active: Tensor, dictionary: Tensor, ratio: Tensor) -> Tensor:
    """Return the dictionary (K, H) after a multiplicative update that keeps its rows at length 1; `ratio` as above."""
    positive, negative = _product(active.t(), ratio), active.sum(0)[:, None].clamp_min_(_TINY)  # parts of the gradient
    denominator = torch.addcmul(negative, dictionary, torch.linalg.vecdot(positive, dictionary)[:, None])
    numerator = positive.addcmul_(dictionary, negative * dictionary.sum(1, keepdim=True))
    return unit_rows(numerator.mul_(dictionary).div_(denominator))


def unit_rows(dictionary: Tensor) -> Tensor:
    """Scale the rows to length 1, in place."""
    return dictionary.div_(dictionary.norm(dim=1, keepdim=True).clamp_min_(_TINY))


def _approximated(active: Tensor, dictionary: Tensor, buffer: Tensor) -> Tensor:
    """Write activations @ dictionary (N, H), at least _TINY, to `buffer`, and return it."""
    return _product(active, dictionary, buffer).clamp_min_(_TINY)


def _product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return a @ b, in `out` if it is given."""
    if a.device.type != "cpu":
        return torch.mm(a, b, out=out)
    from ..kernels._cpu.products import product  # imported here because importing Numba is slow

    return product(a, b, out)


def _sum(x: Tensor) -> Tensor:
    """Return the sum of x (N, H), accumulated over rows in float64."""
    return x.sum(1).sum(dtype=torch.float64)


def _ratio(x: Tensor, product: Tensor) -> Tensor:
    """Return x / product; overwrites `product`."""
    return torch.div(x, product, out=product)
