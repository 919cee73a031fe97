"""The adaptive denoising autoencoder (Kim & Smaragdis 2015): both losses, their gradients, and a step of adaptation.

Two networks of dense layers with the activation of equation 6 after each, the last too: the bottom one makes clean
magnitudes of a mixture's, the top one reproduces clean magnitudes.

    training      E = |bottom(X) - S|^2 + |top(S) - S|^2         X a mixture, S its clean signal; all sums, no means
    adaptation    E = |Y - U|^2,  Y = bottom(X),  U = top(Y)     equation 5; the bottom network's weights alone change

U is a function of Y. Its Jacobian J appears in the gradient, unless U is held as if it were a target that was given:

    dE/dY = 2 (Y - U) - J^T 2 (Y - U)     through
    dE/dY = 2 (Y - U)                     held

A network is a list of (weight (I, O), bias (O,)). Hidden layers may have dropout, drawn as `dense` says, layer by layer
from number `first` on.
"""

import numpy as np

from .dense import dense, dense_backward

Array = np.ndarray
Network = list[tuple[Array, Array]]

ACTIVATION = "mrelu"


def _settings(network: Network, layer: int, dropout: float, seed: int, step: int, first: int) -> tuple:
    rate = dropout if layer < len(network) - 1 else 0.0
    return ACTIVATION, rate, seed, step, first + layer


def forward(
    network: Network, x: Array, dropout: float = 0.0, seed: int = 0, step: int = 0, first: int = 0
) -> list[Array]:
    """x (B, I) and what each layer makes of it; the last is the network's output."""
    values = [x]
    for layer, (weight, bias) in enumerate(network):
        values.append(dense(values[-1], weight, bias, *_settings(network, layer, dropout, seed, step, first)))
    return values


def backward(
    network: Network,
    values: list[Array],
    grad_output: Array,
    dropout: float = 0.0,
    seed: int = 0,
    step: int = 0,
    first: int = 0,
) -> tuple[Array, Network]:
    """The gradients of x and of the network, from `values` as `forward` gives them."""
    gradients = []
    for layer in reversed(range(len(network))):
        settings = _settings(network, layer, dropout, seed, step, first)
        grad_output, *of_layer = dense_backward(grad_output, values[layer], *network[layer], *settings)
        gradients.append(tuple(of_layer))
    return grad_output, gradients[::-1]


def training_loss(
    bottom: Network, top: Network, mixture: Array, clean: Array, dropout: float = 0.0, seed: int = 0, step: int = 0
) -> tuple[float, Network, Network]:
    """Both networks' summed squared error, and their gradients; mixture and clean (B, I)."""
    loss, gradients = 0.0, []
    for network, x, first in ((bottom, mixture, 0), (top, clean, len(bottom))):
        values = forward(network, x, dropout, seed, step, first)
        error = values[-1] - clean
        loss += np.sum(error**2)
        gradients.append(backward(network, values, 2 * error, dropout, seed, step, first)[1])
    return loss, *gradients


def purity_error(bottom: Network, top: Network, mixture: Array, held: bool = False) -> tuple[float, float, Network]:
    """|Y - U|^2, |Y|^2 and the gradient of the first with respect to the bottom network (equation 5).

    held: whether U counts as given.
    """
    values = forward(bottom, mixture)
    y = values[-1]
    checked = forward(top, y)
    error = y - checked[-1]
    grad_y = 2 * error
    if not held:
        grad_y = grad_y - backward(top, checked, 2 * error)[0]
    return np.sum(error**2), np.sum(y**2), backward(bottom, values, grad_y)[1]


def adaptation_step(
    bottom: Network,
    top: Network,
    mixture: Array,
    velocity: Network | None,
    held: bool = False,
    learning_rate: float = 1e-6,
    momentum: float = 0.95,
    clip: float = 1.0,
) -> tuple[float, Network, Network]:
    """One step of SGD with momentum on the purity error, weights held in [-clip, clip].

    Returns the error before the step over |Y|^2, the bottom network after it, and the velocity; None is the velocity
    before the first step.
    """
    error, power, gradient = purity_error(bottom, top, mixture, held)
    before = velocity or [(np.zeros_like(w), np.zeros_like(b)) for w, b in bottom]
    stepped, kept = [], []
    for layer, v, g in zip(bottom, before, gradient, strict=True):
        v_w, v_b = (momentum * part + of_part for part, of_part in zip(v, g, strict=True))
        kept.append((v_w, v_b))
        stepped.append(tuple(np.clip(p - learning_rate * v, -clip, clip) for p, v in zip(layer, kept[-1], strict=True)))
    return error / power, stepped, kept
