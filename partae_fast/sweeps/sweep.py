"""Sweeps: many models trained together, with shared launches.

Files in a sweep's folder:
    NAME.safetensors              a trained model (`pf.load`, `partae denoise`)
    checkpoints/NAME.checkpoint   kept after training, so that steps and members can be added
    results.csv, results.json     the table, one row per member
    results.png                   losses over steps, and results against each setting that varies
"""

import csv
import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import atomic_path, check_writable
from ..errors import UserError
from ..models.protocol import Model
from ..models.storage import save
from ..sampling.crops import CropSampler
from ..systems.convolutional import ConvolutionalSettings
from ..systems.registry import system_named
from ..training.checkpoint import Checkpoint, differences, read_losses
from ..training.loop import Pace, deferred_interrupt, progress_bar
from ..training.material import Audio, Material, PathLike, path_list
from ..training.options import TrainingOptions, chosen_device
from ..training.steps import alike, serving_backend
from ..training.trainer import Trainer, launch
from .grid import RESULTS, Member, combinations, members_of

logger = logging.getLogger("partae_fast")

# On a CPU, a thread trains one model at a time. A few models per thread keep all threads busy until a launch ends; with
# more, a launch would have few steps. On a GPU, all members of equal shape and optimizer share a launch.
_MEMBERS_PER_THREAD = 4

# The batch that members are scored on. The seed is unlikely to be used for training.
_SCORED_ITEMS, _SCORED_NOISE_ONLY, _SCORED_SEED = 32, 0.5, 2**64 - 1

_SETTINGS = ("latents", "taps", "pool", "background", "penalty", "noise_only", "batch", "optimizer")


class Sweep:
    """Training of many models, with saved models, a table and a plot.

    On the CPU, each member is trained to the same bits as by a separate Trainer. A member whose loss becomes NaN or
    infinite is marked as failed and does not stop the others; a resumed sweep trains it again from its last checkpoint.

    Args:
        members: see `Member`; `Sweep.of_grid` makes them from a sampler, `Sweep.of_recordings` from recordings.
        folder: the folder for all files, created if it does not exist.
        steps: training steps of each member in total, including those before a sweep was resumed.
        backend: the implementation of the steps; see `pf.backends()`.
        resume: continue the sweep in `folder`, with the same bits as without a stop. Trained members are not trained
            again. Members may be added; members that are left out keep their files and rows.
        about: JSON values that all members have in common, kept in results.json. A sweep can only be resumed with
            equal values.
        checkpoint_every: seconds between checkpoints.
        progress: show a progress bar of the steps of all members; None shows it on a terminal only.

    Raises UserError if two members share a name or a model, if a setting is out of range, if the folder cannot be
    written, if it contains a sweep and `resume` is false, or if that sweep has other recordings or settings.

    >>> import numpy as np, tempfile, partae_fast as pf
    >>> group = [np.random.default_rng(0).random((200, 8))]
    >>> sampler = pf.CropSampler(signal=[group], noise=[group], frames=32, batch=4)
    >>> grid = {"penalty": [0.5, 1.0], "seed": [0, 1]}
    >>> fixed = {"latents": 4, "taps": 3, "pool": 4}
    >>> rows = pf.Sweep.of_grid(grid, sampler, tempfile.mkdtemp(), fixed=fixed, steps=5, progress=False).run()
    >>> rows[0]["name"], rows[0]["penalty"], rows[0]["status"], rows[0]["steps"]
    ('penalty=0.5_seed=0', 0.5, 'done', 5)
    """

    def __init__(
        self,
        members: Sequence[Member],
        folder: PathLike,
        steps: int = 4000,
        backend: str = "auto",
        resume: bool = False,
        about: Mapping[str, Any] | None = None,
        checkpoint_every: float = 60.0,
        progress: bool | None = None,
    ) -> None:
        if steps < 1:
            raise UserError(f"steps is {steps}; it must be 1 or more")
        self.members, self.folder, self.steps = list(members), Path(folder), steps
        self.backend, self.checkpoint_every, self.progress = backend, checkpoint_every, progress
        self.about = json.loads(json.dumps(about or {}))  # the values as they are read back from results.json
        _check_members(self.members)
        self._earlier_rows = self._open_folder(resume)
        _move_sources(self.members)
        self._trainers = [
            Trainer(
                member.model,
                member.sampler,
                penalty=member.penalty,
                optimizer=member.optimizer,
                backend=backend,
                learning_rate=member.learning_rate,
                options=member.options,
                checkpoint=Checkpoint(self._checkpoint(member.name), resume=resume),
            )
            for member in self.members
        ]
        self._member = dict(zip(self._trainers, self.members, strict=True))
        self._failures: dict[str, str] = {}  # error messages by member name
        self._scores: dict[str, dict[str, float | None]] = {}  # by name of the finished members

    @classmethod
    def of_grid(
        cls,
        grid: Mapping[str, Any],
        sampler: CropSampler,
        folder: PathLike,
        fixed: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "Sweep":
        """Make a sweep over all combinations of settings, from a sampler.

        All members share the recordings of the sampler.

        Args:
            grid: a value or a list of values for each setting: penalty, optimizer and its options (learning_rate,
                momentum, ...), latents, taps, pool, background, frames, batch, noise_only, seed. Settings may change
                the shape of the models; members of equal shape are trained together.
            sampler: recordings on the device to train on, and defaults for the settings of batches.
            folder, options: as for `Sweep`.
            fixed: settings of all members that are not shown in names and tables.

        Raises UserError as `Sweep` does, and for settings that are unknown or out of range.
        """
        varied, rest = combinations(grid), combinations(fixed or {})
        if len(rest) > 1:
            raise UserError("fixed has a setting with several values; put it into the grid")
        return cls(members_of(varied, sampler, rest * len(varied)), folder, **options)

    @classmethod
    def of_recordings(
        cls,
        grid: Mapping[str, Any],
        recordings: Sequence[Audio] | Material,
        folder: PathLike,
        noise: Sequence[Audio] | None = None,
        labels: PathLike | Sequence[PathLike] | None = None,
        system: str = "stowell2015",
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> "Sweep":
        """Make a sweep over all combinations of settings, from recordings.

        The models can denoise audio.

        Args:
            grid: as for `of_grid`; by default settings are those of the system, and the seed is 0.
            recordings, noise, labels, device: as for `pf.fit`.
            system: a convolutional system that trains one model.
            settings: settings of the system for all members.
            folder, options: as for `Sweep`.

        Raises UserError as `of_grid` and `pf.fit` do.
        """
        combined = combinations(grid)
        base = system_named(system).settings(settings)
        if not isinstance(base, ConvolutionalSettings) or len(base.stages(0)) > 1:
            raise UserError(
                f"model {system} cannot be swept, as it is not a single partitioned autoencoder; use stowell2015"
            )
        _check_folder(Path(folder), options.get("resume", False))  # before the recordings are read
        material = (
            recordings if isinstance(recordings, Material) else Material(recordings, noise or (), path_list(labels))
        )
        spectrograms = base.spectrograms(material, TrainingOptions())
        shared: dict[str, Any] = {name: getattr(base, name) for name in _SETTINGS}
        # The system's default frames are reduced for short recordings, as in `fit`; frames in the grid are not.
        pools = {varied.get("pool", base.pool): 0 for varied in combined if "frames" not in varied}
        frames = {pool: spectrograms.crop_frames(base.frames, pool) for pool in pools}
        fixed = [{"frames": frames.get(varied.get("pool", base.pool)), **shared} for varied in combined]
        # Crops of one frame exclude no recording, so the source is the same for any grid.
        sampler = CropSampler([spectrograms.signal], [spectrograms.noise], frames=1)
        members = members_of(combined, sampler.to(chosen_device(device, options.get("backend", "auto"))), fixed)
        for member in members:
            base.configure_model(member.model, spectrograms)
        about = {
            "preset": system,
            "spectrogram": spectrograms.spectrogram.to_dict(),
            "magnitudes_sha256": spectrograms.sha256(),
        }
        return cls(members, folder, about=about, **options)

    def run(self) -> list[dict[str, Any]]:
        """Train all unfinished members and return `rows()`.

        Ctrl-C lets the current launch finish, writes checkpoints and tables and raises KeyboardInterrupt.

        Raises UserError if a file cannot be written, and BackendUnavailable, before the first step, if the requested
        back-end cannot train the members.
        """
        populations = self._populations()
        started, first_steps, total = time.monotonic(), self._steps_taken(), self.steps * len(self.members)
        with (
            deferred_interrupt() as interrupted,
            progress_bar("sweep", self._steps_finished(), total, self.progress) as bar,
        ):
            for trainer in self._trainers:
                if trainer.step >= self.steps:
                    self._finish(trainer)
            for population, backend in populations:
                self._train(population, backend, interrupted, bar)
                if interrupted:
                    break
        self._write_tables()
        logger.info(
            "%s: %d of %d models trained, %d failed; %d steps in %.1f s",
            self.folder,
            len(self._scores),
            len(self.members),
            len(self._failures),
            self._steps_taken() - first_steps,
            time.monotonic() - started,
        )
        if interrupted:
            raise KeyboardInterrupt
        self._draw()
        return self.rows()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each member.

        Members of an earlier run that are no longer in the sweep follow.

        The keys of a row are:

        name, and each setting
        status                  done, failed (the loss became NaN or infinite after `steps` steps) or unfinished
        steps                   the number of steps taken
        loss_first, loss_last   mean loss over the first and the last tenth of the steps
        error, leak, keep       see `scores_of`; None if the member is not done
        model                   the name of the model file; None if the member is not done
        """
        return [self._row(member, trainer) for trainer, member in self._member.items()] + self._earlier_rows

    @property
    def failed(self) -> list[str]:
        """Names of the members whose loss became NaN or infinite."""
        return list(self._failures)

    def _open_folder(self, resume: bool) -> list[dict[str, Any]]:
        """Create the folder, or check the sweep in it.

        Returns the rows of earlier members that are not in this sweep.
        """
        _check_folder(self.folder, resume)
        table = self.folder / "results.json"
        try:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: the folder cannot be created: {error.strerror}; choose another") from error
        check_writable(table)
        if not table.exists():
            return []
        try:
            content = json.loads(table.read_text())
            about, rows = content["about"], content["members"]
            names = [row["name"] for row in rows if {*RESULTS} <= set(row)]
            earlier = dict(zip(names, rows, strict=True))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{table}: damaged; remove it, and the sweep continues from its checkpoints") from error
        changed = differences(about, self.about)
        if changed:
            raise UserError(
                f"{self.folder}: a sweep of other recordings or settings is in this folder ({'; '.join(changed)}); "
                "resume it with the same ones, or choose another folder"
            )
        current = {member.name for member in self.members}
        return [row for name, row in earlier.items() if name not in current]

    def _checkpoint(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.checkpoint"

    def _populations(self) -> list[tuple[list[Trainer], str | None]]:
        """Return groups of unfinished members that share launches, with back-ends.

        The back-end is None for a member that has no fused training step and is trained op by op.
        """
        groups: dict[str, list[Trainer]] = {}
        for i, trainer in enumerate(self._trainers):
            if trainer.step < self.steps:
                run = trainer.as_run()
                groups.setdefault(f"by itself, {i}" if run is None else alike(run), []).append(trainer)
        populations = []
        for trainers in groups.values():
            size = len(trainers)
            if trainers[0].model.w_enc.device.type == "cpu":
                size = _MEMBERS_PER_THREAD * torch.get_num_threads()
            for i in range(0, len(trainers), size):
                runs = [run for trainer in trainers[i : i + size] if (run := trainer.as_run())]
                populations.append((trainers[i : i + size], serving_backend(runs, self.backend) if runs else None))
        return populations

    def _train(self, population: list[Trainer], backend: str | None, interrupted: list[int], bar: Any) -> None:
        """Train a population until the last step or an interrupt.

        Members that fail are left out from then on.
        """
        pace, next_checkpoint = Pace(), time.monotonic() + self.checkpoint_every
        training = population
        try:
            while training and not interrupted:
                # After a crash between two checkpoints members are at different steps: train the earliest ones first.
                first = min(trainer.step for trainer in training)
                earliest = [trainer for trainer in training if trainer.step == first]
                limit = min((t.step for t in training if t.step > first), default=self.steps) - first
                self._advance(earliest, limit, backend, pace, interrupted)
                training = [t for t in training if self._name(t) not in self._failures and t.step < self.steps]
                self._update_bar(bar)
                if training and time.monotonic() >= next_checkpoint:
                    self._save_checkpoints(training)
                    self._write_tables()
                    next_checkpoint = time.monotonic() + self.checkpoint_every
        except KeyboardInterrupt:
            for trainer in filter(Trainer.is_finite, training):
                trainer.save_after_interrupt()
            raise
        self._save_checkpoints(training)

    def _advance(
        self, trainers: list[Trainer], limit: int, backend: str | None, pace: Pace, interrupted: list[int]
    ) -> None:
        """Take up to `limit` steps with members that are at the same step."""
        if backend:
            losses = pace.launch(limit, lambda steps: launch(trainers, steps, self.backend, backend))
            updates = [lambda t=t, row=row: t.record_losses(row) for t, row in zip(trainers, losses, strict=True)]
        else:
            updates = [lambda t=trainer: t.burst(limit, interrupted) for trainer in trainers]
        for trainer, update in zip(trainers, updates, strict=True):
            try:
                update()
            except UserError as error:
                self._fail(trainer, str(error))
                continue
            if trainer.step >= self.steps:
                self._finish(trainer)

    def _finish(self, trainer: Trainer) -> None:
        """Write the model and its last checkpoint, and compute its scores."""
        member = self._member[trainer]
        if not trainer.is_finite():
            self._fail(trainer, f"weights are NaN or infinite after step {trainer.step - 1}; try a lower learning rate")
            return
        trainer.save_checkpoint()
        save(member.model, self.folder / f"{member.name}.safetensors")
        self._scores[member.name] = scores_of(member.model, member.sampler)

    def _fail(self, trainer: Trainer, message: str) -> None:
        name = self._name(trainer)
        self._failures[name] = message
        logger.warning("%s: failed: %s", name, message)

    def _save_checkpoints(self, trainers: list[Trainer]) -> None:
        """Save checkpoints of all members with finite weights.

        The next launch reports the other members as failed.
        """
        for trainer in filter(Trainer.is_finite, trainers):
            trainer.save_checkpoint()

    def _name(self, trainer: Trainer) -> str:
        return self._member[trainer].name

    def _steps_taken(self) -> int:
        return sum(trainer.step for trainer in self._trainers)

    def _steps_finished(self) -> int:
        """Return the number of finished steps of all members.

        All steps of a failed member count as finished.
        """
        return sum(
            self.steps if self._name(trainer) in self._failures else min(trainer.step, self.steps)
            for trainer in self._trainers
        )

    def _update_bar(self, bar: Any) -> None:
        finished = len(self._scores) + len(self._failures)
        bar.set_postfix(done=f"{finished}/{len(self.members)}", refresh=False)
        bar.update(self._steps_finished() - bar.n)

    def _row(self, member: Member, trainer: Trainer) -> dict[str, Any]:
        losses, scores = trainer.history.loss, self._scores.get(member.name)
        tenth = -(-len(losses) // 10)
        status = "done" if scores else "failed" if member.name in self._failures else "unfinished"
        results: dict[str, Any] = {
            "status": status,
            "steps": len(losses),
            "loss_first": float(np.mean(losses[:tenth])) if losses else None,
            "loss_last": float(np.mean(losses[-tenth:])) if losses else None,
            **(scores or {"error": None, "leak": None, "keep": None}),
            "model": f"{member.name}.safetensors" if scores else None,
        }
        return {"name": member.name, **member.settings, **results}

    def _draw(self) -> None:
        from .figure import figure

        losses: dict[str, Sequence[float]] = {m.name: trainer.history.loss for trainer, m in self._member.items()}
        for row in self._earlier_rows:
            checkpoint = self._checkpoint(row["name"])
            losses[row["name"]] = read_losses(checkpoint) if checkpoint.exists() else []
        figure(self.folder / "results.png", self.rows(), losses)

    def _write_tables(self) -> None:
        rows = self.rows()
        with atomic_path(self.folder / "results.json") as path:
            path.write_text(json.dumps({"about": self.about, "members": rows}, indent=2) + "\n")
        text = io.StringIO()
        writer = csv.DictWriter(text, ["name", *settings_of(rows), *RESULTS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic_path(self.folder / "results.csv") as path:
            path.write_text(text.getvalue())


def _move_sources(members: Sequence[Member]) -> None:
    """Move recordings to the devices of their models, shared ones once."""
    moved: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}
    for member in members:
        source, device = member.sampler.source, member.model.w_enc.device
        if source.device == device:
            continue
        if (id(source), device) not in moved:
            moved[id(source), device] = source, source.to(device)  # keeps the source alive, so that its id stays unique
        member.sampler.source = moved[id(source), device][1]


def _check_folder(folder: Path, resume: bool) -> None:
    has_sweep = (folder / "results.json").exists() or any((folder / "checkpoints").glob("*.checkpoint"))
    if has_sweep and not resume:
        raise UserError(f"{folder}: a sweep is in this folder; resume it or choose another folder")


def settings_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of all settings in a sweep's rows, in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in ("name", *RESULTS)))


def scores_of(model: Model, sampler: CropSampler) -> dict[str, float | None]:
    """Compute the scores of a model on crops of its training recordings.

    There are 32 crops, half of them noise-only.

    The crops are the same for all members that share recordings and frames. Let x be the magnitudes, s and n the
    reconstructions by the foreground and background latents, and g the gain of the model's mask (`Mask()` by default).
    With sums over items, frames and bins:

    error   sum((x - s - n)**2) / sum(x**2) over all items: reconstruction error
    leak    sum((g x)**2) / sum(x**2) over noise-only items: share of noise that is kept; None without noise groups
    keep    sum((g x)**2) / sum(x**2) over the other items: share of the mixture that is kept

    A model that separates signal from noise has a low leak and a higher keep. The scores do not measure the quality of
    denoising, and they are computed on training recordings.
    """
    from ..masking.mask import gain_of

    share_noise_only = _SCORED_NOISE_ONLY if sampler.noise_mean_square.any() else 0.0
    crops = sampler.with_settings(batch=_SCORED_ITEMS, noise_only=share_noise_only, seed=_SCORED_SEED)
    x, noise_only = crops.batch_at(0)
    with torch.no_grad():
        x, signal, noise = (part.cpu().numpy() for part in (x, *model.separate(x)))
    masked = gain_of(model, x, signal, noise) * x
    energy, kept, error = (np.square(part, dtype=np.float64).sum((1, 2)) for part in (x, masked, x - signal - noise))
    is_noise = noise_only.cpu().numpy() > 0

    def share(part: np.ndarray, items: np.ndarray) -> float | None:
        total = energy[items].sum()
        return float(part[items].sum() / total) if total > 0 else None

    all_items = np.ones_like(is_noise)
    return {"error": share(error, all_items), "leak": share(kept, is_noise), "keep": share(kept, ~is_noise)}


def _check_members(members: Sequence[Member]) -> None:
    if not members:
        raise UserError("the sweep has no member; give at least one")
    names = [member.name.casefold() for member in members]  # some file systems ignore case
    for i, member in enumerate(members):
        if names.index(names[i]) != i:
            raise UserError(f"two members are called {member.name}; give them different settings or names")
    if len({id(member.model) for member in members}) < len(members):
        raise UserError("two members share a model; give each member its own model")
