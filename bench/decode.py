"""decode: forward; forward and backward to values and w_dec."""

from typing import Any

import torch

import partae_fast as pf

from . import peers
from .common import Contest, relative
from .shapes import inputs, sparse


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    t = inputs(shape, device)
    frames = shape["N"]
    values, positions = pf.encode(t.x, t.w_enc, shape["P"], t.mean, t.std)
    index = positions.long()
    return [
        Contest(
            "decode",
            ours={b: lambda b=b: pf.decode(values, positions, t.w_dec, frames, backend=b) for b in backends},
            candidate=candidate and (lambda: candidate(values, positions, t.w_dec, frames)),
            peers={
                name: lambda f=f: f(values, index, t.w_dec, frames)
                for name, f in peers.compiled(peers.decode, device).items()
            },
            work=sparse(shape, 1),
            difference=relative,
        ),
        Contest(
            "decode forward+backward",
            ours={
                b: _with_gradients(
                    lambda v, w, b=b: pf.decode(v, positions, w, frames, backend=b), values, t.w_dec, t.grad_r
                )
                for b in backends
            },
            peers={
                name: _with_gradients(lambda v, w, f=f: f(v, index, w, frames), values, t.w_dec, t.grad_r)
                for name, f in peers.compiled(peers.decode, device).items()
            },
            work=sparse(shape, 3, reads=2),
            difference=relative,
        ),
    ]


def _with_gradients(forward, values: torch.Tensor, w_dec: torch.Tensor, grad_r: torch.Tensor):
    leaves = values.clone().requires_grad_(), w_dec.clone().requires_grad_()

    def call() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(forward(*leaves), leaves, grad_r)

    return call
