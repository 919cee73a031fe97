"""Several models side by side in one launch, against one model alone.

python -m partae_fast.bench.population [--models 60] [--seconds 20] [--results FOLDER]

trains as many models as the paper's figure 6 shows, of the paper's sizes, for that long, on the GPU where there is one,
and prints what 10^6 steps of each would take. `partae bench population` has the row of 8 models on all threads against
one model on one thread.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from partae_fast.atomic import atomic_path
from partae_fast.kernels.train_steps import TrainingRun
from partae_fast.training.steps import serving_backend, train_steps

from . import ceilings as ceilings_module
from .common import LOSS_GATES, Contest, Deviation
from .passes import STEP
from .timing import environment
from .train_step import (
    CHECKED,
    CONFIGURATIONS,
    Deferred,
    Ours,
    StepWork,
    flop,
    losses_differ,
    make_run,
    make_sampler,
    step_work,
    true_losses,
)

MODELS = 8
ALONE, TOGETHER = "one model", "population"
LAUNCH_SECONDS = 0.1  # of a launch; in training it takes more
FIGURE_MODELS = 60  # 9 shares and the plain autoencoder that it is compared with, 3 noises, matched or not
SHARES = 9
PAPER_STEPS = 10**6
BURST = 0.5  # seconds of a launch, about


def runs_of(shape: dict[str, int], device: str, models: int) -> list[TrainingRun]:
    """Models that differ in seed, recordings, penalty and share of background latents, as in a figure's grid."""
    runs = []
    for i in range(models):
        sampler = make_sampler(shape, device, seed=i)
        runs.append(make_run(shape, sampler, i, penalty=0.25 * (1 + i % 4), background=i % SHARES / (SHARES - 1)))
    return runs


@dataclass(frozen=True)
class PopulationWork(StepWork):
    """The work of a step of several models, whose floor is that of their arithmetic, on one thread where one works."""

    models: int

    def floor(self, ceilings: dict[str, Any], kind: str = "float32") -> float:
        rate = ceilings["flop_per_s"]
        return self.flop / (ceilings.get("one_thread_flop_per_s", rate) if self.models == 1 else rate)


def contest(shape: dict[str, int], device: str, models: int = MODELS) -> Contest:
    """Return the contest of one model on one thread (of a GPU: alone) and the population on all."""
    threads = torch.get_num_threads()
    truth = [true_losses(run, CHECKED + 1) for run in runs_of(shape, device, models)]

    def check(outputs: Sequence[Tensor]) -> Iterator[Deviation]:
        for losses, true in zip(outputs, truth, strict=False):
            yield Deviation(
                "a loss of the first steps", losses_differ(losses.tolist(), true), allowance=LOSS_GATES["float32"]
            )

    step, counts = step_work(shape), {ALONE: 1, TOGETHER: models}
    working = {ALONE: 1 if device == "cpu" else threads, TOGETHER: threads}
    return Contest(
        "population",
        STEP,
        {},
        ours={name: _Population(partial(_trained, shape, device, counts[name], working[name])) for name in counts},
        peers={},
        work=None,
        works={name: PopulationWork(n * step.flop, n * step.bytes, shape, n) for name, n in counts.items()},
        truth=lambda copies: check,
        cold=False,
        about={name: {"models": counts[name], "threads": working[name]} for name in counts},
    )


def _trained(shape: dict[str, int], device: str, models: int, threads: int) -> Ours:
    runs = runs_of(shape, device, models)
    return Ours(runs, serving_backend(runs), threads, LAUNCH_SECONDS)


class _Population(Deferred):
    """A population that is built when it is first used."""

    def results(self) -> tuple[Tensor, ...]:
        """The losses of each model: of the checked steps, and of the first step of a sample."""
        self.rewind()
        after = self.version()[:, :1].double().cpu()
        return tuple(torch.cat([torch.tensor(self.version.losses, dtype=torch.float64), after], dim=1))


def train_for(runs: list[TrainingRun], seconds: float) -> dict[str, Any]:
    """Train the population in launches of about BURST seconds until `seconds` have passed; what came of it."""
    backend = serving_backend(runs)
    steps, step, spent, launches = 4, 0, 0.0, 0
    train_steps(runs, 0, steps, backend).sum().item()  # compiles
    while True:  # how many steps a launch has
        start = time.perf_counter()
        train_steps(runs, steps, steps, backend).sum().item()
        once = time.perf_counter() - start
        if once > min(BURST, seconds) / 2:
            break
        steps *= 2
    losses = torch.zeros(len(runs), steps)
    start = time.perf_counter()
    while spent < seconds:
        losses = train_steps(runs, step, steps, backend)
        finite = bool(torch.isfinite(losses).all())  # waits for the end
        step, launches, spent = step + steps, launches + 1, time.perf_counter() - start
        if not finite:
            raise RuntimeError(f"a loss was not finite after {step} steps; no rate is given")
    return {
        "backend": backend,
        "models": len(runs),
        "seconds": spent,
        "launches": launches,
        "steps_of_each": step,
        "seconds_per_step_of_all": spent / step,
        "extrapolated_steps": PAPER_STEPS,
        "extrapolated_seconds": spent / step * PAPER_STEPS,
        "gflop_per_s": len(runs) * flop(dict(zip("BNHKMP", runs[0].shape, strict=True))) * step / spent / 1e9,
        "last_loss": [float(loss) for loss in losses[:, -1]],
    }


def text(report: dict[str, Any]) -> str:
    env, run, limit = report["environment"], report["population"], report["ceilings"]
    sizes = " ".join(f"{name} {size}" for name, size in report["shapes"].items())
    return (
        f"Measured {env['date']} at commit {env['commit']} on {env['gpu'] or env['processor']}:"
        f" {run['models']} models of {sizes} on back-end {run['backend']} took {run['steps_of_each']} steps"
        f" each in {run['seconds']:.1f} s, {run['seconds_per_step_of_all'] * 1e6:.4g} us for a step of all:"
        f" {run['gflop_per_s']:.0f} GFLOP/s of needed work, {run['gflop_per_s'] * 1e9 / limit['flop_per_s']:.0%} of"
        f" the {limit['flop_per_s'] / 1e9:.0f} that the best float32 product reached in the same run. Extrapolated,"
        f" not run: {run['extrapolated_steps']:,} steps of each would take"
        f" {run['extrapolated_seconds'] / 60:.1f} minutes."
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=FIGURE_MODELS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="write population.json and population.md there")
    args = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = CONFIGURATIONS[0]
    report = {
        "environment": environment(),
        "ceilings": ceilings_module.ceilings(device),
        "shapes": shape,
        "population": train_for(runs_of(shape, device, args.models), args.seconds),
    }
    print(text(report))
    if args.results:
        with atomic_path(args.results / "population.json") as file:
            file.write_text(json.dumps(report, indent=1) + "\n")
        with atomic_path(args.results / "population.md") as file:
            file.write_text(text(report) + "\n")


if __name__ == "__main__":
    main()
