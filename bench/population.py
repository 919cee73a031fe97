"""Several models side by side in one launch, against one model alone.

python -m partae_fast.bench.population [--models 60] [--seconds 20] [--results FOLDER]

trains as many models as the paper's figure 6 shows, of the paper's sizes, for that long, on the GPU where there is one,
and tells what 10^6 steps of each would take. `partae bench train-step` has the row of 8 models on all threads against
one model on one thread.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast.atomic import atomic_path
from partae_fast.kernels.train_steps import TrainingRun
from partae_fast.training.steps import serving_backend, train_steps

from . import ceilings as ceilings_module
from .common import LOSS_GATES
from .timing import environment, measure
from .train_step import CHECKED, CONFIGURATIONS, OURS, Ours, StepRow, flop, losses_differ, make_run, make_sampler, row

MODELS = 8
LAUNCH_SECONDS = 0.1  # of a launch; in training it takes more
FIGURE_MODELS = 60  # 9 shares and the plain autoencoder that it is compared with, 3 noises, matched or not
SHARES = 9
PAPER_STEPS = 10**6
BURST = 0.5  # seconds of a launch, about


def runs_of(shape: dict[str, int], device: str, models: int) -> list[TrainingRun]:
    """Models that differ in seed, recordings, penalty and share of background latents, as in a figure's grid."""
    found = []
    for i in range(models):
        sampler = make_sampler(shape, device, seed=i)
        found.append(make_run(shape, sampler, i, penalty=0.25 * (1 + i % 4), background=i % SHARES / (SHARES - 1)))
    return found


def compare(
    shape: dict[str, int], device: str, ceilings: dict[str, Any], rounds: int, models: int = MODELS
) -> tuple[list[StepRow], list[str]]:
    """Rows of one model on one thread (of a GPU: alone) and of the population on all; and versions that were wrong."""
    threads = torch.get_num_threads()
    runs = runs_of(shape, device, models)
    backend = serving_backend(runs)
    alone = serving_backend(runs[:1])
    few = 1 if device == "cpu" else threads
    try:
        single = Ours([make_run(shape, make_sampler(shape, device))], alone, few, LAUNCH_SECONDS)
        many = Ours(runs, backend, threads, LAUNCH_SECONDS)
        # What each model of the population does alone.
        truth = [Ours([run], alone, few).first_losses for run in runs_of(shape, device, models)]
        error = max(losses_differ(found, losses) for found, losses in zip(many.losses, truth, strict=True))
        if not error <= LOSS_GATES["float32"]:
            print(f"population of {models}: losses of {CHECKED} steps differ from the models' alone by {error:.2g}")
            return [], [f"{OURS}{backend}"]
        samples = measure({"single": single, "many": many}, device, rounds)
    finally:
        torch.set_num_threads(threads)
    one, all_of_them = (float(np.median(samples[name])) for name in ("single", "many"))
    rate, needed = ceilings["flop_per_s"], flop(shape)
    fields: dict[str, Any] = {"adadelta": None, "peak_bytes": None, "held_bytes": None}
    rows = [
        row(
            *("population", f"{OURS}{alone}", shape, device, "float32", samples["single"], None, 0.0),
            floor_seconds=needed / ceilings.get("one_thread_flop_per_s", rate),
            threads=few,
            steps_in_a_call=single.steps,
            **fields,
        ),
        row(
            *("population", f"{OURS}{backend}", shape, device, "float32", samples["many"], None, error),
            floor_seconds=models * needed / rate,
            models=models,
            threads=threads,
            of_threads_times_single=models / all_of_them * one / (threads if device == "cpu" else 1),
            steps_in_a_call=many.steps,
            **fields,
        ),
    ]
    return rows, []


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
    env, found, limit = report["environment"], report["population"], report["ceilings"]
    sizes = " ".join(f"{name} {size}" for name, size in report["shapes"].items())
    return (
        f"Measured {env['date']} at commit {env['commit']} on {env['gpu'] or env['processor']}:"
        f" {found['models']} models of {sizes} on back-end {found['backend']} took {found['steps_of_each']} steps"
        f" each in {found['seconds']:.1f} s, {found['seconds_per_step_of_all'] * 1e6:.4g} us for a step of all:"
        f" {found['gflop_per_s']:.0f} GFLOP/s of needed work, {found['gflop_per_s'] * 1e9 / limit['flop_per_s']:.0%} of"
        f" the {limit['flop_per_s'] / 1e9:.0f} that the best float32 product reached in the same run. Extrapolated,"
        f" not run: {found['extrapolated_steps']:,} steps of each would take"
        f" {found['extrapolated_seconds'] / 60:.1f} minutes."
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
