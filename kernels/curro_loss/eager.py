"""curro_loss in plain PyTorch, on any device."""

from torch import Tensor

from .._eager.common import in_unit, upcast


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s, n, t, y = upcast(signal, noise, target, noise_only)
    share = (1 - in_unit(y))[:, None]
    error = share * s + n - t
    grad_noise = error * (2.0 / len(s))
    grad_signal = (share * grad_noise).to(signal.dtype).contiguous()
    return (error**2).sum() / len(s), grad_signal, grad_noise.to(noise.dtype).contiguous()
