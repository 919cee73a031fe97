"""Penalties of training losses, whose gradients take few passes over memory: autograd would store each square."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def weight_penalty(weights: Sequence[Tensor], l2: float, l1: float) -> Tensor:
    """Return l2 * sum w^2 + l1 * sum |w| over the matrices `weights`, a scalar; gradients reach the matrices."""
    return _WeightPenalty.apply(l2, l1, *weights)


def latent_penalty(latents: Tensor, first: int, items: Tensor) -> Tensor:
    """Return sum over items b and latents k >= first of items[b] * latents[b, k]^2, a scalar.

    Args:
        latents: (B, K); gradients reach them.
        first: of the penalised latents.
        items: (B,), the weight of each item, without a gradient.
    """
    return _LatentPenalty.apply(latents, first, items)


class _WeightPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, l2: float, l1: float, *weights: Tensor) -> Tensor:
        ctx.l2, ctx.l1 = l2, l1
        ctx.save_for_backward(*weights)
        parts = [l2 * torch.dot(w.reshape(-1), w.reshape(-1)) for w in weights if l2]
        parts += [l1 * torch.linalg.vector_norm(w, 1) for w in weights if l1]
        return torch.stack(parts).sum() if parts else weights[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None, *(w.sgn().mul_(ctx.l1 * grad).addcmul_(w, 2 * ctx.l2 * grad) for w in ctx.saved_tensors)


class _LatentPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latents: Tensor, first: int, items: Tensor) -> Tensor:
        ctx.first = first
        ctx.save_for_backward(latents, items)
        return items @ torch.linalg.vector_norm(latents[:, first:], dim=1).square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        latents, items = ctx.saved_tensors
        gradient = torch.zeros_like(latents)
        torch.mul(latents[:, ctx.first :], (2 * grad * items)[:, None], out=gradient[:, ctx.first :])
        return gradient, None, None
