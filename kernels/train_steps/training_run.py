"""The arguments of `train_steps`: recordings that items are drawn from, and a model in training."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..shapes import window_count
from .optimizer import RULES

ALIGNMENT = 16  # bytes: of the vectors in which kernels read

_shares = WeakIdKeyDictionary()  # of foreground tensors: their version, and their mean at that version


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


@dataclass(frozen=True)
class Crops:
    """Recordings in memory, and the tables by which the items of a step are drawn from them.

    source          (T, H), all recordings end to end: magnitudes in float32, or in bfloat16 if the back-end takes it
    starts_before   (R,) int64, number of crops in all recordings before recording r, over all groups
    shift           (R,) int64, first row in `source` of a crop of recording r, minus the number of the crop
    group_first     (G,) int64, number of crops in all groups before group g; signal, noise, then corruption groups
    group_starts    (G,) int64, number of crops in group g, below 2**32
    signal_groups   number of signal groups
    frames, batch   N and B
    noise_items     items 0 .. noise_items - 1 of a batch are noise-only
    seed            0 to 2**64 - 1
    corruption_groups  number of corruption groups
    target          (T, H), of the type of `source`: the target of each row; None for `source` itself

    A noise-only item has one crop of each noise group, and any other item one of each signal group. The sum of these
    rows of `target` is its target; the sum of these rows of `source`, plus one crop of each corruption group, is its
    input x. Groups of an item are added in order.

    The crop of group g in item b of step s has the number c = group_first[g] + ((word * group_starts[g]) >> 32), where
    word is the first of Philox-4x32-10 with key (seed's low word, high word) and counter (s, b, g, 0). With r the last
    recording for which starts_before[r] <= c, its rows are [c + shift[r] :][:frames].
    """

    source: Tensor
    starts_before: np.ndarray
    shift: np.ndarray
    group_first: np.ndarray
    group_starts: np.ndarray
    signal_groups: int
    frames: int
    batch: int
    noise_items: int
    seed: int
    corruption_groups: int = 0
    target: Tensor | None = None

    @property
    def noise_groups(self) -> int:
        return len(self.group_first) - self.signal_groups - self.corruption_groups

    @property
    def target_is_input(self) -> bool:
        return self.target is None and self.corruption_groups == 0


@dataclass(frozen=True)
class TrainingRun:
    """A model in training.

    A step updates w_enc (M, H, K) and w_dec (M, K, H), contiguous, and the tensors of `state` in place:
    `state["w_enc"]` and `state["w_dec"]` have the tensors that RULES[optimizer].state names, in that order, each of its
    weight's shape. mean, std (H,) normalise the encoder's input; foreground (K,) is 1 for a latent of the signal.
    `options` has all of RULES[optimizer].options. `negative_slope`, in [0, 1), is the slope of the encoder's rectifier
    below 0; with `rectified_output` the reconstruction is max(decode, 0).
    """

    w_enc: Tensor
    w_dec: Tensor
    state: dict[str, tuple[Tensor, ...]]
    crops: Crops
    mean: Tensor
    std: Tensor
    foreground: Tensor
    penalty: float
    pool: int
    optimizer: str = "adadelta"
    options: dict[str, float] = field(default_factory=dict)
    negative_slope: float = 0.0
    rectified_output: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int, int, int]:
        """B, N, H, K, M, P."""
        taps, bins, latents = self.w_enc.shape
        return self.crops.batch, self.crops.frames, bins, latents, taps, self.pool

    @property
    def windows(self) -> int:
        """ceil(N / P)."""
        return window_count(self.crops.frames, self.pool)

    @property
    def latent_weight(self) -> float:
        """Factor of the square of a foreground latent in the loss of a noise-only item: penalty / mean(C)."""
        version = self.foreground._version
        if _shares.get(self.foreground, (-1, 0.0))[0] != version:
            _shares[self.foreground] = version, float(self.foreground.double().mean())  # waits for a GPU
        share = _shares[self.foreground][1]
        return self.penalty / share if share > 0 else 0.0

    def memory_refusal(self, sources: tuple[torch.dtype, ...]) -> str | None:
        """Return why a kernel that gets addresses cannot take the run's tensors, or None; `sources` are its types."""
        trained = {"w_enc": self.w_enc, "w_dec": self.w_dec}
        trained |= {f"the state of {name}": t for name, tensors in self.state.items() for t in tensors}
        kinds = sorted({_name(tensor.dtype) for tensor in trained.values()})
        if kinds != ["float32"]:
            return f"it trains float32 weights with float32 state, not {', '.join(kinds)}; convert them or use eager"
        source = self.crops.source
        if source.dtype not in sources:
            accepted = " or ".join(map(_name, sources))
            return f"it takes recordings in {accepted}, not {_name(source.dtype)}; convert them or use eager"
        read = {"the source": source, "mean": self.mean, "std": self.std, "foreground": self.foreground}
        for name, tensor in (trained | read).items():
            if tensor.device != self.w_enc.device:
                return f"{name} is on {tensor.device} and w_enc on {self.w_enc.device}; move them to one device"
            if not tensor.is_contiguous():
                return f"{name} is not contiguous in memory; copy it with .contiguous() or use eager"
            if tensor.data_ptr() % ALIGNMENT:
                return f"{name} does not start at a multiple of {ALIGNMENT} bytes; copy it with .clone() or use eager"
        return None

    def copy(self) -> "TrainingRun":
        """Return the run with copies of weights and state."""
        state = {name: tuple(t.clone() for t in tensors) for name, tensors in self.state.items()}
        return replace(self, w_enc=self.w_enc.clone(), w_dec=self.w_dec.clone(), state=state)

    def assign(self, other: "TrainingRun") -> None:
        """Copy the weights and state of another run into this one's tensors."""
        for name in ("w_enc", "w_dec"):
            getattr(self, name).copy_(getattr(other, name))
            for own, tensor in zip(self.state[name], other.state[name], strict=True):
                own.copy_(tensor)


def fresh_state(w_enc: Tensor, w_dec: Tensor, optimizer: str) -> dict[str, tuple[Tensor, ...]]:
    """Return the optimizer's state before the first step: zeros."""
    count = len(RULES[optimizer].state)
    weights = {"w_enc": w_enc, "w_dec": w_dec}
    return {n: tuple(w.new_zeros(w.shape) for _ in range(count)) for n, w in weights.items()}
