"""A few whole training steps, against the reference: losses, weights and what the optimiser keeps."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..kernels.optimiser import RULES
from ..kernels.train_steps import Run, fresh_state
from ..reference import train_steps as reference
from ..reference.sampler import Group, statistics
from ..sampling import CropSampler
from .cases import Case, error, twice
from .optimiser import OPTIONS

FIRST, STEPS = 5, 2  # the number of the first step; how many
# In TF32 a window's first and second may be too near to tell: a step then goes by another frame than the truth's.
TOLERANCES = {"tf32": 5e-2}


@dataclass(frozen=True)
class Problem:
    """Recordings, and the weights that training starts from, float32 numbers: a case's, the same on each call."""

    signal: list[Group]
    noise: list[Group]
    corruption: list[list[np.ndarray]]
    sampler: CropSampler
    weights: dict[str, np.ndarray]
    foreground: np.ndarray
    optimizer: str


@functools.lru_cache(maxsize=128)
def problem(case: Case) -> Problem:
    """Two signal groups, one of several recordings, as many noise groups, and corruption groups where the case has any.

    Where recordings have targets of their own, some have none. The optimisers take turns.
    """
    rng = np.random.default_rng(sum(case.name.encode()))

    def recording(extra: int) -> np.ndarray:
        size = (case.frames + extra, case.bins)
        drawn = rng.integers(0, 2, size) if case.kind == "ties" else rng.gamma(1.0, 1.0, size)
        return drawn.astype(np.float32)

    several, lone = [recording(7), recording(0), recording(20)], recording(5)
    signal: list[Group] = [several, [lone]]
    noise: list[Group] = [[recording(3)], [recording(1), recording(9)]]
    w_enc = rng.standard_normal((case.taps, case.bins, case.latents)) / math.sqrt(case.taps * case.bins)
    w_dec = rng.standard_normal((case.taps, case.latents, case.bins)) / math.sqrt(case.taps * case.latents)
    if case.kind == "negative":
        w_enc = np.zeros_like(w_enc)
    weights = {"w_enc": w_enc.astype(np.float32), "w_dec": w_dec.astype(np.float32)}
    corruption = [[recording(2 + i), recording(6)] for i in range(case.corruption)]
    if case.targets:  # the second group's recording is its own target in the first
        signal = [[(several[0], recording(7)), lone], [(lone, recording(5))]]
        hiss = recording(3)
        noise = [[(hiss, np.zeros_like(hiss))], noise[1]]
    silent = round(case.batch * case.noise_only) / case.batch
    sampler = CropSampler(signal, noise, case.frames, case.batch, silent, 2**40 + 3, corruption)
    foreground = np.arange(case.latents) >= round(case.latents * case.share)
    optimizer = list(RULES)[sum(case.name.encode()) % len(RULES)]
    return Problem(signal, noise, corruption, sampler, weights, foreground.astype(np.float64), optimizer)


@functools.lru_cache(maxsize=128)
def truth(case: Case) -> tuple[reference.Learner, list[float]]:
    """What the reference makes of it."""
    p = problem(case)
    rectifiers = case.leak, case.rectified_output
    setting = reference.Setting(p.foreground, case.pool, 0.75, p.optimizer, OPTIONS[p.optimizer], *rectifiers)
    drawn = case.frames, case.batch, p.sampler.noise_only, p.sampler.seed
    start = reference.beginner(p.weights)
    return reference.train_steps(start, p.signal, p.noise, setting, STEPS, *drawn, FIRST, p.corruption)


def make_run(case: Case, dtype: torch.dtype, device: torch.device) -> Run:
    """The case's problem as an implementation is given it."""
    p = problem(case)
    w_enc, w_dec = (torch.tensor(p.weights[name]).to(device, dtype) for name in ("w_enc", "w_dec"))
    mean, std = (torch.tensor(v).to(device, dtype) for v in statistics(p.signal, case.frames, p.corruption))
    return Run(
        w_enc,
        w_dec,
        state=fresh_state(w_enc, w_dec, p.optimizer),
        crops=p.sampler.to(device).crops,
        mean=mean,
        std=std,
        foreground=torch.tensor(p.foreground).to(device, dtype),
        penalty=0.75,
        pool=case.pool,
        optimizer=p.optimizer,
        options=OPTIONS[p.optimizer],
        leak=case.leak,
        rectified_output=case.rectified_output,
    )


def train_steps(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    run = make_run(case, dtype, device)
    if implementation.refusal([run]):
        return {}

    def steps() -> tuple[torch.Tensor, ...]:
        mine = run.copy()
        losses = implementation.train_steps([mine], FIRST, STEPS)
        return losses, mine.w_enc, mine.w_dec, *mine.state["w_enc"], *mine.state["w_dec"]

    (losses, w_enc, w_dec, *state), bits = twice(steps)
    learner, wanted = truth(case)
    found = {"loss": error(losses[0], wanted), "bits": bits}
    names = [(weight, name) for weight in ("w_enc", "w_dec") for name in RULES[run.optimizer].state]
    for (weight, name), tensor in zip(names, state, strict=True):
        found[f"{weight} {name}"] = error(tensor, (learner.state[weight] or {})[name])
    found |= {"w_enc": error(w_enc, learner.weights["w_enc"]), "w_dec": error(w_dec, learner.weights["w_dec"])}
    return found
