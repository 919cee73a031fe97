"""train_steps in plain PyTorch, on any device: the eager passes of the other ops, one after the other."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .._eager.common import upcast
from ..decode.eager import decode, decode_backward
from ..encode.eager import encode, encode_backward
from ..partitioned_loss.eager import partitioned_loss
from ..philox import first_word
from .training_run import Crops, TrainingRun


def refusal(runs: Sequence[TrainingRun]) -> str | None:
    return None


def first_rows(crops: Crops, step: int) -> np.ndarray:
    """Return the rows of the source (B, G) at which every item's crop of each group would start."""
    items, groups = np.arange(crops.batch, dtype=np.uint64), np.arange(len(crops.group_first), dtype=np.uint64)
    words = first_word(crops.seed, np.uint64(step), items[:, None], groups[None, :])
    within = (words * crops.group_starts.astype(np.uint64)) >> np.uint64(32)
    numbers = crops.group_first + within.astype(np.int64)
    return numbers + crops.shift[np.searchsorted(crops.starts_before, numbers, side="right") - 1]


def batch_at(crops: Crops, step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return x (B, N, H), its target and noise_only (B,) of a step."""

    def mixture(recordings: Tensor, starts: list[int]) -> Tensor:
        first, *others = [recordings[s : s + crops.frames].to(dtype) for s in starts]
        return sum(others, first)

    target_source = crops.source if crops.target is None else crops.target
    signal, first_corruption = crops.signal_groups, crops.signal_groups + crops.noise_groups
    x, target = [], []
    for item, starts in enumerate(first_rows(crops, step).tolist()):
        own = starts[signal:first_corruption] if item < crops.noise_items else starts[:signal]
        x.append(mixture(crops.source, own + starts[first_corruption:]))
        target.append(x[-1] if crops.target_is_input else mixture(target_source, own))
    noise_only = torch.arange(crops.batch, device=crops.source.device) < crops.noise_items
    return torch.stack(x), torch.stack(target), noise_only.to(dtype)


def train_steps(runs: Sequence[TrainingRun], first: int, steps: int) -> Tensor:
    losses = torch.empty(len(runs), steps, dtype=torch.float64, device=runs[0].w_enc.device)
    for run, row in zip(runs, losses, strict=True):
        for i in range(steps):
            row[i] = _step(run, first + i)
    return losses


def _step(run: TrainingRun, step: int) -> Tensor:
    x, target, noise_only = batch_at(run.crops, step, run.w_enc.dtype)
    values, positions = encode(x, run.w_enc, run.pool, run.mean, run.std, run.negative_slope)
    decoded = decode(values, positions, run.w_dec, x.shape[1])
    r = decoded.relu() if run.rectified_output else decoded
    loss, grad_r, grad_penalty = partitioned_loss(r, target, values, noise_only, run.foreground, run.penalty)
    if run.rectified_output:
        grad_r = grad_r.where(decoded > 0, 0.0)
    grad_values, grad_dec = decode_backward(grad_r, values, positions, run.w_dec, True, True)
    grad_values += grad_penalty
    _, grad_enc = encode_backward(
        grad_values, x, run.w_enc, values, positions, run.pool, run.mean, run.std, False, True, run.negative_slope
    )
    update = _UPDATES[run.optimizer]
    update(run.w_enc, grad_enc, run.state["w_enc"], step, run.options)
    update(run.w_dec, grad_dec, run.state["w_dec"], step, run.options)
    return loss.double()


def _adadelta(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    square, delta = state
    rho, epsilon = options["rho"], options["epsilon"]
    w, g, s, d = upcast(weight, gradient, square, delta)
    g = g + options["weight_decay"] * w
    s = rho * s + (1 - rho) * g**2
    change = (d + epsilon).sqrt() / (s + epsilon).sqrt() * g
    square.copy_(s)
    delta.copy_(rho * d + (1 - rho) * change**2)
    weight.copy_(w - options["learning_rate"] * change)


def _adam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    mean, square = state
    beta1, beta2 = options["beta1"], options["beta2"]
    w, g, m, s = upcast(weight, gradient, mean, square)
    g = g + options["weight_decay"] * w
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g**2
    mean.copy_(m)
    square.copy_(s)
    scale = (s / (1 - beta2 ** (step + 1))).sqrt() + options["epsilon"]
    weight.copy_(w - options["learning_rate"] / (1 - beta1 ** (step + 1)) * m / scale)


def _sgd(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    (velocity,) = state
    w, g, v = upcast(weight, gradient, velocity)
    v = options["momentum"] * v + (g + options["weight_decay"] * w)
    velocity.copy_(v)
    weight.copy_(w - options["learning_rate"] * v)


def _nesterov(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    (velocity,) = state
    momentum = options["momentum"]
    w, g, v = upcast(weight, gradient, velocity)
    g = g + options["weight_decay"] * w
    v = momentum * v + g
    velocity.copy_(v)
    weight.copy_(w - options["learning_rate"] * (g + momentum * v))


_UPDATES: dict[str, Callable[..., None]] = {"adadelta": _adadelta, "adam": _adam, "sgd": _sgd, "nesterov": _nesterov}
