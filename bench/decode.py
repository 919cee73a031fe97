"""decode: forward; forward and backward to values and w_dec."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.kernels.decode import eager

from . import peers
from .common import Check, Contest, deviation, gradients
from .shapes import inputs, latents, sparse_flop
from .timing import Work


def contests(shape: dict[str, int], device: str, backends: list[str]) -> list[Contest]:
    t = inputs(shape, device)
    frames = shape["N"]
    values, positions = pf.encode(t.x, t.w_enc, shape["P"], t.mean, t.std)
    index = positions.long()
    live = int((values > 0).sum())
    moved = t.x.numel() + t.w_dec.numel() + 2 * latents(shape)
    ours = {name: lambda v, w, name=name: pf.decode(v, positions, w, frames, backend=name) for name in backends}
    theirs = peers.compiled(peers.decode, device)
    others = {name: lambda v, w, f=f: f(v, index, w, frames) for name, f in theirs.items()}
    leaves = values.clone().requires_grad_(), t.w_dec.clone().requires_grad_()
    fixed = {"positions": positions, "index": index}
    return [
        Contest(
            "decode",
            {"values": values, "w_dec": t.w_dec, **fixed},
            ours={name: lambda f=f: (f(values, t.w_dec),) for name, f in ours.items()},
            peers={name: lambda f=f: (f(values, t.w_dec),) for name, f in others.items()},
            work=Work(sparse_flop(shape, 1, live), 4.0 * moved),
            truth=lambda copies: _check(copies, shape),
            backward=False,
        ),
        Contest(
            "decode forward+backward",
            {"values": leaves[0], "w_dec": leaves[1], **fixed, "grad_r": t.grad_r},
            ours={name: _with_gradients(f, leaves, t.grad_r) for name, f in ours.items()},
            peers={name: _with_gradients(f, leaves, t.grad_r) for name, f in others.items()},
            # The gradient of a value is needed where the value is 0, that of w_dec not.
            work=Work(
                sparse_flop(shape, 2, live) + sparse_flop(shape, 1),
                4.0 * (moved + t.x.numel() + t.w_dec.numel() + latents(shape)),
            ),
            truth=lambda copies: _check(copies, shape),
        ),
    ]


def _with_gradients(
    forward: Callable[..., Tensor], leaves: tuple[Tensor, Tensor], grad_r: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        reconstruction = forward(*leaves)
        return reconstruction, *torch.autograd.grad(reconstruction, leaves, grad_r)

    return call


def _check(t: SimpleNamespace, shape: dict[str, int]) -> Check:
    reconstruction = eager.decode(t.values, t.positions, t.w_dec, shape["N"])
    grads = eager.decode_backward(t.grad_r, t.values, t.positions, t.w_dec, True, True) if "grad_r" in vars(t) else ()

    def check(outputs):
        yield deviation("the reconstruction", outputs[0], reconstruction, shape["M"] * shape["K"])
        yield from gradients(("values", "w_dec")[: len(grads)], outputs[1:], grads, shape["B"] * shape["N"])

    return check
