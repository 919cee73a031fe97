"""The whole experiment: models trained in parallel, curves, claims and figures."""

import csv
import io
import json
import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...audio.folders import recordings_in
from ...denoising import denoise
from ...errors import UserError
from ...metrics import bss, peak_normalised_mse, si_sdr, snr
from ...training.options import chosen_device
from ...training.trainer import Trainer
from ..corpora import recordings_of
from ..parts import require_unused
from ..settings_file import write_settings
from .claims import check_claims
from .figures import FIRST, LAST, NUMBERED, draw_figure, draw_overview, systems_in
from .markdown import claims_markdown
from .models import (
    BATCH,
    EXAMPLE_FRAMES,
    LEARNING_RATE,
    N_FFT,
    RATE,
    TEXT,
    VERSIONS,
    ModelSpec,
    model_specs,
)
from .scores import LOSS_EVERY, MSE_EVERY, Curves, run_name

logger = logging.getLogger("partae_fast")

_RUNS = "runs"  # folder of finished runs, a file each


def run(
    out: PathLike,
    steps: int = 500,
    seeds: int = 1,
    figure: int | None = None,
    as_program: bool = False,
    extras: bool = False,
    noise: Sequence[PathLike] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train the systems of the thesis on chords in noise, and check its claims.

    Args:
        out: a folder for curves.csv (loss and MSE of every run), figures, claims.md, settings.yaml and runs/ (the
            curves of each model); created if missing. Figures of the program have names with _program.
        steps: per model, a multiple of 50. The thesis has 2000; by 500 most losses have settled.
        seeds: models of each kind; with several, figures have bands.
        figure: number of a figure, 5 to 22, to train only its models; None for all.
        as_program: whether to train the models of the thesis's program beside those of its text. Its figures come from
            the program, which passes the noise's variance as its deviation and normalises by the statistics of a batch
            at test.
        extras: whether to add the thesis's deep network and its future work: two-sided FFT, batch normalisation in
            every layer and, with `noise`, recorded noise.
        noise: recordings of noise for the extras; the first must last 5 s or more. None for those of `corpora`, if they
            are there.
        seed: the first seed.
        jobs: models to train at a time, each in a process with one thread; None for the number of threads. On a GPU
            there is one job.
        backend, device: as for `pf.Trainer`.
        resume: whether to keep the runs of the same settings in runs/ and train only the others.

    Returns:
        A dictionary with claims (the fields of each `Claim`; those of the program have letters with _program),
        conditions, seconds and files.

    Raises UserError if a setting is out of range, if a file cannot be read or written, if runs/ contains runs with
    other settings or `resume` is false, or if a loss becomes NaN.

    Lusterman 2016, A partitioned autoencoder for audio de-noising.
    """
    started, out = time.monotonic(), Path(out)
    if steps % MSE_EVERY:
        raise UserError(
            f"steps is {steps}; it must be a multiple of {MSE_EVERY}, the steps between two measurements of the MSE"
        )
    if figure is not None and figure not in NUMBERED:
        raise UserError(f"figure is {figure}; choose a number from {FIRST} to {LAST}")
    if extras and noise is None and (folder := recordings_of("lusterman2016")):
        noise = recordings_in(folder)
    noise_files = tuple(str(Path(path).resolve()) for path in noise or ())
    if noise_files and not extras:
        raise UserError("noise is used by the extras alone; add --extras, or omit --noise")
    specs = model_specs(seeds, seed, as_program, extras, noise_files)
    if figure is not None:
        specs = [spec for spec in specs if (spec.system, spec.snr) in systems_in(figure)]
    on_gpu = chosen_device(device, backend).type == "cuda"
    jobs = 1 if on_gpu else min(jobs or torch.get_num_threads(), len(specs))
    curves = _train_or_load(out / _RUNS, specs, steps, backend, device, jobs, resume)
    order = [run_name(spec.system, spec.snr, spec.seed, spec.version) for spec in specs]
    curves.sort(key=lambda c: order.index(c.name))
    conditions = _conditions(steps, seeds, seed, as_program, len(specs))
    versions = VERSIONS if as_program else VERSIONS[:1]
    claims = {version: check_claims([c for c in curves if c.version == version]) for version in versions}
    files = _write(out, curves, figure, claims_markdown(claims, conditions, curves), versions)
    settings = {
        "steps": steps,
        "seeds": seeds,
        "figure": figure,
        "as_program": as_program,
        "extras": extras,
        "seed": seed,
    }
    files.append(write_settings(out, "lusterman2016", settings))
    return {
        "claims": [
            vars(replace(claim, letter=claim.letter + ("" if version == TEXT else f"_{version}")))
            for version, checked in claims.items()
            for claim in checked
        ],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def train(spec: ModelSpec, steps: int, backend: str, device: str | None) -> Curves:
    """Train a model and return its curves."""
    model = spec.model().to(chosen_device(device, backend))
    sampler, (clean, noisy) = spec.training_data()
    trainer = Trainer(model, sampler, spec.penalty, "adam", backend, learning_rate=LEARNING_RATE)
    mse, seconds = [_mse(model, clean, noisy)], 0.0
    while trainer.step < steps:
        started = time.monotonic()
        trainer.run(MSE_EVERY)
        seconds += time.monotonic() - started
        mse.append(_mse(model, clean, noisy))
    losses = torch.tensor(trainer.history.loss).view(-1, LOSS_EVERY).mean(1)
    final = _final_scores(model, clean, noisy)
    input_mse = peak_normalised_mse(clean.numpy(), noisy.numpy())
    return Curves(spec.system, spec.snr, spec.seed, losses.tolist(), mse, final, seconds, spec.version, input_mse)


def _mse(model: Any, clean: torch.Tensor, noisy: torch.Tensor) -> float:
    return peak_normalised_mse(clean.numpy(), denoise(noisy.numpy(), RATE, model))


def _final_scores(model: Any, clean: torch.Tensor, noisy: torch.Tensor) -> dict[str, float]:
    reference, mixture = clean.numpy(), noisy.numpy()
    estimate = denoise(mixture, RATE, model)
    return {
        "snr_gain": snr(reference, estimate) - snr(reference, mixture),
        "si_sdr": si_sdr(reference, estimate),
        "sdr": bss(reference, mixture - reference, estimate).sdr,
    }


def _train_or_load(
    folder: Path, specs: Sequence[ModelSpec], steps: int, backend: str, device: str | None, jobs: int, resume: bool
) -> list[Curves]:
    """Return the curves of all models; finished runs are read from the folder and the others trained."""
    require_unused(folder, resume)
    finished, remaining = [], []
    for spec in specs:
        curves = _load(folder, spec, steps)
        finished.append(curves) if curves else remaining.append(spec)
    if finished:
        logger.info("%d of %d models were trained before", len(finished), len(specs))
    for spec, curves in _train_all(remaining, steps, backend, device, jobs):
        with atomic_path(_run_path(folder, spec)) as path:
            path.write_text(json.dumps({"member": asdict(spec), "steps": steps, "curves": asdict(curves)}) + "\n")
        finished.append(curves)
        logger.info(
            "%d of %d: %s at %+g dB, MSE %.3g, %.0f s",
            len(finished),
            len(specs),
            spec.system,
            spec.snr,
            curves.settled_mse,
            curves.seconds,
        )
    return finished


def _train_all(
    specs: Sequence[ModelSpec], steps: int, backend: str, device: str | None, jobs: int
) -> Iterator[tuple[ModelSpec, Curves]]:
    """Train all models; yield each with its curves when it is done."""
    if jobs == 1:
        for spec in specs:
            yield spec, train(spec, steps, backend, device)
        return
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(train, spec, steps, backend, device): spec for spec in specs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:  # also an interrupt: a model that is being trained would take minutes
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _run_path(folder: Path, spec: ModelSpec) -> Path:
    return folder / f"{run_name(spec.system, spec.snr, spec.seed, spec.version)}.json"


def _load(folder: Path, spec: ModelSpec, steps: int) -> Curves | None:
    """Read the curves of a finished run, or None; raise UserError if the run had other settings."""
    path = _run_path(folder, spec)
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        same = stored["member"] == json.loads(json.dumps(asdict(spec))) and stored["steps"] == steps
        curves = Curves(**stored["curves"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it to train its model again") from error
    if not same:
        raise UserError(f"{path}: was trained with other settings; use the same, or name another folder with --out")
    return curves


def _write(out: Path, curves: Sequence[Curves], number: int | None, text: str, versions: Sequence[str]) -> list[Path]:
    """Write table, figures and claims; return the files."""
    files = [out / "curves.csv", out / "claims.md"]
    with atomic_path(files[0]) as path:
        path.write_text(_table(curves))
    with atomic_path(files[1]) as path:
        path.write_text(text)
    for version in versions:
        of_version, suffix = [c for c in curves if c.version == version], "" if version == TEXT else f"_{version}"
        for each in NUMBERED if number is None else [number]:
            files.append(out / f"figure{each:02d}{suffix}.png")
            draw_figure(files[-1], of_version, each)
        if number is None:
            files.append(out / f"figures{suffix}.png")
            draw_overview(files[-1], of_version)
    return files


def _table(curves: Sequence[Curves]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["version", "system", "snr_db", "seed", "measure", "step", "value"])
    for c in curves:
        key = [c.version, c.system, f"{c.snr:g}", c.seed]
        if c.input_mse is not None:
            writer.writerow([*key, "input_mse", 0, f"{c.input_mse:.5g}"])
        writer.writerows([*key, "loss", LOSS_EVERY * (i + 1), f"{x:.5g}"] for i, x in enumerate(c.loss))
        writer.writerows([*key, "mse", MSE_EVERY * i, f"{x:.5g}"] for i, x in enumerate(c.mse))
        writer.writerows(
            [*key, f"{score}_db", MSE_EVERY * (len(c.mse) - 1), f"{x:.2f}"] for score, x in c.final.items()
        )
    return text.getvalue()


def _conditions(steps: int, seeds: int, first: int, as_program: bool, models: int) -> dict[str, str]:
    """Return lines that describe the run."""
    followed, bins = "the thesis's text", "512 bins of |FFT|"
    if as_program:
        followed, bins = "the thesis's text and, beside it, its program", f"{bins} (all 1024 in the program)"
    return {
        "material": f"Chords of four sines in white noise at {RATE} Hz; {N_FFT} samples a frame, {bins}.",
        "measure": f"The MSE is that of one chord of {EXAMPLE_FRAMES} frames, the same for all systems at an SNR, with "
        "the noisy phase. The SNR of a batch counts the zeros of noise-only items (the program leaves them out).",
        "training": f"{models} models that follow {followed}, {steps} steps of Adam at {LEARNING_RATE:g} each.",
        "batches": f"{BATCH} items per batch; seeds {first} to {first + seeds - 1}.",
        "figures": "Figures 5 to 12 show loss and MSE of each system, figures 13 to 22 at each SNR.",
    }
