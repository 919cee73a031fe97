"""The CUDA C kernel of train_steps without a GPU: compiled by g++, each thread of the grid a thread of the system.

It is compared with the float64 reference and checked by the thread sanitizer; mutants show that both detect faults.
"""

import ctypes
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast.conformance import cases
from partae_fast.conformance import train_steps as conformance
from partae_fast.conformance.cuda_shim import COMPILER
from partae_fast.kernels._cuda.common import KERNELS, assumed_limits
from partae_fast.kernels.train_steps import RULES, TrainingRun, cuda, fresh_state
from partae_fast.kernels.train_steps.cuda import Plan, groups_of
from partae_fast.reference import train_steps as reference
from partae_fast.reference.sampler import statistics
from partae_fast.sampling.crops import CropSampler

from . import cuda_shim

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is not installed")

OPTIONS = {
    "adadelta": {"learning_rate": 0.5, "rho": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
    "adam": {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.5},
    "sgd": {"learning_rate": 1e-4, "momentum": 0.7, "weight_decay": 2.0},
    "nesterov": {"learning_rate": 1e-4, "momentum": 0.8, "weight_decay": 3.0},
}
H200 = assumed_limits(90, 232448, 132)
TOLERANCE = {"ffma": 1e-5, "3xtf32": 1e-5, "tf32": 1e-3}


@dataclass(frozen=True)
class Case:
    batch: int
    frames: int
    noise_only: float
    plan: Plan
    blocks: int
    groups: tuple[int, ...] = (2, 2)  # signal, noise, and optional corruption groups


def plan(bins, latents, taps, pool, **cut) -> Plan:
    return Plan(bins, latents, taps, pool, **{"frames": 2, "slices": 1, "threads": 8, **cut})


CASES = {
    "plain": Case(3, 40, 0.34, plan(8, 8, 3, 4, own=4, taps_each=3), 3),
    "nothing is a multiple": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=3, taps_each=3, slices=2), 2),
    "more blocks than tiles": Case(2, 23, 0.5, plan(6, 3, 5, 8, own=2, taps_each=2, threads=12), 6),
    "halo of four windows": Case(2, 29, 0.5, plan(3, 5, 9, 2, own=3, taps_each=4, frames=4), 3),
    "ones": Case(1, 1, 0.0, plan(1, 1, 1, 1, own=1, taps_each=1, threads=4), 2, (1, 0)),
    "one tap": Case(2, 11, 0.5, plan(4, 6, 1, 3, own=2, taps_each=1), 4),
    "even taps, longer than the recording": Case(2, 5, 0.5, plan(7, 4, 8, 4, own=1, taps_each=8), 2),
    "pool longer than the recording": Case(2, 13, 0.5, plan(5, 4, 3, 16, own=1, taps_each=3), 2),
    "all noise": Case(2, 24, 1.0, plan(5, 6, 4, 4, own=3, taps_each=2), 3, (1, 2)),
    "no noise": Case(2, 24, 0.0, plan(5, 6, 4, 4, own=3, taps_each=2), 3, (2, 1)),
    "clusters": Case(3, 37, 0.34, plan(8, 5, 3, 4, own=3, taps_each=3, lanes=4), 8),
    "split latents": Case(3, 37, 0.34, plan(5, 11, 4, 4, own=3, taps_each=3, split=2), 6),
    "split latents, clusters": Case(3, 41, 0.34, plan(5, 13, 4, 5, own=3, taps_each=2, split=4, lanes=2), 16),
    "corruption": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=3, taps_each=3, extras=("corruption",)), 2, (2, 1, 2)),
    "corruption, split latents": Case(
        3, 37, 0.67, plan(5, 11, 4, 4, own=3, taps_each=3, split=2, extras=("corruption",)), 6, (1, 2, 1)
    ),
    "negative_slope": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=3, taps_each=3, slices=2, extras=("negative_slope",)), 2),
    "negative_slope, pool longer than the recording": Case(
        2, 13, 0.5, plan(5, 4, 3, 16, own=1, taps_each=3, extras=("negative_slope",)), 2
    ),
    "rectified output": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=3, taps_each=3, extras=("rectified_output",)), 2),
    "all extras, split latents": Case(
        3, 37, 0.34, plan(5, 11, 4, 4, own=3, taps_each=3, split=2, extras=cuda.EXTRAS), 6, (2, 1, 1)
    ),
    "all extras, latents in four": Case(
        3, 41, 0.34, plan(5, 13, 4, 5, own=3, taps_each=2, split=4, lanes=2, extras=cuda.EXTRAS), 16, (2, 1, 1)
    ),
    "TF32 in three": Case(2, 37, 0.5, plan(5, 11, 4, 4, own=3, taps_each=3, threads=32, precision="3xtf32"), 3),
    "TF32 in three, split latents": Case(
        2, 23, 0.5, plan(13, 21, 5, 4, own=3, taps_each=3, slices=2, threads=64, split=2, precision="3xtf32"), 2
    ),
    "TF32 in three, a prime of everything": Case(
        1, 19, 0.0, plan(11, 7, 3, 5, own=2, frames=2, taps_each=3, slices=2, threads=32, precision="3xtf32"), 2
    ),
    "TF32": Case(3, 40, 0.34, plan(8, 8, 3, 4, own=3, frames=1, taps_each=3, threads=32, precision="tf32"), 3),
}
# A run for each block or cluster; the count is that of the blocks of a run.
POPULATIONS = {
    "a block each": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=3, taps_each=3, population=True), 1),
    "a cluster each": Case(3, 37, 0.34, plan(5, 7, 4, 5, own=2, taps_each=3, lanes=2, population=True), 2),
    "a cluster each, split latents": Case(
        3, 37, 0.34, plan(5, 11, 4, 5, own=2, taps_each=3, split=2, lanes=2, population=True), 4
    ),
}
FIRST = 4  # number of the first step


def problem(case: Case, optimizer: str, variant: int = 0) -> tuple[TrainingRun, tuple]:
    """Return a run with recordings of several lengths, and the arguments of the reference for the same training."""
    rng = np.random.default_rng([sum(map(ord, optimizer)), variant])
    p = case.plan

    def recording(extra: int) -> np.ndarray:
        return rng.gamma(1.0, 1.0, (case.frames + extra, p.bins)).astype(np.float32)

    signal = [[recording(7), recording(0), recording(20)], [recording(5)]][: case.groups[0]]
    noise = [[recording(3)], [recording(1), recording(9)]][: case.groups[1]]
    weights = {
        "w_enc": (rng.standard_normal((p.taps, p.bins, p.latents)) / math.sqrt(p.taps * p.bins)).astype(np.float32),
        "w_dec": (rng.standard_normal((p.taps, p.latents, p.bins)) / math.sqrt(p.taps * p.latents)).astype(np.float32),
    }
    corruption = [[recording(4), recording(6)], [recording(1)]][: sum(case.groups[2:])]
    foreground = (np.arange(p.latents) >= p.latents // 4).astype(np.float64)
    sampler = CropSampler(signal, noise, case.frames, case.batch, case.noise_only, 2**40 + variant, corruption)
    mean, std = (torch.tensor(v, dtype=torch.float32) for v in statistics(signal, case.frames, corruption))
    w_enc, w_dec = (torch.tensor(w) for w in weights.values())
    penalty = 0.75 + variant
    extras = (0.3 if "negative_slope" in p.extras else 0.0), "rectified_output" in p.extras
    run = TrainingRun(
        w_enc,
        w_dec,
        fresh_state(w_enc, w_dec, optimizer),
        sampler.crops,
        mean,
        std,
        torch.tensor(foreground, dtype=torch.float32),
        penalty,
        p.pool,
        optimizer,
        OPTIONS[optimizer],
        *extras,
    )
    assert cuda.extras_of(run) == p.extras
    setting = reference.Setting(foreground, p.pool, penalty, optimizer, OPTIONS[optimizer], *extras)
    return run, (weights, signal, noise, corruption, setting, case, sampler.seed)


def truth(arguments: tuple, steps: int) -> tuple[reference.Learner, list[float]]:
    weights, signal, noise, corruption, setting, case, seed = arguments
    start = reference.beginner(weights)
    drawn = case.frames, case.batch, case.noise_only, seed, FIRST, corruption
    return reference.train_steps(start, signal, noise, setting, steps, *drawn)


def error(results: torch.Tensor, expected) -> float:
    """Return the relative root-mean-square error; infinite if a number is not finite."""
    computed, expected = results.double().numpy(), np.asarray(expected)
    if not np.isfinite(computed).all():
        return math.inf
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(computed - expected) / size) if size else float(np.linalg.norm(computed))


def errors(run: TrainingRun, losses: torch.Tensor, arguments: tuple) -> dict[str, float]:
    learner, expected = truth(arguments, len(losses))
    results = {"loss": error(losses, expected)}
    for name, weight in (("w_enc", run.w_enc), ("w_dec", run.w_dec)):
        results[name] = error(weight, learner.weights[name])
        state = learner.state[name]
        assert state is not None
        for kept, tensor in zip(RULES[run.optimizer].state, run.state[name], strict=True):
            results[f"{name} {kept}"] = error(tensor, state[kept])
    return results


def all_bits(run: TrainingRun, losses: torch.Tensor) -> list[bytes]:
    tensors = losses, run.w_enc, run.w_dec, *run.state["w_enc"], *run.state["w_dec"]
    return [tensor.contiguous().numpy().tobytes() for tensor in tensors]


# Every optimizer in two plans, and one in each other plan, in turn: how the work is divided changes no optimizer.
RULED = [
    (name, optimizer)
    for number, name in enumerate(CASES)
    for place, optimizer in enumerate(OPTIONS)
    if name in ("plain", "split latents, clusters") or place == number % len(OPTIONS)
]


@pytest.mark.parametrize(("name", "optimizer"), RULED)
def test_steps_agree_with_the_reference(name, optimizer):
    case = CASES[name]
    run, arguments = problem(case, optimizer)
    losses = cuda_shim.train_steps(case.plan, case.blocks, [run], FIRST, 4)
    results = errors(run, losses[0], arguments)
    assert max(results.values()) <= TOLERANCE[case.plan.precision], results


@pytest.mark.parametrize("name", ["nothing is a multiple", "split latents, clusters", "TF32 in three"])
def test_bits_depend_on_nothing_but_the_run(name):
    """They depend neither on the order of threads nor on the number of steps in a launch."""
    case = CASES[name]
    run, _ = problem(case, "adam")
    results = []
    for parts in [(5,), (5,), (2, 3), (1, 4)]:
        copy, losses, done = run.copy(), [], FIRST
        for steps in parts:
            losses.append(cuda_shim.train_steps(case.plan, case.blocks, [copy], done, steps))
            done += steps
        results.append(all_bits(copy, torch.cat(losses, dim=1)))
    assert all(bits == results[0] for bits in results)


@pytest.mark.parametrize("name", POPULATIONS)
def test_runs_of_a_population_agree_with_the_reference(name):
    """Three runs differ in weights, recordings, seed and penalty, and one in its share of noise."""
    case = POPULATIONS[name]
    optimizer = "adadelta"
    cases = [case, case, replace(case, noise_only=0.67)]
    problems = [problem(own, optimizer, variant) for variant, own in enumerate(cases)]
    runs = [run for run, _ in problems]
    alone = [run.copy() for run in runs]
    losses = cuda_shim.train_steps(case.plan, len(runs) * case.blocks, runs, FIRST, 4)
    for run, row, (_, arguments) in zip(runs, losses, problems, strict=True):
        results = errors(run, row, arguments)
        assert max(results.values()) <= TOLERANCE["ffma"], results
    for run, row, copy in zip(runs, losses, alone, strict=True):
        parts = [cuda_shim.train_steps(case.plan, case.blocks, [copy], FIRST + done, 2) for done in (0, 2)]
        assert all_bits(run, row) == all_bits(copy, torch.cat(parts, dim=1)[0])


class Implementation:
    """A back-end that runs each case with the plan for an H200, with all its threads."""

    @staticmethod
    def refusal(runs: list[TrainingRun]) -> None:
        return None

    @staticmethod
    def train_steps(runs: list[TrainingRun], first: int, steps: int) -> torch.Tensor:
        cut = cuda.plan(runs[0].shape, H200, groups_of(runs[0]), extras=cuda.extras_of(runs[0]))
        assert cut is not None
        return cuda_shim.train_steps(cut, cut.cluster, runs, first, steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [c for c in conformance.TINY if type(c) is cases.Case and c.name in conformance.SHIMMED],
    ids=lambda case: case.name,
)
def test_the_plans_of_a_gpu_conform(case):
    results = conformance.train_steps(case, Implementation, torch.float32, torch.device("cpu"), 1e-5, False)
    assert max(results.values()) <= 1e-5, results


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_block_computes_the_powers_of_adam_once(optimizer):
    case = CASES["clusters"]
    run, _ = problem(case, optimizer)
    before = cuda_shim.library(case.plan).powers()
    cuda_shim.train_steps(case.plan, case.blocks, [run], FIRST, 3)
    expected = 3 * 2 * case.blocks if optimizer == "adam" else 0
    assert cuda_shim.library(case.plan).powers() - before == expected


@pytest.mark.parametrize("name", ["plain", "clusters"])
def test_a_launch_repeated_as_by_a_graph_goes_on_where_it_ended(name):
    """The number of the next step and the barrier's counter are in memory that the launch itself updates."""
    case = CASES[name]
    run, _ = problem(case, "adam")
    copy = run.copy()
    losses = cuda_shim.train_steps(case.plan, case.blocks, [run], FIRST, 4)
    repeated = list(cuda_shim.repeated_launch(case.plan, case.blocks, [copy], FIRST, 2, times=2))
    assert all_bits(run, losses[0]) == all_bits(copy, torch.cat(repeated, dim=1)[0])


@pytest.mark.parametrize("name", CASES)
def test_shared_memory_is_what_the_plan_says(name):
    case = CASES[name]
    run, _ = problem(case, "sgd")
    code = cuda_shim.library(case.plan)
    assert code.shared_bytes(groups_of(run)) == case.plan.shared_bytes(groups_of(run))
    assert (code.run_bytes(), code.launch_bytes()) == (cuda.RUN.itemsize, cuda.LAUNCH.itemsize)


def test_a_write_past_shared_memory_is_reported(monkeypatch):
    case = CASES["plain"]
    run, _ = problem(case, "sgd")
    planned = case.plan.shared_bytes(groups_of(run))
    monkeypatch.setattr(Plan, "shared_bytes", lambda plan, groups: planned - 8)
    with pytest.raises(AssertionError, match=f"train_steps writes past its {planned - 8} bytes of shared memory"):
        cuda_shim.train_steps(case.plan, case.blocks, [run], FIRST, 1)


def test_structures_are_laid_out_as_they_are_packed():
    code = cuda_shim.library(CASES["plain"].plan)

    def listed(function, count: int) -> list[int]:
        numbers = (ctypes.c_int * (count + 1))(*[-1] * (count + 1))
        function(numbers)
        assert numbers[count] == -1  # only `count` numbers were written
        return numbers[:count]

    for function, packed in ((code.run_offsets, cuda.RUN), (code.launch_offsets, cuda.LAUNCH)):
        fields = [packed.fields[name][1] for name in packed.names]
        assert listed(function, len(fields)) == fields
    assert listed(code.optimizer_numbers, len(cuda.OPTIMIZERS)) == [*range(len(cuda.OPTIMIZERS))]
    assert cuda.OPTIMIZERS == ("adadelta", "adam", "sgd", "nesterov")


def test_a_nan_in_the_weights_reaches_the_loss():
    case = CASES["plain"]
    run, _ = problem(case, "sgd")
    run.w_enc[1, 2, 3] = math.nan
    losses = cuda_shim.train_steps(case.plan, case.blocks, [run], FIRST, 2)
    assert losses.isnan().all()


@dataclass(frozen=True)
class Watched:
    """A plan for the thread sanitizer: few threads, by default several tiles for each block."""

    plan: Plan
    blocks: int
    batch: int = 3
    frames: int | None = None

    def races(self, kernels: Path = KERNELS) -> str:
        frames = self.frames or 2 * self.plan.own * self.plan.pool - 1
        return cuda_shim.races(self.plan, self.blocks, self.batch, frames, kernels)


def random_plan(seed: int) -> Watched:
    rng = np.random.default_rng(seed)
    split, lanes = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (1, 8))[rng.integers(6)]
    latents, bins = split * int(rng.integers(1, 9)), int(rng.choice([1, 4, 5, 8]))
    taps, pool, own = (int(n) for n in rng.integers(1, (7, 7, 4)))
    fields = {
        "threads": int(rng.choice([4, 8, 12])),
        "population": bool(rng.integers(2)),
        "split": split,
        "lanes": lanes,
    }
    cut = plan(bins, latents, taps, pool, own=own, taps_each=int(rng.integers(1, taps + 1)), **fields)
    clusters = int(rng.integers(1, 4))
    return Watched(cut, clusters * cut.cluster, int(rng.integers(1, 4)), int(rng.integers(1, 20)))


WATCHED = {
    "one run": Watched(plan(5, 6, 4, 4, own=2, taps_each=3, threads=36), 3),
    "one run, clusters": Watched(plan(5, 11, 4, 4, own=2, taps_each=3, split=2, lanes=2), 8),
    "population": Watched(plan(5, 11, 4, 4, own=2, taps_each=3, split=2, lanes=2, population=True), 8),
    "population without clusters": Watched(plan(5, 6, 4, 4, own=2, taps_each=3, population=True), 3),
    "one run, clusters of four parts": Watched(plan(5, 13, 4, 4, own=2, taps_each=3, split=4), 8),
    "TF32 in three": Watched(plan(5, 6, 4, 4, own=2, taps_each=3, threads=64, precision="3xtf32"), 2),
    "extras": Watched(plan(5, 11, 4, 4, own=2, taps_each=3, split=2, extras=cuda.EXTRAS), 4),
    # copy16 is used if bins and latents are multiples of 4
    "more lanes than tiles": Watched(plan(8, 8, 3, 4, own=2, taps_each=3, lanes=8), 8),
    "more lanes than tiles, split latents": Watched(plan(4, 8, 3, 4, own=2, taps_each=3, split=2, lanes=2), 8, 1),
    "tiny population": Watched(plan(4, 4, 1, 1, own=1, taps_each=1, lanes=4, population=True), 8, 1, 1),
    **{f"random plan {seed}": random_plan(seed) for seed in range(3)},
}
# A plan of WATCHED, and the barriers to remove or replace.
MUTANTS = {
    "block barrier without a tile": (
        "more lanes than tiles",
        {"block_barrier();  // no thread's copy of w_dec may land on a gradient": ""},
    ),
    "block barrier before pooling": ("one run", {"block_barrier();  // z is complete": ""}),
    "block barrier after the dots": ("one run", {"block_barrier();  // the dots are complete": ""}),
    "grid barrier 1": ("one run", {"grid_wait(launch.counter, ++barriers);  // grid barrier 1": "++barriers;  //"}),
    "grid barrier 2": ("one run", {"grid_wait(launch.counter, ++barriers);  // grid barrier 2": "++barriers;  //"}),
    "one buffer of the losses' parts": ("one run", {"(size_t)(step % 2)": "(size_t)(step % 1)"}),
    "cluster barrier before r is added": (
        "one run, clusters",
        {"cluster_arrive();\n        cluster_wait();  // the parts of the other latents are complete": ""},
    ),
    "cluster barrier before the sums of r are taken": (
        "one run, clusters of four parts",
        {"cluster_arrive();\n            cluster_wait();  // the sums are complete": ""},
    ),
    "cluster barrier before the gradients are added": (
        "one run, clusters",
        {"cluster_arrive();\n        }\n": "}\n", "cluster_wait();  // the cluster's gradients are complete": ""},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WATCHED)
def test_no_thread_races_another(name):
    assert WATCHED[name].races() == ""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_missing_barrier_is_seen(mutant, tmp_path):
    name, changes = MUTANTS[mutant]
    kernels = changed_kernels(changes, tmp_path / "kernels")
    assert "data race" in WATCHED[name].races(kernels)


def changed_kernels(changes: dict[str, str], kernels: Path) -> Path:
    """Copy the sources to the folder `kernels`, with parts of train_steps.cuh replaced."""
    for file in (*KERNELS.rglob("*.cuh"), *KERNELS.rglob("*.h")):
        copy = kernels / file.relative_to(KERNELS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    file = kernels / "train_steps" / "train_steps.cuh"
    source = file.read_text()
    for part, instead in changes.items():
        assert source.count(part) == 1
        source = source.replace(part, instead)
    file.write_text(source)
    return kernels


def test_a_grid_barrier_that_is_never_complete_ends_the_launch(tmp_path):
    """Otherwise a GPU would hang: here no block arrives at the second barrier."""
    arrival = "            grid_arrive(launch.counter);\n        }\n        if (step + 1"
    kernels = changed_kernels({arrival: "        }\n        if (step + 1"}, tmp_path / "kernels")
    watched = WATCHED["one run"]
    flags = "-DPATIENCE=200", cuda_shim.FAST
    program = cuda_shim.racing_program(watched.plan, watched.blocks, *flags, kernels=kernels)
    done = cuda_shim.ran(program, watched.batch, 8)
    assert (done.returncode, done.stderr) == (70, "a block waited too long in a grid barrier\n")
