"""encode: forward; forward and backward to w_enc (x is data in training)."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.kernels.encode import eager

from . import peers
from .common import ByChoice, Check, Contest, Wrong, check_positions, deviation, misplacement
from .shapes import dense, inputs, latents, sparse_flop
from .timing import Work


def contests(shape: dict[str, int], device: str, backends: list[str]) -> list[Contest]:
    t = inputs(shape, device)
    pool = shape["P"]
    fixed = {"mean": t.mean, "std": t.std}
    forward = dense(shape)
    live = int((pf.encode(t.x, t.w_enc, pool, t.mean, t.std)[0] > 0).sum())
    gradient = sparse_flop(shape, 1, live)
    ours = {name: lambda x, w, name=name: pf.encode(x, w, pool, t.mean, t.std, backend=name) for name in backends}
    others = {
        name: lambda x, w, f=f: f(x, w, pool, t.mean, t.std) for name, f in peers.compiled(peers.encode, device).items()
    }
    leaf = t.w_enc.clone().requires_grad_()
    return [
        Contest(
            "encode",
            {"x": t.x, "w_enc": t.w_enc, **fixed},
            ours={name: lambda f=f: f(t.x, t.w_enc) for name, f in ours.items()},
            peers={name: lambda f=f: f(t.x, t.w_enc) for name, f in others.items()},
            work=forward,
            truth=lambda copies: _check(copies, shape),
            backward=False,
            of_peer=_with_32_bits,
        ),
        Contest(
            "encode forward+backward",
            {"x": t.x, "w_enc": leaf, **fixed, "grad_values": t.grad_values},
            ours={name: _with_gradient(f, t.x, leaf, t.grad_values) for name, f in ours.items()},
            peers={name: _with_gradient(f, t.x, leaf, t.grad_values) for name, f in others.items()},
            # The gradients of values and of w_enc pass through memory besides.
            work=Work(forward.flop + gradient, forward.bytes + 4.0 * (latents(shape) + leaf.numel())),
            truth=lambda copies: _check(copies, shape),
            of_peer=_with_32_bits,
        ),
    ]


def _with_32_bits(outputs):
    """What a peer returns, positions in the type that ours have."""
    values, positions, *gradients = outputs
    return [values, positions.int(), *gradients]


def _with_gradient(
    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, leaf: Tensor, grad_values: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        values, positions = forward(x, leaf)
        return values, positions, *torch.autograd.grad(values, leaf, grad_values)

    return call


def _check(t: SimpleNamespace, shape: dict[str, int]) -> Check:
    """Values, the activations at the positions, and the gradient of w_enc at those positions."""
    frames, pool = shape["N"], shape["P"]
    normal = eager.normalised(t.x, t.mean, t.std, shape["M"])
    activations = F.conv1d(normal, eager.filters(t.w_enc)).relu().transpose(1, 2)  # (B, N, K)
    best, _ = eager.encode(t.x, t.w_enc, pool, t.mean, t.std)
    first = torch.arange(best.shape[1], device=best.device)[:, None] * pool
    terms = shape["M"] * shape["H"]

    def gradient(alive: Tensor, positions: Tensor) -> Tensor:
        chosen = alive.double(), positions, pool, t.mean, t.std
        _, grad_w = eager.encode_backward(t.grad_values, t.x, t.w_enc, *chosen, False, True)
        assert grad_w is not None
        return grad_w

    truth_of = ByChoice(gradient)

    def check(outputs):
        values, positions, *gradients = outputs
        yield deviation("values", values, best, terms)
        check_positions(positions, best.shape)
        if ((positions < first) | (positions >= (first + pool).clamp(max=frames))).any():
            raise Wrong("positions lie outside of their windows")
        yield misplacement(activations.gather(1, positions.long()), best, terms)
        for found in gradients:  # of w_enc; a library sums it over all frames
            yield deviation("gradient of w_enc", found, truth_of(values > 0, positions), shape["B"] * frames)

    return check
