"""Whole training steps: draw, normalise, encode, pool, decode, loss, gradients, optimizer.

As in Stowell & Turner 2015: batches of signal-plus-noise and noise-only items, AdaDelta.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .optimizers import OPTIMIZERS, Array, State
from .partitioned_loss import model_loss
from .sampler import Group, batch_at, statistics, target_at


@dataclass(frozen=True)
class Setting:
    """Settings that no step changes."""

    foreground: Array  # (K,), 1 for a latent of the signal
    pool: int
    penalty: float = 0.75
    optimizer: str = "adadelta"
    options: dict[str, float] = field(default_factory=dict)  # of the optimizer
    negative_slope: float = 0.0
    rectified_output: bool = False


@dataclass(frozen=True)
class Learner:
    """The weights w_enc (M, H, K) and w_dec (M, K, H), and the state of the optimizer."""

    weights: dict[str, Array]
    state: dict[str, State | None] = field(default_factory=dict)


def train_step(
    learner: Learner,
    x: Array,
    noise_only: Array,
    mean: Array,
    std: Array,
    setting: Setting,
    step: int = 0,
    positions: Array | None = None,
    target: Array | None = None,
) -> tuple[Learner, float]:
    """Return the learner after step `number` on x (B, N, H), and the loss before it.

    `target` (B, N, H) is x if None. `positions` (B, ceil(N/P), K) replace the argmax, to follow an implementation
    through a near-tie.
    """
    w_enc, w_dec = learner.weights["w_enc"], learner.weights["w_dec"]
    loss, gradients = model_loss(
        x,
        mean,
        std,
        w_enc,
        w_dec,
        noise_only,
        setting.foreground,
        setting.penalty,
        setting.pool,
        target,
        positions,
        setting.negative_slope,
        setting.rectified_output,
    )
    rule = OPTIMIZERS[setting.optimizer]
    weights, state = {}, {}
    for name, weight in learner.weights.items():
        before = learner.state.get(name)
        weights[name], state[name] = rule(weight, gradients[name], before, step, **setting.options)
    return Learner(weights, state), loss


def train_steps(
    learner: Learner,
    signal: Sequence[Group],
    noise: Sequence[Group],
    setting: Setting,
    steps: int,
    frames: int = 512,
    batch: int = 16,
    noise_only: float = 0.25,
    seed: int = 0,
    first: int = 0,
    corruption: Sequence[list[Array]] = (),
) -> tuple[Learner, list[float]]:
    """Return the learner after the steps first .. first + steps - 1, and the loss of each."""
    mean, std = statistics(signal, frames, corruption)
    losses = []
    for number in range(first, first + steps):
        drawn = signal, noise, frames, batch, noise_only, seed, number
        x, y = batch_at(*drawn, corruption)
        learner, loss = train_step(learner, x, y, mean, std, setting, number, target=target_at(*drawn))
        losses.append(loss)
    return learner, losses


def beginner(weights: dict[str, Array]) -> Learner:
    """Return the learner before the first step."""
    return Learner({name: np.asarray(weight, dtype=np.float64) for name, weight in weights.items()})
