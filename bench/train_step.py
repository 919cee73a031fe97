"""Whole training steps: crops, loss, gradients and AdaDelta (rho 0.95), beside the same written in PyTorch."""

from functools import partial
from typing import Any

import numpy as np
import torch

from partae_fast.kernels.optimiser import RULES
from partae_fast.kernels.train_steps import Run, fresh_state
from partae_fast.sampling import CropSampler
from partae_fast.training.steps import train_steps

from . import peers
from .common import GATE_BEHIND_ARGMAX, Contest
from .shapes import dense, inputs, sparse
from .timing import Work

PENALTY = 0.75
CHECKED = 10  # steps that every version takes from the same weights, and whose losses must agree
LAUNCH = 8  # steps in a call of ours: as few as training ever has, after its first


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    sampler = make_sampler(shape, device)
    ours = {backend: Ours(make_run(shape, device, sampler), backend) for backend in backends}
    theirs = {}
    for name, loss in peers.compiled(peers.model_loss, device).items():
        for foreach in (False, True):
            label = f"{name}, {'foreach' if foreach else 'plain'} AdaDelta"
            optimiser = partial(torch.optim.Adadelta, rho=0.95, foreach=foreach)
            theirs[label] = Peer(loss, make_run(shape, device, sampler), sampler, optimiser)
    forward, backward = dense(shape), sparse(shape, 4, reads=3)
    return [
        Contest(
            "train step",
            ours=ours,
            peers=theirs,
            work=Work(forward.flop + backward.flop, forward.bytes + backward.bytes),
            difference=lambda found, truth: max(abs(a - b) / abs(b) for a, b in zip(found, truth, strict=True)),
            prepare=lambda version: version.first_losses,
            gate=GATE_BEHIND_ARGMAX,
        )
    ]


def make_sampler(shape: dict[str, int], device: str, seed: int = 0) -> CropSampler:
    """Crops of two recordings of random magnitudes, one of them noise-only."""
    random = np.random.default_rng(seed)
    size = (max(4096, 2 * shape["N"]), shape["H"])
    signal, noise = (random.gamma(1.0, 0.2, size).astype(np.float32) for _ in range(2))
    return CropSampler([[signal]], [[noise]], shape["N"], shape["B"], 0.25, seed).to(device)


def make_run(shape: dict[str, int], device: str, sampler: CropSampler) -> Run:
    """A model of random filters in training on the sampler's crops."""
    t = inputs(shape, device)
    state, options = fresh_state(t.w_enc, t.w_dec, "adadelta"), RULES["adadelta"].options
    mean, std = sampler.mean.to(device), sampler.std.to(device)
    given = t.w_enc, t.w_dec, state, sampler.crops, mean, std, t.foreground, PENALTY, shape["P"]
    return Run(*given, "adadelta", options)


class Ours:
    """A call takes LAUNCH steps in one launch; `steps` says so to whoever times it."""

    steps = LAUNCH

    def __init__(self, run: Run, backend: str) -> None:
        self.run, self.backend, self.step = run, backend, CHECKED
        self.first_losses = train_steps([run], 0, CHECKED, backend)[0].tolist()

    def __call__(self) -> torch.Tensor:
        losses = train_steps([self.run], self.step, LAUNCH, self.backend)
        self.step += LAUNCH
        return losses


class Peer:
    """A call draws a batch and takes one step in PyTorch."""

    steps = 1

    def __init__(self, loss: Any, run: Run, sampler: CropSampler, optimiser: Any) -> None:
        self.loss, self.run, self.sampler, self.step = loss, run, sampler, 0
        self.weights = [w.requires_grad_() for w in (run.w_enc, run.w_dec)]
        self.optimiser = optimiser(self.weights)
        self.first_losses = [float(self()) for _ in range(CHECKED)]

    def __call__(self) -> torch.Tensor:
        run = self.run
        x, noise_only = self.sampler.batch_at(self.step)
        self.step += 1
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(x, run.mean, run.std, *self.weights, noise_only, run.foreground, PENALTY, run.pool)
        loss.backward()
        self.optimiser.step()
        return loss.detach()
