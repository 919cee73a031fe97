"""Many models in one go: those that agree in shape and optimizer are trained side by side, in the same launches.

A folder holds all of a sweep:
    NAME.safetensors              a model, once it is trained (`pf.load`, `partae denoise`)
    checkpoints/NAME.checkpoint   what its training goes on from; kept, so that more steps or members can be added
    results.csv, results.json     the table, a row for each member
    results.png                   losses over steps, and the final figures against each setting that differs
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
from ..models.storage import save
from ..sampling.crops import CropSampler
from ..systems.convolutional import ConvolutionalSettings
from ..systems.registry import system_named
from ..training.checkpoint import differences, read_losses
from ..training.loop import Pace, deferred_interrupt, progress_bar
from ..training.material import Audio, Material, PathLike, path_list
from ..training.options import TrainingOptions, chosen_device
from ..training.steps import alike, serving_backend
from ..training.trainer import Trainer, launch
from .grid import RESULTS, Member, combinations, members_of

logger = logging.getLogger("partae_fast")

# On a CPU a thread trains a model at a time. A few for each thread keep all of them busy to a launch's end; more would
# make launches of few steps. On a GPU all that are alike go together.
_MEMBERS_PER_THREAD = 4

# The batch by which members are judged: drawn by a seed that no one takes, half of it noise-only.
_JUDGED_ITEMS, _JUDGED_NOISE, _JUDGED_SEED = 32, 0.5, 2**64 - 1

_SETTINGS = ("latents", "taps", "pool", "background", "penalty", "noise_only", "batch", "optimizer")


class Sweep:
    """Trains every member, saves every model, and makes a table and a plot of what came out.

    A member gets the bits that a Trainer of its own gives it on the CPU, whatever it is trained beside. A member whose
    loss turns NaN or infinite is marked as failed and stops none of the others; a resumed sweep tries it once more,
    from its last checkpoint.

    Args:
        members: see `Member`; `Sweep.of_grid` makes them from a sampler, `Sweep.of_recordings` from recordings.
        folder: where all is written; created if it is not there.
        steps: that each member takes, those before a resumed sweep stopped included.
        backend: what computes the steps; see `pf.backends()`.
        resume: go on with the sweep in `folder`, bit for bit as if it had never stopped. What is trained already is
            not trained again; members may be new, and those that are no longer asked for keep files and rows.
        about: what all members have in common and no checkpoint tells; a resumed sweep must have the same. Plain
            values, kept in results.json.
        checkpoint_every: seconds from one time that the checkpoints are written to the next.
        progress: a bar of the steps of all members; None shows it on a terminal only.

    Raises UserError where members have one name or one model in common, a setting is out of range, or the folder
    cannot be written, holds a sweep and `resume` is false, or is of other recordings or settings, with what differs.

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
        self.about = json.loads(json.dumps(about or {}))  # as a file will have it
        _check_members(self.members)
        self._earlier = self._open(resume)
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
                checkpoint=self._checkpoint(member.name),
                resume=resume,
                progress=False,
            )
            for member in self.members
        ]
        self._member = dict(zip(self._trainers, self.members, strict=True))
        self._failures: dict[str, str] = {}  # by name, why
        self._judgements: dict[str, dict[str, float | None]] = {}  # by name, of what is done

    @classmethod
    def of_grid(
        cls,
        grid: Mapping[str, Any],
        sampler: CropSampler,
        folder: PathLike,
        fixed: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "Sweep":
        """A sweep over all combinations of settings, with the recordings of `sampler`, which stay in memory once.

        Args:
            grid: for each setting a value or a list of values: penalty, optimizer and its options (learning_rate,
                momentum, ...), latents, taps, pool, background, frames, batch, noise_only, seed. They may change
                shapes: members are then trained side by side with those of their own shape.
            sampler: on the device to train on; what is not set is as it has it.
            folder, options: as for `Sweep`.
            fixed: settings of all members that are not told of in names and tables.

        Raises UserError as `Sweep` does, and for settings that are unknown or out of range.
        """
        found, rest = combinations(grid), combinations(fixed or {})
        if len(rest) > 1:
            raise UserError("fixed has a setting with several values; put it into the grid")
        return cls(members_of(found, sampler, rest * len(found)), folder, **options)

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
        """A sweep over all combinations of settings, from recordings; `partae sweep` calls this and nothing else.

        Args:
            grid: as for `of_grid`; what is not in it is the system's, and seed 0. The models are ready to denoise.
            recordings, noise, labels, device: as for `pf.fit`.
            system: a convolutional one that trains one model.
            settings: the system's, for all members.
            folder, options: as for `Sweep`.

        Raises UserError as `of_grid` and `pf.fit` do.
        """
        combined = combinations(grid)
        base = system_named(system).settings(settings)
        if not isinstance(base, ConvolutionalSettings) or len(base.stages(0)) > 1:
            raise UserError(
                f"model {system} cannot be swept, as it is not one partitioned autoencoder; sweep stowell2015"
            )
        _check_folder(Path(folder), options.get("resume", False))  # rather than after all recordings are read
        material = (
            recordings if isinstance(recordings, Material) else Material(recordings, noise or (), path_list(labels))
        )
        spectrograms = base.spectrograms(material, TrainingOptions())
        shared: dict[str, Any] = {name: getattr(base, name) for name in _SETTINGS}
        # As long as asked for, or refused; the system's length gives way to short recordings, as in `fit`.
        pools = {varied.get("pool", base.pool): 0 for varied in combined if "frames" not in varied}
        fitting = {pool: spectrograms.crop_frames(base.frames, pool) for pool in pools}
        fixed = [{"frames": fitting.get(varied.get("pool", base.pool)), **shared} for varied in combined]
        # Crops of one frame leave no recording out, so that the source is the same for any grid.
        sampler = CropSampler([spectrograms.signal], [spectrograms.noise], frames=1)
        members = members_of(combined, sampler.to(chosen_device(device, options.get("backend", "auto"))), fixed)
        for member in members:
            base.ready(member.model, spectrograms)
        about = {
            "preset": system,
            "spectrogram": spectrograms.spectrogram.to_dict(),
            "magnitudes_sha256": spectrograms.sha256(),
        }
        return cls(members, folder, about=about, **options)

    def run(self) -> list[dict[str, Any]]:
        """Train what is not trained yet; returns `rows()`.

        Ctrl-C ends the launch at hand, writes checkpoints and tables and raises KeyboardInterrupt.

        Raises UserError where a file cannot be written, and BackendUnavailable, before the first step, where a
        population cannot be trained by the back-end that was asked for.
        """
        populations = self._populations()
        started, first, total = time.monotonic(), self._taken(), self.steps * len(self.members)
        with deferred_interrupt() as interrupted, progress_bar("sweep", self._done(), total, self.progress) as bar:
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
            len(self._judgements),
            len(self.members),
            len(self._failures),
            self._taken() - first,
            time.monotonic() - started,
        )
        if interrupted:
            raise KeyboardInterrupt
        self._draw()
        return self.rows()

    def rows(self) -> list[dict[str, Any]]:
        """A row for each member, then for each that an earlier sweep in the folder had besides. Its keys are

        name, and each setting
        status                  done, failed (the loss was NaN or infinite at the step `steps`) or unfinished
        steps                   how many were taken
        loss_first, loss_last   mean over the first and the last tenth of these steps
        error, leak, keep       see `judge`; None for what is not done
        model                   the name of its file, None for what is not done
        """
        return [self._row(member, trainer) for trainer, member in self._member.items()] + self._earlier

    @property
    def failed(self) -> list[str]:
        """The names of members whose loss turned NaN or infinite."""
        return list(self._failures)

    def _open(self, resume: bool) -> list[dict[str, Any]]:
        """Make the folder, or find a sweep in it; returns the rows of members that are not asked for now."""
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
            found = json.loads(table.read_text())
            about, rows = found["about"], found["members"]
            names = [row["name"] for row in rows if {*RESULTS} <= set(row)]
            earlier = dict(zip(names, rows, strict=True))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{table}: damaged; remove it, and the sweep goes on from its checkpoints") from error
        changed = differences(about, self.about)
        if changed:
            raise UserError(
                f"{self.folder}: a sweep of other recordings or settings is in this folder ({'; '.join(changed)}); "
                "resume it with the same, or name another folder"
            )
        ours = {member.name for member in self.members}
        return [row for name, row in earlier.items() if name not in ours]

    def _checkpoint(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.checkpoint"

    def _populations(self) -> list[tuple[list[Trainer], str | None]]:
        """What is left to train: who goes together, and on which back-end; None where steps are taken op by op."""
        kinds: dict[str, list[Trainer]] = {}
        for i, trainer in enumerate(self._trainers):
            if trainer.step < self.steps:
                run = trainer.as_run()
                kinds.setdefault(f"by itself, {i}" if run is None else alike(run), []).append(trainer)
        found = []
        for trainers in kinds.values():
            most = len(trainers)
            if trainers[0].model.w_enc.device.type == "cpu":
                most = _MEMBERS_PER_THREAD * torch.get_num_threads()
            for i in range(0, len(trainers), most):
                runs = [run for trainer in trainers[i : i + most] if (run := trainer.as_run())]
                found.append((trainers[i : i + most], serving_backend(runs, self.backend) if runs else None))
        return found

    def _train(self, population: list[Trainer], backend: str | None, interrupted: list[int], bar: Any) -> None:
        """Train to the last step, or until an interrupt; who failed is left out from then on."""
        pace, due = Pace(), time.monotonic() + self.checkpoint_every
        training = population
        try:
            while training and not interrupted:
                # A crash between two checkpoints leaves members at different steps: the later ones wait.
                least = min(trainer.step for trainer in training)
                level = [trainer for trainer in training if trainer.step == least]
                limit = min((t.step for t in training if t.step > least), default=self.steps) - least
                self._advance(level, limit, backend, pace, interrupted)
                training = [t for t in training if self._name(t) not in self._failures and t.step < self.steps]
                self._show(bar)
                if training and time.monotonic() >= due:
                    self._save_checkpoints(training)
                    self._write_tables()
                    due = time.monotonic() + self.checkpoint_every
        except KeyboardInterrupt:
            for trainer in filter(Trainer.is_finite, training):
                trainer.save_after_interrupt()
            raise
        self._save_checkpoints(training)

    def _advance(
        self, level: list[Trainer], limit: int, backend: str | None, pace: Pace, interrupted: list[int]
    ) -> None:
        """A launch of up to `limit` steps with members that stand at the same one."""
        if backend:
            losses = pace.launch(limit, lambda steps: launch(level, steps, backend))
            taking = [lambda t=t, row=row: t.record_losses(row) for t, row in zip(level, losses, strict=True)]
        else:
            taking = [lambda t=trainer: t.burst(limit, interrupted) for trainer in level]
        for trainer, take in zip(level, taking, strict=True):
            try:
                take()
            except UserError as error:
                self._fail(trainer, str(error))
                continue
            if trainer.step >= self.steps:
                self._finish(trainer)

    def _finish(self, trainer: Trainer) -> None:
        """Write the model and its last checkpoint, and judge it."""
        member = self._member[trainer]
        if not trainer.is_finite():
            self._fail(trainer, f"weights are NaN or infinite after step {trainer.step - 1}; try a lower learning rate")
            return
        trainer.save_checkpoint()
        save(member.model, self.folder / f"{member.name}.safetensors")
        self._judgements[member.name] = judge(member.model, member.sampler)

    def _fail(self, trainer: Trainer, why: str) -> None:
        name = self._name(trainer)
        self._failures[name] = why
        logger.warning("%s: failed: %s", name, why)

    def _save_checkpoints(self, trainers: list[Trainer]) -> None:
        """Of all whose weights are finite; where they are not, the next loss will say so."""
        for trainer in filter(Trainer.is_finite, trainers):
            trainer.save_checkpoint()

    def _name(self, trainer: Trainer) -> str:
        return self._member[trainer].name

    def _taken(self) -> int:
        return sum(trainer.step for trainer in self._trainers)

    def _done(self) -> int:
        """Steps that need not be taken any more, of all members."""
        return sum(
            self.steps if self._name(trainer) in self._failures else min(trainer.step, self.steps)
            for trainer in self._trainers
        )

    def _show(self, bar: Any) -> None:
        over = len(self._judgements) + len(self._failures)
        bar.set_postfix(done=f"{over}/{len(self.members)}", refresh=False)
        bar.update(self._done() - bar.n)

    def _row(self, member: Member, trainer: Trainer) -> dict[str, Any]:
        losses, judged = trainer.history.loss, self._judgements.get(member.name)
        tenth = -(-len(losses) // 10)
        status = "done" if judged else "failed" if member.name in self._failures else "unfinished"
        found: dict[str, Any] = {
            "status": status,
            "steps": len(losses),
            "loss_first": float(np.mean(losses[:tenth])) if losses else None,
            "loss_last": float(np.mean(losses[-tenth:])) if losses else None,
            **(judged or {"error": None, "leak": None, "keep": None}),
            "model": f"{member.name}.safetensors" if judged else None,
        }
        return {"name": member.name, **member.settings, **found}

    def _draw(self) -> None:
        from .figure import figure

        losses: dict[str, Sequence[float]] = {m.name: trainer.history.loss for trainer, m in self._member.items()}
        for row in self._earlier:
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
    """Bring recordings to their models' devices: those that members share once for all of them."""
    moved: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}
    for member in members:
        source, device = member.sampler.source, member.model.w_enc.device
        if source.device == device:
            continue
        if (id(source), device) not in moved:
            moved[id(source), device] = source, source.to(device)  # the old one is kept, so that no other gets its id
        member.sampler.source = moved[id(source), device][1]


def _check_folder(folder: Path, resume: bool) -> None:
    there = (folder / "results.json").exists() or any((folder / "checkpoints").glob("*.checkpoint"))
    if there and not resume:
        raise UserError(f"{folder}: a sweep is in this folder; resume it or name another folder")


def settings_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The names of all settings in a sweep's rows, in the order in which they appear."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in ("name", *RESULTS)))


def judge(model: Any, sampler: CropSampler) -> dict[str, float | None]:
    """What a model makes of 32 crops of its sampler's recordings, half of them noise-only: shares of their energy.

    The crops are the same for all members that share recordings and frames. With x the magnitudes, s and n what the
    foreground and the background latents reconstruct, g the gain that the model's mask (`Mask()` where it has none)
    makes of s and n, and sums over items, frames and bins:

    error   sum((x - s - n)**2) / sum(x**2), over all items
    leak    sum((g x)**2) / sum(x**2) over noise-only items: noise that passes. None without noise groups
    keep    sum((g x)**2) / sum(x**2) over the other items: what passes of signal and noise mixed

    A model that tells signal from noise has a low leak and a higher keep. Neither says by itself how well it denoises,
    and the recordings are those that it was trained on.
    """
    from ..masking.mask import gain_of

    known = bool(sampler.noise_mean_square.any())
    crops = sampler.with_settings(batch=_JUDGED_ITEMS, noise_only=_JUDGED_NOISE if known else 0.0, seed=_JUDGED_SEED)
    x, noise_only = crops.batch_at(0)
    with torch.no_grad():
        x, signal, noise = (part.cpu().numpy() for part in (x, *model.separate(x)))
    passed = gain_of(model, x, signal, noise) * x
    energy, kept, missed = (np.square(part, dtype=np.float64).sum((1, 2)) for part in (x, passed, x - signal - noise))
    silent = noise_only.cpu().numpy() > 0

    def share(part: np.ndarray, items: np.ndarray) -> float | None:
        whole = energy[items].sum()
        return float(part[items].sum() / whole) if whole > 0 else None

    return {"error": share(missed, silent | ~silent), "leak": share(kept, silent), "keep": share(kept, ~silent)}


def _check_members(members: Sequence[Member]) -> None:
    if not members:
        raise UserError("the sweep has no member; give at least one")
    names = [member.name.casefold() for member in members]  # some file systems do not tell case apart
    for i, member in enumerate(members):
        if names.index(names[i]) != i:
            raise UserError(f"two members are called {member.name}; give them different settings or names")
    if len({id(member.model) for member in members}) < len(members):
        raise UserError("two members have one model in common; give each a model of its own")
