"""From recordings to a trained model, in one call."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import labels as labelling
from ..errors import UserError
from ..file_lock import only_writer
from ..sampling import CropSampler
from .checkpoint import falling_over
from .distributed import Ranks, current, own_device
from .material import Audio, Material, PathLike, crop_frames, prepare
from .presets import DEFAULT, Preset
from .record import JsonLines, Record, TensorBoard
from .remix import MILD_END, cautious, remixes, typical_power, with_bypass
from .reservoir import DEFAULT_MIB, ReservoirSampler
from .stored import is_stored
from .trainer import History, Trainer

logger = logging.getLogger("partae_fast")


def fit(
    recordings: Sequence[Audio],
    noise: Sequence[Audio] | None = None,
    labels: PathLike | Sequence[PathLike] | None = None,
    preset: str = DEFAULT,
    low: float | None = None,
    high: float | None = None,
    rate: int | None = None,
    n_fft: int | None = None,
    hop: int | None = None,
    bins: int | None = None,
    steps: int | None = None,
    penalty: float | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    backend: str = "auto",
    device: str | torch.device | None = None,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    weight_decay: float = 0.0,
    guard: float = labelling.GUARD,
    signal_labels: Sequence[str] | None = None,
    noise_labels: Sequence[str] = (),
    min_noise: float = 0.0,
    label_format: str | None = None,
    history: PathLike | None = None,
    tensorboard: PathLike | None = None,
    cache: PathLike | None = None,
    reservoir: float | None = None,
) -> Any:
    """Train a model to tell the signal in `recordings` from noise; returns it, ready to denoise.

    Every channel of every recording is a recording. With labels, time outside every event of a recording
    that they list is noise-only, and time inside one has signal; the stretches of either kind are joined, and a
    crop may span a join. What is unknown in such a recording is left out of both: time with labels that are not
    asked for, with a label of another channel, and noise-only stretches that are too short. All of a recording that
    is not listed may have signal. Magnitudes are scaled so that the root of their mean square over what may have signal
    is the preset's level, by the spectrogram's gain, so that quiet recordings train as loud ones do. Where
    recordings are short, crops shrink to the longest multiple of the pool that fits, at least 8 pools, and the
    log says so.

    Args:
        recordings: files, or pairs (samples (T,) or (T, channels), rate in Hz), with signal and noise in
            them.
        noise: recordings of noise alone, likewise.
        labels: label files for `recordings`: Audacity, Raven, CSV, BirdNET and more; see `partae_fast.labels.listed`
            for which recording a row is about.
        preset: a name in `PRESETS`; the settings that are not given here.
        low, high: the band in Hz; by default from the labels' frequencies where they have any, else the
            preset's, and no wider than the recordings.
        rate: samples per second at which the model works; recordings are resampled. By default the preset's,
            doubled until the band fits, no higher than the recordings' own.
        n_fft, hop: window and hop in samples; by default the preset's, times the power of two that keeps
            their duration closest to the preset's.
        bins: bins in the band, for `high` where that is not given.
        steps: training steps in all, those of a resumed checkpoint included; by default the preset's. Where the
            preset's learning rate falls as training goes on, a run is resumed for as many as it was begun for.
        penalty, optimizer, learning_rate: as for `Trainer`; by default the preset's. Another optimizer starts at its
            own learning rate. They are for the partitioned autoencoder, where a preset trains others after it.
        backend: what computes the steps; see `pf.backends()`.
        device: None for a GPU where there is one and the back-end can use it, else the CPU.
        seed: decides weights and crops, 0 to 2**64 - 1.
        checkpoint, resume, overwrite, progress: as for `Trainer`. A preset that trains several models keeps the later
            ones' checkpoints beside the first's (see `checkpoints`); they are of no use without that.
        weight_decay: this times a weight is added to its gradient, >= 0.
        guard: seconds around each event that count as signal too, >= 0.
        signal_labels: the labels that are signal; by default all that are not in `noise_labels`.
        noise_labels: labels that do not count: their time is noise-only where no other label is.
        min_noise: seconds; noise-only stretches of labelled recordings that are shorter are left out.
        label_format: one of `partae_fast.labels.FORMATS`; by default what each file's content shows.
        history: a file for the record of the run, lines of JSON: settings, then the loss as training goes (see
            `partae_fast.training.record`). A run that is resumed goes on in it; else it is replaced.
        tensorboard: a folder for the same as curves, which `tensorboard --logdir` shows; needs the extra tensorboard.
        cache: a folder for the spectrograms of recordings that are files: they are computed once, by processes, and
            read from there by this run and later ones. None keeps them in memory.
        reservoir: with a cache, the MiB of spectrograms that are in memory at a time (default 1024). Where all are
            less, all are; else crops are drawn from a part that is renewed as training goes (see
            `partae_fast.training.reservoir`), what later models learn from and what is matched is an excerpt, and
            the bits depend on this number.

    Where a process group of `torch.distributed` is there, its ranks train one model together (see `Trainer`): call
    `fit` on each with the same arguments. Each returns the model.

    Returns: a ConvPartitionedAutoencoder, or the ConvDenoisingAutoencoder that learned from it (preset "field": see
    `partae_fast.training.remix`), with `spectrogram`, `mask`, noise statistics, and `history` of the loss.

    Raises UserError, one line, for whatever is wrong with files, labels or settings.

    Stowell & Turner 2015.
    """
    about_labels: Any = {"guard": guard, "signal_labels": signal_labels, "noise_labels": noise_labels}
    about_labels |= {"min_noise": min_noise, "label_format": label_format, "cache": cache, "progress": progress}
    material = prepare(recordings, noise, labels, preset, low, high, rate, n_fft, hop, bins, **about_labels)
    return fit_material(
        material,
        steps=steps,
        penalty=penalty,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        backend=backend,
        device=device,
        seed=seed,
        checkpoint=checkpoint,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        history=history,
        tensorboard=tensorboard,
        reservoir=reservoir,
    )


def fit_material(
    material: Material,
    steps: int | None = None,
    penalty: float | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    backend: str = "auto",
    device: str | torch.device | None = None,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    weight_decay: float = 0.0,
    history: PathLike | None = None,
    tensorboard: PathLike | None = None,
    reservoir: float | None = None,
) -> Any:
    """`fit` on what `prepare` made of the recordings, for a caller that wants both; arguments and errors as there."""
    settings, ranks = material.preset, current()
    steps = settings.steps if steps is None else steps
    if steps < 0:
        raise UserError(f"steps is {steps}; it must be 0 or more")
    frames = crop_frames(material, settings.frames, settings.pool)
    chosen = chosen_device(device, backend)
    _say_idle(chosen, ranks)
    earlier, *later = settings.split(steps)
    if 0 in later and steps:
        logger.warning(
            "steps is %d, which leaves none for the model that denoises: give %d or more", steps, 1 + len(later)
        )
    optimizer, own = optimizer or settings.optimizer, optimizer in (None, settings.optimizer)
    common: Any = {"backend": backend, "resume": resume, "overwrite": overwrite, "progress": progress, "ranks": ranks}
    common["options"] = {"weight_decay": weight_decay}
    first, *others = [None] * (1 + len(later)) if checkpoint is None else checkpoints(checkpoint, settings)
    if first and resume and settings.falling:
        _check_begun_for(first, settings, steps)
    with contextlib.ExitStack() as open_files:
        if first and ranks.leads:
            open_files.enter_context(only_writer(first))
        record = _record(material, history if ranks.leads else None, tensorboard if ranks.leads else None, resume)
        open_files.callback(record.close)
        trainer = Trainer(
            _model(material, seed).to(chosen),
            _sampler(material, frames, seed, reservoir),
            penalty=settings.penalty if penalty is None else penalty,
            optimizer=optimizer,
            learning_rate=settings.learning_rate if learning_rate is None and own else learning_rate,
            falling_over=earlier if settings.falling else 0,
            checkpoint=first,
            watch=record.watch,
            **common,
        )
        if ranks.leads and not (resume and first and first.exists()):
            _clear(others, overwrite)
        _train(trainer, earlier, record)
        model, losses = trainer.model, trainer.history.loss
        material = material.excerpt(seed) if later else material
        for number, (count, path) in enumerate(zip(later, others, strict=True), start=1):
            given = material.signal, material.noise, frames, settings.batch, settings.noise_only, seed
            trainer = Trainer(
                _denoising(material, seed).to(chosen),
                remixes(model, *given, number),
                penalty=0.0,
                optimizer="adam",
                learning_rate=settings.learning_rate,
                falling_over=count if settings.falling else 0,
                checkpoint=path,
                watch=record.watch,
                **common,
            )
            _train(trainer, count, record)
            model, losses = trainer.model, losses + trainer.history.loss
            model.noise_mean_square.copy_(torch.from_numpy(typical_power(material.noise, material.signal)))
            model.mask = with_bypass(cautious(model.mask, material.noise, MILD_END), material.noise)
    model.history = History(losses)
    return model


def checkpoints(path: PathLike, preset: Preset) -> list[Path]:
    """Where training keeps its checkpoint, and where models that learn from the first keep theirs."""
    later = range(1, len(preset.shares))
    return [Path(path), *(Path(f"{os.fspath(path)}.remixed{number}") for number in later)]


def _clear(checkpoints: Sequence[Path | None], overwrite: bool) -> None:
    """Remove the later models' checkpoints, for they are of another run where the first model begins anew."""
    for path in checkpoints:
        if path and path.exists() and not overwrite:
            raise UserError(f"{path}: a checkpoint exists without the first model's; overwrite it or name another")
        if path:
            path.unlink(missing_ok=True)


def _train(trainer: Trainer, steps: int, record: Record) -> None:
    trainer.fused()  # a back-end that is not there leaves no record
    record.begin(trainer)
    if trainer.checkpoint is not None and trainer.step >= steps > 0:
        logger.info("%s: %d steps were done already, and its model takes %d", trainer.checkpoint, trainer.step, steps)
    trainer.run(max(0, steps - trainer.step))
    record.end(trainer)


def _record(material: Material, history: PathLike | None, tensorboard: PathLike | None, resume: bool) -> Record:
    """Where the losses are written, if anywhere."""
    about = {"source": material.preset.source, "spectrogram": material.spectrogram.to_dict()}
    sinks: list[Any] = [] if history is None else [JsonLines(history, about, resume)]
    return Record(sinks if tensorboard is None else [*sinks, TensorBoard(tensorboard)])


def _sampler(material: Material, frames: int, seed: int, reservoir: float | None) -> CropSampler:
    """Batches of the preset's kind, from memory where the recordings fit into it."""
    settings = material.preset
    common = frames, settings.batch, settings.noise_only, seed
    recordings, most = [*material.signal, *material.noise], DEFAULT_MIB if reservoir is None else reservoir
    size = 4 * sum(recording.size for recording in recordings) / 2**20
    if is_stored(recordings) and size > most:
        sampler = ReservoirSampler([material.signal], [material.noise], *common, most)
        logger.info("a reservoir of %.0f of %.0f MiB is renewed every %d steps", most, size, sampler.every)
        return sampler
    return CropSampler([material.signal], [material.noise], *common)


def _check_begun_for(checkpoint: Path, preset: Preset, steps: int) -> None:
    """Refuse to resume a run for another number of steps where its learning rate falls over all of them."""
    begun = falling_over(checkpoint)
    if not begun or preset.split(steps)[0] == begun:
        return
    likely = [n for n in range(begun, (begun + 1) * sum(preset.shares)) if preset.split(n)[0] == begun]
    if likely:
        told = f"{likely[0]} to {likely[-1]}" if len(likely) > 1 else f"{likely[0]}"
        raise UserError(
            f"{checkpoint}: begun for {told} steps, over which its learning rate falls, and now asked for {steps}; "
            f"go on with --steps {likely[-1]}, or begin anew with --overwrite"
        )


def _say_idle(device: torch.device, ranks: Ranks) -> None:
    """Whether GPUs are left idle, and how to use them."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if ranks.count == 1 < gpus:
        logger.info(
            "1 of %d GPUs trains; large batches are faster on all: torchrun --nproc-per-node %d -m partae_fast train",
            gpus,
            gpus,
        )


def _model(material: Material, seed: int) -> Any:
    """The preset's model before the first step, with what denoising needs to know."""
    from ..models.conv_partitioned import ConvPartitionedAutoencoder

    preset = material.preset
    model = ConvPartitionedAutoencoder(
        bins=material.spectrogram.bins,
        latents=preset.latents,
        taps=preset.taps,
        pool=preset.pool,
        background=preset.background,
        seed=seed,
    )
    equip(model, material)
    return model


def _denoising(material: Material, seed: int) -> Any:
    """A model that learns from remixes, before its first step."""
    from ..models.denoising_conv import ConvDenoisingAutoencoder

    preset = material.preset
    model = ConvDenoisingAutoencoder(
        material.spectrogram.bins, latents=preset.latents, taps=preset.taps, pool=preset.pool, seed=seed
    )
    equip(model, material)
    return model


def equip(model: Any, material: Material) -> None:
    """Tell a model what denoising needs to know of its material: spectrogram and mask."""
    from ..denoising.mask import Mask

    model.spectrogram, model.mask = material.spectrogram, Mask(**material.preset.mask)


def chosen_device(device: str | torch.device | None, backend: str) -> torch.device:
    """The device to train on; None means a GPU where there is one and the back-end can use it."""
    if device is None:
        return own_device(torch.device("cuda" if torch.cuda.is_available() and backend != "cpu" else "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is not known; try cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda was asked for and PyTorch sees none; use cpu, or a CUDA build of PyTorch and a GPU"
        )
    return own_device(chosen)
