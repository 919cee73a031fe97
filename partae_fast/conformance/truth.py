"""Checks of the convolutional models' reference: against loops, finite differences and PyTorch's optimizers."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from ..reference import decode as rd
from ..reference import encode as re
from ..reference import partitioned_loss as rl
from ..reference.sampler import batch_at, statistics, target_at
from . import train_steps as steps
from .cases import TINY, Case, tensors
from .comparison import array

STEP = 1e-6


def tolerance(op_pass: str) -> float:
    """Return the tolerance of a pass: finite differences, which check gradients, are not exact."""
    return 1e-6 if op_pass.endswith(("_backward", "_loss")) else 1e-12


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of one pass of the reference, over the tiny cases."""
    for case in TINY:
        if case.kind in (
            "nan",
            "ties",
            "tiny",
            "huge",
        ):  # finite differences across a tie or a NaN are no gradient
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        arrays = {name: array(v) if isinstance(v, torch.Tensor) else v for name, v in vars(t).items()}
        for quantity, result, expected in _CHECKS[op_pass](case, arrays):
            size = np.linalg.norm(expected)
            yield case.name, quantity, float(np.linalg.norm(result - expected) / (size if size > 0 else 1.0))


def loops_encode(x, w_enc, pool, mean, std, negative_slope):
    """Return the values of encode by its formula, one number at a time."""
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    c = (taps - 1) // 2
    values = np.full((batch, -(-frames // pool), latents), -np.inf)
    for b, n, k in np.ndindex(batch, frames, latents):
        z = 0.0
        for m, h in np.ndindex(taps, bins):
            if 0 <= n + c - m < frames:
                xn = x[b, n + c - m, h] if mean is None else (x[b, n + c - m, h] - mean[h]) / std[h]
                z += w_enc[m, h, k] * xn
        values[b, n // pool, k] = max(values[b, n // pool, k], z)
    return np.where(values > 0, values, negative_slope * values)


def loops_decode(values, positions, w_dec, frames):
    """Return the reconstruction: each latent writes its filter around its position."""
    taps, _, bins = w_dec.shape
    r = np.zeros((len(values), frames, bins))
    for b, p, k in np.ndindex(*values.shape):
        for m in range(taps):
            n = positions[b, p, k] - taps // 2 + m
            if 0 <= n < frames:
                r[b, n] += w_dec[m, k] * values[b, p, k]
    return r


def differences(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Return the gradient of a function of one array by central differences."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[index] += STEP
        down[index] -= STEP
        gradient[index] = (function(up) - function(down)) / (2 * STEP)
    return gradient


def _encode(case: Case, a: dict):
    values, positions = re.encode(a["x"], a["w_enc"], case.pool, a["mean"], a["std"], case.negative_slope)
    yield "values", values, loops_encode(a["x"], a["w_enc"], case.pool, a["mean"], a["std"], case.negative_slope)
    yield "positions", re.values_at(a["x"], a["w_enc"], positions, a["mean"], a["std"], case.negative_slope), values


def _encode_backward(case: Case, a: dict):
    rest, g = (case.pool, a["mean"], a["std"], case.negative_slope), a["grad_values"]
    values, positions = re.encode(a["x"], a["w_enc"], *rest)
    grad_x, grad_w = re.encode_backward(g, a["x"], a["w_enc"], values, positions, *rest)
    yield "x", grad_x, differences(lambda x: np.sum(g * re.encode(x, a["w_enc"], *rest)[0]), a["x"])
    yield "w_enc", grad_w, differences(lambda w: np.sum(g * re.encode(a["x"], w, *rest)[0]), a["w_enc"])


def _decode(case: Case, a: dict):
    values, positions = re.encode(a["x"], a["w_enc"], case.pool, a["mean"], a["std"])
    reconstruction = rd.decode(values, positions, a["w_dec"], case.frames)
    yield "reconstruction", reconstruction, loops_decode(values, positions, a["w_dec"], case.frames)


def _decode_backward(case: Case, a: dict):
    values, positions = re.encode(a["x"], a["w_enc"], case.pool, a["mean"], a["std"])
    g, w, n = a["grad_reconstruction"], a["w_dec"], case.frames
    grad_values, grad_w = rd.decode_backward(g, values, positions, w)
    yield "values", grad_values, differences(lambda v: np.sum(g * rd.decode(v, positions, w, n)), values)
    yield "w_dec", grad_w, differences(lambda d: np.sum(g * rd.decode(values, positions, d, n)), w)


def _partitioned_loss(case: Case, a: dict):
    r, target, values = a["grad_reconstruction"], a["target"], np.abs(a["grad_values"])
    y, c, penalty = a["noise_only"], a["foreground"], a["penalty"]
    loss, grad_r, grad_v = rl.partitioned_loss(r, target, values, y, c, penalty)
    total = 0.0
    for b in range(case.batch):
        total += np.sum((target[b] - r[b]) ** 2)
        if c.any():
            total += penalty * y[b] / np.mean(c) * np.sum((c * values[b]) ** 2)
    yield "loss", np.array(loss), np.array(total / case.batch)
    yield "reconstruction", grad_r, differences(lambda v: rl.partitioned_loss(v, target, values, y, c, penalty)[0], r)
    yield "values", grad_v, differences(lambda v: rl.partitioned_loss(r, target, v, y, c, penalty)[0], values)


def _train_steps(case: Case, a: dict):
    """Yield errors against the same model with autograd and PyTorch's optimizers."""
    p, (learner, losses) = steps.problem(case), steps.truth(case)
    mean, std = (torch.tensor(v) for v in statistics(p.signal, case.frames, p.corruption))
    weights = {name: torch.nn.Parameter(torch.tensor(w).double()) for name, w in p.weights.items()}
    peer, peer_losses, taps = PEERS[p.optimizer](list(weights.values())), [], case.taps
    for step in range(steps.FIRST, steps.FIRST + steps.STEPS):
        draw = p.signal, p.noise, case.frames, case.batch, p.sampler.noise_only, p.sampler.seed, step
        x, y = (torch.tensor(array) for array in batch_at(*draw, p.corruption))
        target = torch.tensor(target_at(*draw))
        xn = F.pad(((x - mean) / std).transpose(1, 2), (taps // 2, taps - 1 - taps // 2))
        z = F.conv1d(xn, weights["w_enc"].flip(0).permute(2, 1, 0))
        activations = F.leaky_relu(z, case.negative_slope) if case.negative_slope else z.relu()
        values, positions = F.max_pool1d(activations, case.pool, ceil_mode=True, return_indices=True)
        u = torch.zeros_like(activations).scatter(2, positions, values)
        padded = F.pad(u, (taps - 1 - taps // 2, taps // 2))
        r = F.conv1d(padded, weights["w_dec"].flip(0).permute(2, 1, 0)).transpose(1, 2)
        r = r.relu() if case.rectified_output else r
        foreground = torch.tensor(p.foreground)
        active = ((foreground[:, None] * values) ** 2).sum((1, 2))
        share = foreground.mean() if foreground.any() else torch.tensor(1.0)
        loss = (((target - r) ** 2).sum((1, 2)) + 0.75 * y / share * active).mean()
        peer.zero_grad()
        loss.backward()
        if p.optimizer == "adam" and not peer_losses:  # PyTorch's Adam counts its own steps
            for weight in weights.values():
                state = {"step": torch.tensor(float(steps.FIRST)), "exp_avg": torch.zeros_like(weight)}
                peer.state[weight] = state | {"exp_avg_sq": torch.zeros_like(weight)}
        peer.step()
        peer_losses.append(loss.item())
    yield "losses, beside PyTorch's", np.array(losses), np.array(peer_losses)
    for name, weight in weights.items():
        yield f"{name}, beside PyTorch's", learner.weights[name], array(weight)


PEERS = {
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.05, rho=0.9, eps=0.3, weight_decay=0.4),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.7, weight_decay=2.0),
    "nesterov": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.8, weight_decay=3.0, nesterov=True),
}
_CHECKS = {
    "encode": _encode,
    "encode_backward": _encode_backward,
    "decode": _decode,
    "decode_backward": _decode_backward,
    "partitioned_loss": _partitioned_loss,
    "train_steps": _train_steps,
}
