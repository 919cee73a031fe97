"""The loss of the partitioned autoencoder (Stowell & Turner 2015, section 3): squared error plus a masked penalty.

    loss[b] = sum_n,h (target - r)^2  +  penalty * y[b] / mean(C) * sum_p,k (C[k] values[p, k])^2
    loss    = mean_b loss[b]

y (`noise_only`) is 1 for a noise-only item, C (`foreground`) is 1 for a latent of the signal, and mean(C) is over the K
latents. Without a foreground latent the penalty term is 0. The target is the input x, or for a denoising autoencoder
(the paper's baseline, section 4), whose penalty is 0, x before its corruption.
"""

import numpy as np

from .decode import decode, decode_backward
from .encode import Array, encode, encode_backward, values_at


def penalty_weights(noise_only: Array, foreground: Array, penalty: float) -> Array:
    """Return penalty * y / mean(C) * C^2, the factor of each squared latent: (B, K)."""
    noise_only = np.asarray(noise_only, dtype=np.float64)
    foreground = np.asarray(foreground, dtype=np.float64)
    share = foreground.mean()
    return penalty * noise_only[:, None] * foreground**2 / (share if share > 0 else 1.0)


def partitioned_loss(
    reconstruction: Array,
    target: Array,
    values: Array,
    noise_only: Array,
    foreground: Array,
    penalty: float,
) -> tuple[float, Array, Array]:
    """Return the loss and its gradients with respect to reconstruction (B, N, H) and values (B, ceil(N/P), K)."""
    batch = reconstruction.shape[0]
    error = np.asarray(reconstruction, dtype=np.float64) - target
    values = np.asarray(values, dtype=np.float64)
    weight = penalty_weights(noise_only, foreground, penalty)[:, None, :]
    loss = (np.sum(error**2) + np.sum(weight * values**2)) / batch
    return loss, 2.0 * error / batch, 2.0 * weight * values / batch


def model_loss(
    x: Array,
    mean: Array | None,
    std: Array | None,
    w_enc: Array,
    w_dec: Array,
    noise_only: Array,
    foreground: Array,
    penalty: float,
    pool: int,
    target: Array | None = None,
    positions: Array | None = None,
    negative_slope: float = 0.0,
    rectified_output: bool = False,
) -> tuple[float, dict[str, Array]]:
    """Return the loss of the whole model, and its gradients by name: x, w_enc, w_dec.

    The gradient of x is the encoder's and, if the target is x, the target's. `positions` overrides the argmax, to
    compare with a float32 implementation that took another frame of a near-tie. With `rectified_output` r is
    max(decoded, 0), and has no gradient where it is 0.
    """
    values, argmax = encode(x, w_enc, pool, mean, std, negative_slope)
    if positions is None:
        positions = argmax
    else:
        values = values_at(x, w_enc, positions, mean, std, negative_slope)
    decoded = decode(values, positions, w_dec, np.shape(x)[1])
    r = np.maximum(decoded, 0.0) if rectified_output else decoded
    loss, grad_r, grad_penalty = partitioned_loss(
        r, x if target is None else target, values, noise_only, foreground, penalty
    )
    grad_decoded = np.where(decoded <= 0, 0.0, grad_r) if rectified_output else grad_r
    grad_values, grad_w_dec = decode_backward(grad_decoded, values, positions, w_dec)
    grad_values += grad_penalty
    grad_x, grad_w_enc = encode_backward(grad_values, x, w_enc, values, positions, pool, mean, std, negative_slope)
    if target is None:
        grad_x = grad_x - grad_r
    return loss, {"x": grad_x, "w_enc": grad_w_enc, "w_dec": grad_w_dec}
