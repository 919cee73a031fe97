"""What `train_steps` is given: where a step's items come from, and the model that learns from them."""

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from ..shapes import window_count
from .optimizer import RULES


@dataclass(frozen=True)
class Crops:
    """Recordings that stay resident, and how the items of a step are drawn from them.

    source          (T, H), every recording once, laid end to end: magnitudes; float32, or bfloat16 where a back-end
                    takes it
    starts_before   (R,) int64, crops in all recordings before recording r, groups numbered through
    shift           (R,) int64, what turns the number of a crop of recording r into its first row in `source`
    group_first     (G,) int64, crops in all groups before group g: signal groups, then noise, then corruption groups
    group_starts    (G,) int64, crops in group g, below 2**32
    signal_groups   how many of the groups are signal
    frames, batch   N and B
    noise_items     items 0 .. noise_items - 1 of a batch are noise-only
    seed            0 to 2**64 - 1
    corruption_groups  how many of the groups are corruption
    target          (T, H), what is to come out of each row of `source`, of its type; None: every row itself

    A noise-only item has one crop of each noise group, any other one of each signal group: the sum of those rows of
    `target` is its target. Its input x is the sum of those rows of `source` and one crop of each corruption group. The
    crop of group g in item b of step s has the number c = group_first[g] + ((word * group_starts[g]) >> 32), where word
    is the first of Philox-4x32-10 with key (seed's low word, high word) and counter (s, b, g, 0); with r the last
    recording that has starts_before[r] <= c, its rows are [c + shift[r] :][:frames]. Groups of an item are added in
    order.
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

    w_enc (M, H, K) and w_dec (M, K, H), contiguous, and the tensors of `state` are changed by a step, in place:
    `state["w_enc"]` and `state["w_dec"]` hold what RULES[optimizer].state names, in that order, each of its weight's
    shape. mean, std (H,) normalise the encoder's input; foreground (K,) is 1 where a latent is for signal. `options`
    are the optimizer's, all of RULES[optimizer].options. `negative_slope`, in [0, 1), is the slope of the encoder's
    rectifier below 0; with `rectified_output` the reconstruction is max(decode, 0).
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
        """What an active foreground latent of a noise-only item costs, as a factor of its square: penalty / mean(C)."""
        share = float(self.foreground.double().mean())
        return self.penalty / share if share > 0 else 0.0

    def copy(self) -> "TrainingRun":
        """The same run with weights and state of its own."""
        state = {name: tuple(t.clone() for t in tensors) for name, tensors in self.state.items()}
        return replace(self, w_enc=self.w_enc.clone(), w_dec=self.w_dec.clone(), state=state)


def fresh_state(w_enc: Tensor, w_dec: Tensor, optimizer: str) -> dict[str, tuple[Tensor, ...]]:
    """The optimizer's state before the first step: zeros."""
    count = len(RULES[optimizer].state)
    weights = {"w_enc": w_enc, "w_dec": w_dec}
    return {n: tuple(w.new_zeros(w.shape) for _ in range(count)) for n, w in weights.items()}
