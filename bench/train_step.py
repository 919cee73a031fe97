"""A whole training step composed of the ops: loss, gradients, AdaDelta (rho 0.95) on both."""

from functools import partial
from typing import Any

import torch

import partae_fast as pf
from partae_fast.training.optimisers import Adadelta

from . import peers
from .common import GATE_BEHIND_ARGMAX, Contest
from .shapes import dense, inputs, sparse
from .timing import Work

PENALTY = 0.75
CHECKED = 10  # steps that every version takes from the same weights, and whose losses must agree


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    t = inputs(shape, device)
    ours = {b: lambda *a, b=b: pf.partitioned_loss(*a, backend=b) for b in backends}
    steps = {name: _Stepper(f, t, shape["P"], Adadelta) for name, f in ours.items()}
    for name, f in peers.compiled(peers.model_loss, device).items():
        for foreach in (False, True):
            label = f"{name}, {'foreach' if foreach else 'plain'} AdaDelta"
            steps[label] = _Stepper(f, t, shape["P"], partial(torch.optim.Adadelta, rho=0.95, foreach=foreach))
    forward, backward = dense(shape), sparse(shape, 4, reads=3)
    return [
        Contest(
            "train step",
            ours={name: step for name, step in steps.items() if name in ours},
            peers={name: step for name, step in steps.items() if name not in ours},
            work=Work(forward.flop + backward.flop, forward.bytes + backward.bytes),
            difference=lambda step, truth: step.distance(truth),
            prepare=lambda step: step,
            gate=GATE_BEHIND_ARGMAX,
        )
    ]


class _Stepper:
    """Weights, an optimiser and a loss; a call takes one step."""

    def __init__(self, loss, t, pool: int, optimiser) -> None:
        self.loss, self.t, self.pool = loss, t, pool
        self.w_enc, self.w_dec = (w.clone().requires_grad_() for w in (t.w_enc, t.w_dec))
        self.optimiser = optimiser([self.w_enc, self.w_dec])
        self.first_losses = [float(self()) for _ in range(CHECKED)]

    def __call__(self) -> torch.Tensor:
        t = self.t
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(t.x, t.mean, t.std, self.w_enc, self.w_dec, t.noise_only, t.foreground, PENALTY, self.pool)
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def distance(self, other: "_Stepper") -> float:
        """The largest relative difference of the first losses."""
        return max(abs(a - b) / abs(b) for a, b in zip(self.first_losses, other.first_losses, strict=True))
