"""All of it in one call: models side by side, their curves, the claims, the figures."""

import csv
import io
import json
import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...denoising import denoise
from ...errors import UserError
from ...metrics import bss, peak_normalised_mse, si_sdr, snr
from ...training.options import chosen_device
from ...training.trainer import Trainer
from .claims import judge
from .curves import LOSS_EVERY, MSE_EVERY, Curves, name_of
from .figure import FIRST, LAST, NUMBERED, draw, needed, overview
from .members import BATCH, LEARNING_RATE, N_FFT, RATE, Member, members
from .report import report

logger = logging.getLogger("partae_fast")

_RUNS = "runs"  # folder of what was trained, a file each


def run(
    out: PathLike,
    steps: int = 2000,
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
    """Train the systems of the thesis on chords in noise, and judge its claims.

    Args:
        out: a folder for curves.csv (loss and MSE of every run), figures, claims.md and, below runs/, what each model
            came to; created if it is not there.
        steps: of each model; the thesis's 2000 by default.
        seeds: models of each kind, from `seed` on; figures then have bands.
        figure: one of the figures 5 to 22, of which alone the models are trained; None for all.
        as_program: as the thesis's program does it, not as its text.
        extras: also its deep network, and what it leaves to later work: two-sided FFT, batch normalisation in every
            layer, and, where `noise` is given, recorded noise.
        noise: recordings of noise, the first of 5 s or more.
        jobs: models at a time, each in a process with a thread of its own; None for as many as there are threads.
        backend, device: as for `pf.Trainer`. On a GPU there is one job.
        resume: take what runs/ has of the same settings, and train the rest.

    Returns claims (the fields of each), conditions, seconds and files.

    Raises UserError where a setting is out of range, a file cannot be read or written, runs/ holds another run's, or a
    loss turned NaN.

    Lusterman 2016, A partitioned autoencoder for audio de-noising.
    """
    started, out = time.monotonic(), Path(out)
    if steps % MSE_EVERY:
        raise UserError(f"steps is {steps}; it must be a multiple of {MSE_EVERY}, for the error is measured so often")
    if figure is not None and figure not in NUMBERED:
        raise UserError(f"figure is {figure}; choose one of {FIRST} to {LAST}")
    files = tuple(str(Path(path).resolve()) for path in noise or ())
    if files and not extras:
        raise UserError("noise is recorded noise for the extras; ask for those too")
    wanted = members(seeds, seed, as_program, extras, files)
    if figure is not None:
        wanted = [member for member in wanted if (member.system, member.snr) in needed(figure)]
    on_gpu = chosen_device(device, backend).type == "cuda"
    jobs = 1 if on_gpu else min(jobs or torch.get_num_threads(), len(wanted))
    curves = _all(out / _RUNS, wanted, steps, backend, device, jobs, resume)
    curves.sort(key=lambda c: [name_of(m.system, m.snr, m.seed) for m in wanted].index(c.name))
    conditions = _conditions(steps, seeds, seed, as_program, wanted)
    claims = judge(curves)
    files = _write(out, curves, figure, report(claims, conditions, curves))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def train(member: Member, steps: int, backend: str, device: str | None) -> Curves:
    """Train a model; returns its curves."""
    model = member.model().to(chosen_device(device, backend))
    sampler, (clean, noisy) = member.material()
    trainer = Trainer(model, sampler, member.penalty, "adam", backend, learning_rate=LEARNING_RATE, progress=False)
    mse, seconds = [_error(model, clean, noisy)], 0.0
    while trainer.step < steps:
        begun = time.monotonic()
        trainer.run(MSE_EVERY)
        seconds += time.monotonic() - begun
        mse.append(_error(model, clean, noisy))
    losses = torch.tensor(trainer.history.loss).view(-1, LOSS_EVERY).mean(1)
    return Curves(member.system, member.snr, member.seed, losses.tolist(), mse, _final(model, clean, noisy), seconds)


def _error(model: Any, clean: torch.Tensor, noisy: torch.Tensor) -> float:
    return peak_normalised_mse(clean.numpy(), denoise(noisy.numpy(), RATE, model))


def _final(model: Any, clean: torch.Tensor, noisy: torch.Tensor) -> dict[str, float]:
    reference, heard = clean.numpy(), noisy.numpy()
    found = denoise(heard, RATE, model)
    gain = snr(reference, found) - snr(reference, heard)
    return {
        "snr_gain": gain,
        "si_sdr": si_sdr(reference, found),
        "sdr": bss(reference, heard - reference, found).sdr,
    }


def _all(
    folder: Path, wanted: Sequence[Member], steps: int, backend: str, device: str | None, jobs: int, resume: bool
) -> list[Curves]:
    """The curves of all members, from the folder where a run of the same settings left them there."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not resume:
        raise UserError(f"{folder}: holds an earlier run; go on with --resume, or name another folder with --out")
    found, rest = [], []
    for member in wanted:
        known = _known(folder, member, steps)
        found.append(known) if known else rest.append(member)
    if known_count := len(found):
        logger.info("%d of %d models were trained before", known_count, len(wanted))
    for member, curves in _trained(rest, steps, backend, device, jobs):
        with atomic_path(_place(folder, member)) as path:
            path.write_text(json.dumps({"member": asdict(member), "steps": steps, "curves": asdict(curves)}) + "\n")
        found.append(curves)
        logger.info(
            "%d of %d: %s at %+g dB, MSE %.3g, %.0f s",
            len(found),
            len(wanted),
            member.system,
            member.snr,
            curves.settled_mse,
            curves.seconds,
        )
    return found


def _trained(
    rest: Sequence[Member], steps: int, backend: str, device: str | None, jobs: int
) -> Iterator[tuple[Member, Curves]]:
    """Each member and its curves, as they are done."""
    if jobs == 1:
        for member in rest:
            yield member, train(member, steps, backend, device)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(train, member, steps, backend, device): member for member in rest}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _place(folder: Path, member: Member) -> Path:
    return folder / f"{name_of(member.system, member.snr, member.seed)}.json"


def _known(folder: Path, member: Member, steps: int) -> Curves | None:
    """What the folder has of a member; raises UserError where it is of other settings."""
    path = _place(folder, member)
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        same = kept["member"] == json.loads(json.dumps(asdict(member))) and kept["steps"] == steps
        curves = Curves(**kept["curves"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, and its model is trained again") from error
    if not same:
        raise UserError(f"{path}: is of other settings; give the same, or name another folder with --out")
    return curves


def _write(out: Path, curves: Sequence[Curves], number: int | None, text: str) -> list[Path]:
    """Write table, figures and claims; returns the files."""
    files = [out / "curves.csv", out / "claims.md"]
    with atomic_path(files[0]) as path:
        path.write_text(_table(curves))
    with atomic_path(files[1]) as path:
        path.write_text(text)
    for each in NUMBERED if number is None else [number]:
        files.append(out / f"figure{each:02d}.png")
        draw(files[-1], curves, each)
    if number is None:
        files.append(out / "figures.png")
        overview(files[-1], curves)
    return files


def _table(curves: Sequence[Curves]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", "snr_db", "seed", "measure", "step", "value"])
    for c in curves:
        about = [c.system, f"{c.snr:g}", c.seed]
        writer.writerows([*about, "loss", LOSS_EVERY * (i + 1), f"{x:.5g}"] for i, x in enumerate(c.loss))
        writer.writerows([*about, "mse", MSE_EVERY * i, f"{x:.5g}"] for i, x in enumerate(c.mse))
        writer.writerows(
            [*about, f"{what}_db", MSE_EVERY * (len(c.mse) - 1), f"{x:.2f}"] for what, x in c.final.items()
        )
    return text.getvalue()


def _conditions(steps: int, seeds: int, first: int, as_program: bool, wanted: Sequence[Member]) -> dict[str, str]:
    """What the run is, in lines to be read."""
    follows = "the thesis's program" if as_program else "the thesis's text"
    bins = "all 1024" if as_program else "512"
    return {
        "material": f"Chords of four sines in white noise, {N_FFT} samples a frame at {RATE} Hz, {bins} bins of |FFT|.",
        "measure": "The error is of one chord of a second, the same for all systems of an SNR, with the noisy phase.",
        "training": f"{len(wanted)} models, after {follows}, {steps} steps of Adam at {LEARNING_RATE:g} each.",
        "batches": f"{BATCH} items each; seeds {first} to {first + seeds - 1}.",
        "figures": "Figures 5 to 12 are each system's loss and MSE, 13 to 22 each SNR's, in this order.",
    }
