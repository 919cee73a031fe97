"""Time the training of several models in one launch.

python -m partae_fast.bench.population [--models 60] [--seconds 20] [--results FOLDER]

trains as many models as figure 6 of the paper shows, in the paper's configuration, on a GPU if there is one, and prints
how long 10^6 steps of each would take. `partae bench population` compares 8 models on all threads with one model on one
thread.
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
LAUNCH_SECONDS = 0.1  # of a launch in a benchmark; a launch in training takes longer
FIGURE_MODELS = 60  # 9 shares and the plain autoencoder, each for 3 noises, matched and unmatched
SHARES = 9  # of background latents
PAPER_STEPS = 10**6
BURST = 0.5  # approximate seconds of a launch in `train_for`


def runs_of(shape: dict[str, int], device: str, models: int) -> list[TrainingRun]:
    """Return models that differ in seed, recordings, penalty and share of background latents."""
    runs = []
    for i in range(models):
        sampler = make_sampler(shape, device, seed=i)
        runs.append(make_run(shape, sampler, i, penalty=0.25 * (1 + i % 4), background=i % SHARES / (SHARES - 1)))
    return runs


@dataclass(frozen=True)
class PopulationWork(StepWork):
    """The work of a step of several models; its floor counts arithmetic only, by one thread for one model."""

    models: int

    def floor(self, ceilings: dict[str, Any], kind: str = "float32") -> float:
        rate = ceilings["flop_per_s"]
        return self.flop / (ceilings.get("one_thread_flop_per_s", rate) if self.models == 1 else rate)


def contest(shape: dict[str, int], device: str, models: int = MODELS) -> Contest:
    """Return the contest of one model on one thread and the population on all threads.

    On a GPU, it compares one model alone with the population.
    """
    threads = torch.get_num_threads()
    truth = [true_losses(run, CHECKED + 1) for run in runs_of(shape, device, models)]

    def check(outputs: Sequence[Tensor]) -> Iterator[Deviation]:
        for losses, true in zip(outputs, truth, strict=False):
            yield Deviation(
                "a loss of the first steps", losses_differ(losses.tolist(), true), allowance=LOSS_GATES["float32"]
            )

    step, counts = step_work(shape), {ALONE: 1, TOGETHER: models}
    threads_of = {ALONE: 1 if device == "cpu" else threads, TOGETHER: threads}
    return Contest(
        "population",
        STEP,
        {},
        ours={name: _Population(partial(_build, shape, device, counts[name], threads_of[name])) for name in counts},
        peers={},
        work=None,
        works={name: PopulationWork(n * step.flop, n * step.bytes, shape, n) for name, n in counts.items()},
        truth=lambda copies: check,
        cold=False,
        about={name: {"models": counts[name], "threads": threads_of[name]} for name in counts},
    )


def _build(shape: dict[str, int], device: str, models: int, threads: int) -> Ours:
    runs = runs_of(shape, device, models)
    return Ours(runs, serving_backend(runs), threads, LAUNCH_SECONDS)


class _Population(Deferred):
    """A population that is built when it is first used."""

    def results(self) -> tuple[Tensor, ...]:
        """Return the losses of each model: of the checked steps, and of the first step of a sample."""
        self.rewind()
        next_loss = self.version()[:, :1].double().cpu()
        return tuple(torch.cat([torch.tensor(self.version.losses, dtype=torch.float64), next_loss], dim=1))


def train_for(runs: list[TrainingRun], seconds: float) -> dict[str, Any]:
    """Train the population for `seconds`, in launches of about BURST seconds; return the rates and losses.

    Raises RuntimeError if a loss is not finite.
    """
    backend = serving_backend(runs)
    steps, step, spent, launches = 4, 0, 0.0, 0
    train_steps(runs, 0, steps, backend).sum().item()  # compiles
    while True:  # find the number of steps of a launch
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
        finite = bool(torch.isfinite(losses).all())  # also waits for the end of the launch
        step, launches, spent = step + steps, launches + 1, time.perf_counter() - start
        if not finite:
            raise RuntimeError(f"a loss is not finite after {step} steps, so no rate is given")
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
    """Return the report as one sentence of figures, and the extrapolation to PAPER_STEPS steps."""
    env, run, limit = report["environment"], report["population"], report["ceilings"]
    sizes = " ".join(f"{name} {size}" for name, size in report["shapes"].items())
    return (
        f"Measured {env['date']} at commit {env['commit']} on {env['gpu'] or env['processor']}:"
        f" {run['models']} models with {sizes} on back-end {run['backend']} took {run['steps_of_each']} steps"
        f" each in {run['seconds']:.1f} s. A step of all models takes {run['seconds_per_step_of_all'] * 1e6:.4g} us."
        f" That is {run['gflop_per_s']:.0f} GFLOP/s of needed work,"
        f" {run['gflop_per_s'] * 1e9 / limit['flop_per_s']:.0%} of the {limit['flop_per_s'] / 1e9:.0f} GFLOP/s of the"
        f" fastest float32 product in the same run. Extrapolated, not run: {run['extrapolated_steps']:,} steps of each"
        f" model would take"
        f" {run['extrapolated_seconds'] / 60:.1f} minutes."
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=FIGURE_MODELS, help="number of models (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of training (default %(default)s)")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="write population.json and population.md to FOLDER"
    )
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
