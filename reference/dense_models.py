"""The dense models of Lusterman 2016: the loss of each on a batch of frames, and all gradients by hand.

A layer is z = x w + b, a = f(z) (`reference.dense`); with batch normalisation, z = x w, a = f(BN(z)).

    BN(z) = g (z - m) / s + o,   m = mean of z,  s = sqrt(variance of z + 1e-4),   over the items of the batch

(Ioffe & Szegedy 2015), whose derivative with n = (z - m) / s, for B items and d = dL/dBN,

    dL/dz = g / s (d - mean(d) - n mean(d n)),   dL/dg = sum(d n),   dL/do = sum(d)

Parameters have the names that they have in `partae_fast.models`, so that gradients are compared by name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .curro_loss import curro_loss
from .dense import ACTIVATIONS
from .optimizers import adam

Array = np.ndarray
Weights = dict[str, Array]

SMALLEST = 1e-4  # added to a variance


@dataclass
class Tape:
    """Steps of the backward pass that a forward pass records; each maps dL/d(out) to dL/d(in) and stores gradients."""

    steps: list[Callable[[Array], Array]]
    gradients: Weights

    def back(self, grad: Array) -> Array:
        for step in reversed(self.steps):
            grad = step(grad)
        return grad

    def note(self, name: str, gradient: Array) -> None:
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient


def batch_norm(tape: Tape, weights: Weights, name: str, z: Array) -> Array:
    """Return BN(z) with the statistics of the batch; its weights are NAME.gain and NAME.offset."""
    s = np.sqrt(z.var(axis=0) + SMALLEST)
    n = (z - z.mean(axis=0)) / s
    gain = weights[f"{name}.gain"]

    def back(d: Array) -> Array:
        tape.note(f"{name}.gain", (d * n).sum(axis=0))
        tape.note(f"{name}.offset", d.sum(axis=0))
        return gain / s * (d - d.mean(axis=0) - n * (d * n).mean(axis=0))

    tape.steps.append(back)
    return gain * n + weights[f"{name}.offset"]


def layer(tape: Tape, weights: Weights, name: str, x: Array, activation: str) -> Array:
    """Return a layer's output. Its weights are NAME.weight and NAME.bias, or NAME.normalise.gain and .offset."""
    w = weights[f"{name}.weight"]

    def product_back(d: Array) -> Array:
        tape.note(f"{name}.weight", x.T @ d)
        return d @ w.T

    def bias_back(d: Array) -> Array:
        tape.note(f"{name}.bias", d.sum(axis=0))
        return d

    tape.steps.append(product_back)
    z = x @ w
    if f"{name}.bias" in weights:
        tape.steps.append(bias_back)
        z = z + weights[f"{name}.bias"]
    else:
        z = batch_norm(tape, weights, f"{name}.normalise", z)
    function, derivative = ACTIVATIONS[activation]
    tape.steps.append(lambda d: d * derivative(z))
    return function(z)


def rectified(tape: Tape, z: Array) -> Array:
    """Return max(z, 0)."""
    tape.steps.append(lambda d: d * (z > 0))
    return np.maximum(z, 0.0)


def _at_input(tape: Tape, weights: Weights, x: Array) -> Array:
    return batch_norm(tape, weights, "normalise", x) if "normalise.gain" in weights else x


def dense_autoencoder(
    weights: Weights,
    x: Array,
    target: Array,
    activation: str = "mrelu",
    rectified_output: bool = False,
    l2: float = 0.0,
    l1: float = 0.0,
) -> tuple[float, Weights]:
    """Return the loss of the supervised model and its gradients, for x (B, inputs) and target (B, outputs).

    The loss is the mean over items and outputs of (output - target)^2, plus 2 (l2 sum w^2 + l1 sum |w|) over all
    weight matrices.
    """
    tape = Tape([], {})
    h = _at_input(tape, weights, x)
    names = sorted({name.rsplit(".", 1)[0] for name in weights if name.endswith(".weight")})
    for name in names:
        h = layer(tape, weights, name, h, "identity" if name == names[-1] else activation)
    h = rectified(tape, h) if rectified_output else h
    error = h - target
    tape.back(2 * error / error.size)
    loss = np.mean(error**2)
    for name in (f"{name}.weight" for name in names):
        w = weights[name]
        loss += 2 * (l2 * np.sum(w**2) + l1 * np.sum(np.abs(w)))
        tape.note(name, 2 * (2 * l2 * w + l1 * np.sign(w)))
    return float(loss), tape.gradients


def partitioned_autoencoder(
    weights: Weights,
    x: Array,
    noise_only: Array,
    background: int,
    penalty: float,
    rectified_output: bool = False,
    mean_over_items: bool = False,
    unpenalised: int = 0,
) -> tuple[float, Weights]:
    """Return the loss of the partitioned model (equation 34) and its gradients, for x (B, H); y = noise_only (B,).

    The loss is the mean over items of sum (output - x)^2 + penalty y / mean(C) sum (C latents)^2, where C is 1 for
    latents from number background + unpenalised on. With `mean_over_items`, mean(y C) over items and latents replaces
    mean(C).
    """
    tape = Tape([], {})
    z = layer(tape, weights, "encoder", _at_input(tape, weights, x), "mrelu")
    encoder = tape.steps
    tape.steps = []
    out = layer(tape, weights, "decoder", z, "identity")
    out = rectified(tape, out) if rectified_output else out
    mask = (np.arange(z.shape[1]) >= background + unpenalised).astype(float)
    mean = np.mean(np.outer(noise_only, mask)) if mean_over_items else np.mean(mask)
    scale = penalty / mean * noise_only[:, None] * mask if mean else np.zeros_like(z)
    error = out - x
    grad_z = tape.back(2 * error / len(x)) + 2 * scale * z / len(x)
    tape.steps = encoder
    tape.back(grad_z)
    return float((np.sum(error**2) + np.sum(scale * z**2)) / len(x)), tape.gradients


def curro_autoencoder(weights: Weights, x: Array, noise_only: Array) -> tuple[float, Weights]:
    """Return the loss of the Curro model (equation 40) divided by the number of bins, and its gradients; x (B, H)."""
    tape = Tape([], {})
    h = _at_input(tape, weights, x)
    for i in range(3):
        h = layer(tape, weights, f"encoder.{i}", h, "mrelu")
    half = h.shape[1] // 2
    tape.steps.append(lambda d: np.concatenate([d[: len(x)], d[len(x) :]], axis=1))
    h = np.concatenate([h[:, :half], h[:, half:]])
    for i in range(3):
        h = layer(tape, weights, f"decoder.{i}", h, "identity" if i == 2 else "mrelu")
    loss, grad_signal, grad_noise = curro_loss(h[: len(x)], h[len(x) :], x, noise_only)
    tape.back(np.concatenate([grad_signal, grad_noise]) / x.shape[1])
    return loss / x.shape[1], tape.gradients


def adam_step(weights: Weights, gradients: Weights) -> Weights:
    """Return the weights after the first step of Adam."""
    return {name: adam(weight, gradients[name], None, 0)[0] for name, weight in weights.items()}
