"""partitioned_loss: the value and its gradients to reconstruction and values."""

from typing import Any

import torch

import partae_fast as pf

from . import peers
from .common import Contest, relative
from .shapes import inputs, latents
from .timing import Work

PENALTY = 0.75


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    t = inputs(shape, device)
    values, _ = pf.encode(t.x, t.w_enc, shape["P"], t.mean, t.std)
    r, v = t.grad_r.clone().requires_grad_(), values.clone().requires_grad_()
    fixed = t.noise_only, t.foreground, PENALTY

    def ours(backend: str):
        def call() -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(torch.ops.partae.partitioned_loss(r, t.x, v, *fixed, backend)[0], (r, v))

        return call

    def theirs(function):
        return lambda: torch.autograd.grad(function(r, t.x, v, *fixed), (r, v))

    elements = r.numel()
    return [
        Contest(
            "partitioned_loss",
            ours={b: ours(b) for b in backends},
            candidate=candidate and (lambda: candidate(r.detach(), t.x, values, *fixed)[1:]),
            peers={name: theirs(f) for name, f in peers.compiled(peers.loss, device).items()},
            work=Work(4.0 * elements + 4.0 * latents(shape), 4.0 * (3 * elements + 2 * latents(shape))),
            difference=relative,
        )
    ]
