"""The adaptive denoising autoencoder (Kim & Smaragdis 2015): both losses, their gradients, and a step of adaptation.

Two networks of dense layers, each layer followed by the activation of equation 6, including the last. The bottom
network maps the magnitudes of a mixture to clean magnitudes; the top network reproduces clean magnitudes.

    training      E = |bottom(X) - S|^2 / 2 + |top(S) - S|^2 / 2   equations 2 and 4; X a mixture, S its clean signal
    adaptation    E = |Y - U|^2,  Y = bottom(X),  U = top(Y)       equation 5; only the bottom network's weights change

All are sums over bins and frames, not means.

U is a function of Y. Its Jacobian J appears in the gradient unless U is held constant, as a target:

    dE/dY = 2 (Y - U) - J^T 2 (Y - U)     through
    dE/dY = 2 (Y - U)                     held

A network is a list of (weight (I, O), bias (O,)). Hidden layers may have dropout as in `dense`, with layer numbers from
`first` on.
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
    """Return x (B, I) and the output of each layer."""
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
    """Return the gradients of x and of the network, from the `values` that `forward` returned."""
    gradients = []
    for layer in reversed(range(len(network))):
        settings = _settings(network, layer, dropout, seed, step, first)
        grad_output, *of_layer = dense_backward(grad_output, values[layer], *network[layer], *settings)
        gradients.append(tuple(of_layer))
    return grad_output, gradients[::-1]


def training_loss(
    bottom: Network, top: Network, mixture: Array, clean: Array, dropout: float = 0.0, seed: int = 0, step: int = 0
) -> tuple[float, Network, Network]:
    """Return half the summed squared error of both networks and its gradients; mixture and clean are (B, I)."""
    loss, gradients = 0.0, []
    for network, x, first in ((bottom, mixture, 0), (top, clean, len(bottom))):
        values = forward(network, x, dropout, seed, step, first)
        error = values[-1] - clean
        loss += np.sum(error**2) / 2
        gradients.append(backward(network, values, error, dropout, seed, step, first)[1])
    return loss, *gradients


def purity_error(bottom: Network, top: Network, mixture: Array, held: bool = False) -> tuple[float, float, Network]:
    """Return |Y - U|^2, |Y|^2, and the gradient of the first with respect to the bottom network (equation 5).

    held: whether U is held constant.
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
    """Take a step of SGD with momentum on the purity error, with weights clipped to [-clip, clip].

    Returns the error before the step divided by |Y|^2, the bottom network after it, and the velocity, which is None
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
