"""encode: forward; forward and backward to w_enc (x is data in training)."""

from typing import Any

import torch

import partae_fast as pf

from . import peers
from .common import GATE_BEHIND_ARGMAX, Contest, relative
from .shapes import dense, inputs, sparse
from .timing import Work


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    t = inputs(shape, device)
    pool = shape["P"]
    both = dense(shape)
    gradient = sparse(shape, 1)
    return [
        Contest(
            "encode",
            ours={b: lambda b=b: pf.encode(t.x, t.w_enc, pool, t.mean, t.std, backend=b)[0] for b in backends},
            candidate=candidate and (lambda: candidate(t.x, t.w_enc, pool, t.mean, t.std)[0]),
            peers={
                name: lambda f=f: f(t.x, t.w_enc, pool, t.mean, t.std)[0]
                for name, f in peers.compiled(peers.encode, device).items()
            },
            work=both,
            difference=relative,
        ),
        Contest(
            "encode forward+backward",
            ours={
                b: _with_gradient(lambda w, b=b: pf.encode(t.x, w, pool, t.mean, t.std, backend=b)[0], t.w_enc)
                for b in backends
            },
            peers={
                name: _with_gradient(lambda w, f=f: f(t.x, w, pool, t.mean, t.std)[0], t.w_enc)
                for name, f in peers.compiled(peers.encode, device).items()
            },
            work=Work(both.flop + gradient.flop, both.bytes + gradient.bytes),
            difference=relative,
            gate=GATE_BEHIND_ARGMAX,
        ),
    ]


def _with_gradient(forward, w_enc: torch.Tensor):
    """A call that returns the gradient of the sum of squared values, through a leaf of its own."""
    leaf = w_enc.clone().requires_grad_()

    def call() -> torch.Tensor:
        values = forward(leaf)
        (gradient,) = torch.autograd.grad(values, leaf, values.detach())
        return gradient

    return call
