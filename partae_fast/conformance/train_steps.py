"""A few whole training steps, against the reference: losses, weights and the state of the optimizer."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels.train_steps import RULES, TrainingRun, fresh_state
from ..reference import train_steps as reference
from ..reference.sampler import Group, statistics
from ..sampling.crops import CropSampler
from . import cases
from .cases import Case
from .comparison import Output
from .examination import Call, Check
from .tolerances import loss_terms

# None of them a default, and such that a step is not small beside the weights that it changes.
OPTIONS = {
    "adadelta": {"learning_rate": 0.05, "rho": 0.9, "epsilon": 0.3, "weight_decay": 0.4},
    "adam": {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3},
    "sgd": {"learning_rate": 1e-4, "momentum": 0.7, "weight_decay": 2.0},
    "nesterov": {"learning_rate": 1e-4, "momentum": 0.8, "weight_decay": 3.0},
}
# In TF32 the two largest activations of a window may be too near: a step then takes another frame than the reference.
TOLERANCES = {"tf32": 5e-2}
FIRST, STEPS = 5, 2  # the number of the first step, and the number of steps, of cases with one run
_MEMBERS = 3  # runs in one call


@dataclass(frozen=True)
class Population(Case):
    """A case of several runs in one call, which differ in everything that may differ between runs of one shape."""

    members: int = _MEMBERS
    first: int = 3
    steps: int = 4


# Memory layouts and normalisation are checked with the single passes.
_SINGLE = [case for case in cases.TINY if case.kind not in ("not contiguous", "nan") and case.normalised]
_SINGLE += [case for case in cases.TINY if case.kind in ("negative", "ties")]
TINY = [
    *_SINGLE,
    Population("three runs", 3, 29, 5, 4, 3, 4),
    Population("three runs, pool of one", 2, 13, 3, 4, 2, 1),
    Population("three runs, corrupted", 3, 29, 5, 4, 3, 4, corruption=1),
    Population("three runs, targets of their own", 3, 27, 5, 4, 3, 4, targets=True),
    Population("three runs, leaky and rectified", 3, 26, 5, 4, 3, 4, negative_slope=1 / 3, rectified_output=True),
    Population("seven runs", 2, 21, 3, 3, 3, 4, members=7),
    Population("steps from 65,537", 3, 29, 5, 4, 3, 4, first=65_537),
    Population("the last steps", 3, 21, 5, 4, 3, 4, first=2**32 - 4),
    Population("the first steps", 2, 23, 4, 3, 3, 4, first=0, steps=5),
    Population("no penalty", 4, 25, 5, 4, 3, 4, penalty=0.0),
    Population("heavy penalty", 4, 25, 5, 4, 3, 4, penalty=40.0),
    Population("two small runs", 1, 7, 2, 2, 3, 4, members=2, steps=1),
    Population("NaN in a weight", 2, 21, 3, 4, 3, 4, kind="nan filters", members=2),
    Population("twenty steps", 2, 9, 2, 2, 3, 3, members=2, steps=20),
]
# Cases that the interpreter skips: more runs or more steps take no other path in the kernels.
UNINTERPRETED = (
    *("three runs", "three runs, pool of one", "seven runs", "steps from 65,537", "the first steps"),
    *("no penalty", "heavy penalty", "twenty steps"),
)
# Cases of the shim of CUDA C: each is a build of its own.
SHIMMED = (
    *("ones", "primes", "even filter", "exact ties", "corrupted input", "leaky rectifier", "rectified output"),
    "three runs, pool of one",
)
_SIDES: dict[str, Any] = {"batch": 71, "bins": 259, "latents": 133, "taps": 41}
_SHORT: dict[str, Any] = {"batch": 1, "frames": 4507, "bins": 3, "latents": 3, "taps": 3, "pool": 64}
LARGER = cases.LARGER
# Beyond the tiles of every back-end.
BEYOND = [
    *cases.two_large(lambda name, **sizes: Case(name, frames=11, pool=4, **sizes), dict.fromkeys(_SIDES, 3), _SIDES),
    Case("5003 frames", 2, 5003, 3, 3, 3, 16),
    Case("1031 frames a window", 2, 2100, 3, 3, 3, 1031),
    *(Case(f"4507 frames, {size} {name}", **{**_SHORT, name: size}) for name, size in _SIDES.items()),
    Population("three long runs", 2, 900, 33, 20, 5, 6, corruption=1, steps=2),
]
REPEATED = "two small runs"
PATIENCE = 0.3  # share of the calls that other passes get: a call is many passes


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and settings, which depend on the seed only."""
    rng, made = np.random.default_rng(seed), []

    def work(batch: int, frames: int, bins: int, latents: int, taps: int, pool: int) -> float:
        return batch * frames * bins * latents * taps

    largest = {"batch": 20, "frames": 300, "bins": 70, "latents": 70, "taps": 20, "pool": 100}
    for number in range(count):
        sizes = cases.draw_sizes(rng, largest, work, 5e5)
        settings = {
            "corruption": int(rng.integers(3)),
            "targets": bool(rng.integers(2)),
            "negative_slope": float(rng.choice([0.0, 0.3])),
            "rectified_output": bool(rng.integers(2)),
            "noise_only": float(rng.choice([0.0, 0.25, 1.0])),
            "penalty": float(rng.choice([0.0, 0.3, 10.0])),
        }
        name = f"draw {number} of seed {seed}: {', '.join(map(str, [*sizes.values(), *settings.values()]))}"
        made.append(Population(name, **sizes, **settings, steps=2, first=int(rng.integers(2**31))))
    return made


# Factor of the tolerance for several steps, each of which starts from the result of the previous one.
FACTORS = {Population: 10.0}


@dataclass(frozen=True)
class Problem:
    """The recordings and initial weights, float32, of one member of a case."""

    signal: list[Group]
    noise: list[Group]
    corruption: list[list[np.ndarray]]
    sampler: CropSampler
    weights: dict[str, np.ndarray]
    foreground: np.ndarray
    penalty: float
    optimizer: str
    options: dict[str, float]


@functools.lru_cache(maxsize=512)
def problem(case: Case, member: int = 0, draw: int = 0) -> Problem:
    """Return two signal groups, one of several recordings, two noise groups, and the case's corruption groups.

    In a case with targets some recordings have none. Draws take different optimizers. Members differ in numbers and
    their scale, in seed, noise-only items, foreground, penalty and options, but not in shapes.
    """
    rng = cases.generator(case.name, 1000 * draw + member)
    scale = 1.0 if case.kind == "ties" else 2.0**member

    def recording(extra: int) -> np.ndarray:
        size = (case.frames + extra, case.bins)
        sampled = rng.integers(0, 2, size) if case.kind == "ties" else rng.gamma(1.0, scale, size)
        return sampled.astype(np.float32)

    several, lone = [recording(7), recording(0), recording(20)], recording(5)
    signal: list[Group] = [several, [lone]]
    noise: list[Group] = [[recording(3)], [recording(1), recording(9)]]
    w_enc = rng.standard_normal((case.taps, case.bins, case.latents)) / math.sqrt(case.taps * case.bins)
    w_dec = rng.standard_normal((case.taps, case.latents, case.bins)) / math.sqrt(case.taps * case.latents)
    if case.kind == "negative":
        w_enc = np.zeros_like(w_enc)
    if case.kind == "nan filters":
        w_enc[0, 0, 0] = np.nan
    weights = {"w_enc": w_enc.astype(np.float32), "w_dec": w_dec.astype(np.float32)}
    corruption = [[recording(2 + i), recording(6)] for i in range(case.corruption)]
    if case.targets:  # the second group's recording is its own target in the first
        signal = [[(several[0], recording(7)), lone], [(lone, recording(5))]]
        hiss = recording(3)
        noise = [[(hiss, np.zeros_like(hiss))], noise[1]]
    silent = (round(case.batch * case.noise_only) + member) % (case.batch + 1)
    seed = 2**40 + 3 + member
    sampler = CropSampler(signal, noise, case.frames, case.batch, silent / case.batch, seed, corruption)
    foreground = np.arange(case.latents) >= round(case.latents * case.share) + member % max(1, case.latents // 2)
    optimizer = list(RULES)[sum(case.name.encode()) % len(RULES)]
    options = {name: value * (1 - 0.03 * member) for name, value in OPTIONS[optimizer].items()}
    penalty = case.penalty * (1 + member)
    return Problem(
        signal, noise, corruption, sampler, weights, foreground.astype(np.float64), penalty, optimizer, options
    )


@functools.lru_cache(maxsize=512)
def truth(case: Case, member: int = 0, draw: int = 0) -> tuple[reference.Learner, list[float]]:
    """Return the result of the reference: the learner and the losses."""
    p, (_, first, steps) = problem(case, member, draw), _extent(case)
    setting = reference.Setting(
        p.foreground, case.pool, p.penalty, p.optimizer, p.options, case.negative_slope, case.rectified_output
    )
    start = reference.beginner(p.weights)
    sampled = case.frames, case.batch, p.sampler.noise_only, p.sampler.seed
    return reference.train_steps(start, p.signal, p.noise, setting, steps, *sampled, first, p.corruption)


def _extent(case: Case) -> tuple[int, int, int]:
    """Return the number of runs, the number of the first step, and the number of steps."""
    return (case.members, case.first, case.steps) if isinstance(case, Population) else (1, FIRST, STEPS)


def make_run(case: Case, dtype: torch.dtype, device: torch.device, member: int = 0, draw: int = 0) -> TrainingRun:
    """Return the problem of a case as a run of an implementation."""
    p = problem(case, member, draw)
    w_enc, w_dec = (torch.tensor(p.weights[name]).to(device, dtype) for name in ("w_enc", "w_dec"))
    mean, std = (torch.tensor(v).to(device, dtype) for v in statistics(p.signal, case.frames, p.corruption))
    crops = p.sampler.to(device).crops
    target = None if crops.target is None else crops.target.clone()
    return TrainingRun(
        w_enc,
        w_dec,
        state=fresh_state(w_enc, w_dec, p.optimizer),
        crops=replace(crops, source=crops.source.clone(), target=target),
        mean=mean,
        std=std,
        foreground=torch.tensor(p.foreground).to(device, dtype),
        penalty=p.penalty,
        pool=case.pool,
        optimizer=p.optimizer,
        options=p.options,
        negative_slope=case.negative_slope,
        rectified_output=case.rectified_output,
    )


def _tensors(run: TrainingRun) -> list[Tensor]:
    """Return the tensors that a run reads and changes."""
    crops = run.crops
    read = [run.mean, run.std, run.foreground, crops.source, *([crops.target] if crops.target is not None else [])]
    return [run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"], *read]


def _with(run: TrainingRun, tensors: Sequence[Tensor]) -> TrainingRun:
    """Return the run with these tensors in place of `_tensors(run)`, and with copies of those that it changes."""
    w_enc, w_dec, *rest = tensors
    count = len(run.state["w_enc"])
    state = {
        "w_enc": tuple(t.clone() for t in rest[:count]),
        "w_dec": tuple(t.clone() for t in rest[count : 2 * count]),
    }
    mean, std, foreground, source, *target = rest[2 * count :]
    crops = replace(run.crops, source=source, target=target[0] if target else None)
    weights = {"w_enc": w_enc.clone(), "w_dec": w_dec.clone()}
    return replace(run, **weights, state=state, mean=mean, std=std, foreground=foreground, crops=crops)


@dataclass(frozen=True)
class _Steps:
    """The arguments of a call besides tensors."""

    runs: tuple[TrainingRun, ...]
    first: int
    steps: int


def _in_place(train_steps: Callable) -> Callable:
    """Return the pass as a function of tensors that changes none and returns losses, weights and states."""

    def trained(*tensors_and_steps: Any) -> tuple[Tensor, ...]:
        *tensors, plan = tensors_and_steps
        size = len(tensors) // len(plan.runs)
        runs = [_with(run, tensors[i * size : (i + 1) * size]) for i, run in enumerate(plan.runs)]
        losses = train_steps(runs, plan.first, plan.steps)
        changed = (part for run in runs for part in (run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"]))
        return losses, *changed

    return trained


def _calls(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    members, first, steps = _extent(case)
    runs = tuple(make_run(case, dtype, device, member, draw) for member in range(members))
    truths = [truth(case, member, draw) for member in range(members)]
    losses = np.array([losses for _, losses in truths])
    outputs = [Output("loss", losses, torch.float64)]
    unknown = case.kind == "nan filters"  # then only the loss is compared
    for member, (run, (learner, _)) in enumerate(zip(runs, truths, strict=True)):
        for name in ("w_enc", "w_dec"):
            outputs.append(_output(f"run {member}: {name}", learner.weights[name], dtype, unknown))
        for weight in ("w_enc", "w_dec"):
            for name in RULES[run.optimizer].state:
                state = (learner.state[weight] or {})[name]
                outputs.append(_output(f"run {member}: {weight}'s {name}", state, dtype, unknown))
    tensors = [tensor for run in runs for tensor in _tensors(run)]
    return [Call((*tensors, _Steps(runs, first, steps)), tuple(outputs))]


def _output(name: str, truth: np.ndarray, dtype: torch.dtype, unknown: bool) -> Output:
    return Output(name, truth, dtype, compare=(lambda result: 0.0) if unknown else None)


class _StepsCheck(Check):
    def __call__(self, case: Case, implementation: Any, *settings: Any) -> dict[str, float]:
        """Return errors by quantity, or none if the implementation refuses such runs."""
        dtype, device = settings[:2]
        runs = [make_run(case, dtype, device, member) for member in range(_extent(case)[0])]
        if getattr(implementation, "refusal", lambda runs: None)(runs):
            return {}
        return super().__call__(case, implementation, *settings)


train_steps = _StepsCheck("train_steps", _calls, _in_place)


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"train_steps": lambda case: max(case.taps * max(case.bins, case.latents), loss_terms(case))}
