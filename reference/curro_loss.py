"""The loss of the Curro autoencoder (Lusterman 2016, equation 40).

    loss = mean_b sum_h ((1 - y[b]) signal[b, h] + noise[b, h] - target[b, h])^2

signal and noise are the outputs of one shared decoder for the two halves of the latents; y (`noise_only`) is 1 for a
noise-only item. (Equations 41 and 42 print the estimate of the target in place of that of the noise.)
"""

import numpy as np

Array = np.ndarray


def curro_loss(signal: Array, noise: Array, target: Array, noise_only: Array) -> tuple[float, Array, Array]:
    """Return the loss and its gradients with respect to signal and noise, both (B, H)."""
    share = 1.0 - np.asarray(noise_only, dtype=np.float64)[:, None]
    error = share * signal + noise - target
    grad_noise = 2.0 * error / len(error)
    return float(np.sum(error**2) / len(error)), share * grad_noise, grad_noise
