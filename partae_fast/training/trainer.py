"""The training loop: launches of whole steps if a kernel serves the model, else steps op by op."""

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..atomic import check_writable
from ..errors import UserError
from ..kernels.train_steps import RULES, TrainingRun
from ..models.conv_autoencoder import ConvAutoencoder
from ..models.protocol import TrainableModel
from ..models.state import unwrapped
from ..models.storage import identity
from ..sampling.crops import CropSampler
from .checkpoint import Checkpoint, current_environment, differences, read_checkpoint, write_checkpoint
from .distributed import ParallelLoss, Ranks, current
from .loop import BURST_SECONDS, BURST_STEPS, COMMON_STEPS, Pace, deferred_interrupt, progress_bar
from .optimizers import Optimizer
from .schedules import Schedule, Stairs
from .steps import serving_backend, train_steps


@dataclass
class History:
    """The history of a training: `loss`, a float for each step."""

    loss: list[float] = field(default_factory=list)


class Sampler(Protocol):
    """The interface of samplers whose batches are not crops of spectrograms."""

    batch: int

    def batch_at(self, step: int, items: range | None = None) -> tuple[torch.Tensor, ...]:
        """Return the batch of a step, or some of its items; the first axis of each tensor is that of the items."""
        ...

    def to(self, device: torch.device) -> Any:
        """Return the sampler with its recordings on the device."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return plain values that identify the sampler's batches."""
        ...

    def ready(self, step: int) -> int:
        """Prepare the batches from `step` on; return how many steps until the next call is needed."""
        ...


class Trainer:
    """Train a model on a sampler's batches.

    A CropSampler's mean, std and noise statistics are copied into the model. A sampler's recordings are moved to the
    model's device. With the same settings, recordings, device and library versions two runs give equal bits.

    Args:
        model: a model of `partae_fast.models` or a subclass, on the device to train on; trained in place, by its
            `training_loss`. Any other module needs parameters and `training_loss(batch, penalty, backend)`, and for a
            CropSampler `bins` and the buffers mean, std and noise_mean_square. Wrappers of torch.compile, DataParallel
            and DistributedDataParallel are removed. A class that `pf.load` does not know has no checkpoints.
        sampler: batches of the kind that `training_loss` takes; for a convolutional model a CropSampler with as many
            bins.
        penalty: weight of the foreground latents' energy in noise-only items, >= 0.
        optimizer: "adadelta" (rho 0.95, epsilon 1e-6), "adam", "sgd" or "nesterov" (momentum 0.9), "nadam", or
            "clipped_sgd".
        backend: the back-end that computes the steps; see `pf.backends()`.
        learning_rate: None for 1.0 with AdaDelta, 0.001 with Adam, 0.002 with NAdam, 1e-5 with the forms of SGD.
        options: other settings of the optimizer, by name; see `partae_fast.training.optimizers.OPTIMIZERS`.
        checkpoint: file to write during training, at its end and at an interrupt, or a `pf.Checkpoint` that says
            how often it is written and whether to resume it. None for no checkpoint. An existing file is refused unless
            the `Checkpoint` resumes or overwrites it.
        schedule: how the learning rate changes: `pf.Stairs` or `pf.Plateau`; None keeps it constant. `Plateau` is
            for one process.
        ranks: this process among several that train one model by DistributedDataParallel, op by op, each on its items
            of every batch. All have the same model after every step; losses are those of one process to 1e-5. Rank 0
            alone writes the checkpoint and shows the bar. A checkpoint resumes with any number of ranks.
        older: the deprecated keywords of version 0.1: checkpoint_every, resume, overwrite, falling_over, plateau,
            watch and progress.

    Attributes:
        watch: a function that is called with the trainer after every burst of steps and at the end of a run; None at
            first.
        progress: whether to show a bar with loss and steps per second; None, as at first, shows it on a terminal only.

    Raises UserError if bins differ, a setting is out of range, or the checkpoint cannot be written or belongs to
    another run; TypeError if the model lacks a method or buffer.

    Stowell & Turner 2015, section 4.

    >>> import numpy as np, partae_fast as pf
    >>> group = [np.random.default_rng(0).random((200, 8))]
    >>> sampler = pf.CropSampler(signal=[group], noise=[group], frames=32, batch=4)
    >>> model = pf.ConvPartitionedAutoencoder(bins=8, latents=4, taps=3, pool=4)
    >>> len(pf.Trainer(model, sampler).run(5).loss)
    5
    """

    def __init__(
        self,
        model: TrainableModel,
        sampler: CropSampler | Sampler,
        penalty: float = 0.75,
        optimizer: str = "adadelta",
        backend: str = "auto",
        learning_rate: float | None = None,
        options: dict[str, float] | None = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        schedule: Schedule | None = None,
        ranks: Ranks | None = None,
        **older: Any,
    ) -> None:
        self.ranks = ranks or Ranks()
        checkpoint, self.schedule = _with_older(checkpoint, schedule, older)
        self.watch: Callable[[Trainer], None] | None = older.get("watch")
        self.progress: bool | None = older.get("progress")
        module = _trainable(model, sampler, self.ranks)
        _check_settings(module, sampler, penalty, learning_rate)
        self._items = self.ranks.items(sampler.batch)
        self.model, self.penalty, self.backend = module, float(penalty), backend
        options = {**(options or {}), **({} if learning_rate is None else {"learning_rate": float(learning_rate)})}
        device = next(module.parameters()).device
        self.sampler = sampler.to(device)
        if isinstance(sampler, CropSampler):
            with torch.no_grad():
                for name in ("mean", "std", "noise_mean_square"):
                    getattr(module, name).copy_(getattr(sampler, name))
        self._optimizer = Optimizer(optimizer, dict(module.named_parameters()), options)
        self.history = History()
        self._checkpoint_settings = checkpoint
        self.checkpoint = None if checkpoint is None else Path(checkpoint.path)
        self._run = {
            **_identity(module, self.checkpoint),
            "penalty": self.penalty,
            "optimizer": optimizer,
            **self._optimizer.options,
            "sampler": sampler.fingerprint() if self.checkpoint or self.ranks.count > 1 else {},
            **self.schedule.settings(),
        }
        self._learning_rate = self._optimizer.learning_rate
        self._place = current_environment(backend, device) | {"ranks": str(self.ranks.count)}
        self._pace = Pace()
        self._updates, self._in_update = 0, False  # completed updates; whether an update is under way
        if checkpoint:
            self._open_checkpoint(checkpoint)
        self._check_ranks()
        self._parallel = ParallelLoss(module, sampler.batch, self.ranks) if self.ranks.count > 1 else None

    @property
    def step(self) -> int:
        """The number of steps taken; the next step has this number."""
        return len(self.history.loss)

    def run(self, steps: int) -> History:
        """Take `steps` more steps, fewer if the schedule ends training; return their history.

        Ctrl-C completes the current step, writes the checkpoint and raises KeyboardInterrupt.

        Raises UserError if a loss is NaN or infinite, naming the first such step; the last checkpoint stays.
        """
        if steps < 0:
            raise UserError(f"steps is {steps}; it must be 0 or more")
        first, end = self.step, self.step + steps
        due = self._next_checkpoint()
        with (
            deferred_interrupt(ignore_repeats=bool(self._parallel)) as interrupted,
            progress_bar("train", first, end, self.progress if self.ranks.leads else False) as bar,
        ):
            backend, stopping = self.fused(), False
            while self.step < end and not (stopping or (interrupted and not self._parallel)):
                if self.schedule.update(self.step, self.model):
                    break
                try:
                    limit = min(end - self.step, self._set_learning_rate(), self.sampler.ready(self.step))
                    if self._parallel:
                        stopping = self._take_common(min(limit, COMMON_STEPS), interrupted)
                    elif backend:
                        self._take_launch(limit, backend)
                    else:
                        self.burst(limit, interrupted)
                except KeyboardInterrupt:
                    self.save_after_interrupt()
                    raise
                bar.set_postfix(loss=f"{self.history.loss[-1]:.4g}", refresh=False)
                bar.update(self.step - bar.n)
                if time.monotonic() >= due and self.step < end and self.is_finite():
                    self.save_checkpoint()
                    due = self._next_checkpoint()
                if self.watch:
                    self.watch(self)
            self.schedule.update(self.step, self.model)  # measures after the last epoch, too
            self.save_checkpoint()
            if stopping or any(self.ranks.gather(bool(interrupted))):
                raise KeyboardInterrupt
        return History(self.history.loss[first:])

    @property
    def kind(self) -> str:
        """The model's kind, as in its file."""
        return self._run["kind"]

    def settings(self) -> dict[str, Any]:
        """Return `run`, the settings of the training, and `place`, the environment that its bits depend on."""
        return {"run": self._run, "place": self._place}

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.schedule.rate_at(step, self._learning_rate)

    def _set_learning_rate(self) -> int:
        """Set the learning rate of the next step; return for how many steps it stays."""
        self._optimizer.factors = self.schedule.factors_at(self.step)
        self._optimizer.learning_rate = self.learning_rate_at(self.step)
        return self.schedule.until_next(self.step)

    def _next_checkpoint(self) -> float:
        """Return the time of the next checkpoint, on the monotonic clock."""
        return time.monotonic() + (self._checkpoint_settings.every if self._checkpoint_settings else math.inf)

    def save_checkpoint(self) -> None:
        """Write the checkpoint now, if the trainer has one."""
        if self.checkpoint and self.ranks.leads:
            run = self.history.loss, self._run, self._place, self.schedule.losses
            write_checkpoint(self.checkpoint, self.model, self._optimizer, *run)

    def is_finite(self) -> bool:
        """Return whether the weights are finite, so that a checkpoint may be written."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def fused(self) -> str | None:
        """Return the back-end of whole-step launches; None if steps are taken op by op.

        Several ranks take steps op by op: a launch updates the weights before gradients could be exchanged.
        """
        run = None if self._parallel else self.as_run()
        return None if run is None else serving_backend([run], self.backend)

    def as_run(self) -> TrainingRun | None:
        """Return the argument of `train_steps`; None if it cannot serve this model, sampler or optimizer."""
        model, optimizer = self.model, self._optimizer
        own_loss = getattr(type(model), "training_loss", None) is not ConvAutoencoder.training_loss
        if own_loss or "training_loss" in vars(model) or not self._draws_crops() or optimizer.name not in RULES:
            return None
        if {name for name, _ in model.named_parameters()} != {"w_enc", "w_dec"}:
            return None
        if self.schedule.factors_at(self.step):  # a launch has one learning rate
            return None
        return TrainingRun(
            model.w_enc.detach(),
            model.w_dec.detach(),
            optimizer.state,
            self.sampler.crops,
            model.mean,
            model.std,
            model.foreground,
            self.penalty,
            model.pool,
            optimizer.name,
            optimizer.options,
            model.negative_slope,
            model.rectified_output,
        )

    def _take_launch(self, limit: int, preferred: str) -> None:
        """Take up to `limit` steps in one launch of about the length of a burst."""
        self.record_losses(self._pace.launch(limit, lambda steps: launch([self], steps, self.backend, preferred)[0]))

    def burst(self, limit: int, interrupted: list[int]) -> None:
        """Take up to `limit` steps op by op, fewer when the time of a burst is over or an interrupt waits."""
        losses: list[torch.Tensor] = []
        until = time.monotonic() + BURST_SECONDS
        try:
            while len(losses) < min(limit, BURST_STEPS) and not interrupted and time.monotonic() < until:
                losses.append(self._take_step(self.step + len(losses)))
        finally:
            if losses:
                self.record_losses(torch.stack(losses).double().cpu().numpy())

    def _take_step(self, step: int) -> torch.Tensor:
        """Take one step op by op; return the mean loss of this rank's items, on the device."""
        dtype = next(self.model.parameters()).dtype
        batch = tuple(part.to(dtype) if part.is_floating_point() else part for part in self._batch(step, self._items))
        for parameter in self.model.parameters():
            parameter.grad = None
        self.model.step = step
        if self._parallel:
            loss = self._parallel.backward(batch, self.penalty, self.backend)
        else:
            loss = self.model.training_loss(batch, self.penalty, self.backend)
            loss.backward()
        self._update(step)
        return loss.detach()

    def _take_common(self, steps: int, interrupted: list[int]) -> bool:
        """Take steps with the other ranks; return whether a rank was interrupted."""
        assert self._parallel
        losses = torch.stack([self._take_step(self.step + i) for i in range(steps)]).double()
        interrupts = losses.new_full((1,), float(bool(interrupted)))
        totals = self.ranks.sum(torch.cat([losses * self._parallel.share, interrupts])).cpu().numpy()
        self.record_losses(totals[:-1])
        return bool(totals[-1])

    def _batch(self, step: int, items: range) -> tuple[torch.Tensor, ...]:
        """Return the tensors of some items of a step's batch."""
        sampler = self.sampler
        if not isinstance(sampler, CropSampler):
            return sampler.batch_at(step, items)
        if self._draws_crops():
            x, noise_only = sampler.batch_at(step, items)
            return (x, noise_only) if sampler.crops.target_is_input else (x, noise_only, sampler.target_at(step, items))
        rows = slice(items.start, items.stop)
        x, noise_only = (part[rows] for part in sampler.batch_at(step))
        return (x, noise_only) if sampler.crops.target_is_input else (x, noise_only, sampler.target_at(step)[rows])

    def _update(self, step: int) -> None:
        """Update the parameters by their gradients."""
        self._in_update = True
        self._optimizer.step(step)
        self._updates += 1
        self._in_update = False

    def _draws_crops(self) -> bool:
        """Return whether the sampler draws batches as CropSampler does."""
        return type(self.sampler).batch_at is CropSampler.batch_at and "batch_at" not in vars(self.sampler)

    def record_losses(self, losses: np.ndarray) -> None:
        """Append the losses of steps to the history; raises UserError at the first that is not finite."""
        finite = np.isfinite(losses)
        good = len(losses) if finite.all() else int(np.argmin(finite))
        self.history.loss.extend(losses[:good].tolist())
        if good < len(losses):
            raise UserError(
                f"the loss is {losses[good]} at step {self.step}; try a lower learning rate (now "
                f"{self._optimizer.learning_rate:g}), another optimizer, or recordings of a more even level"
            )

    def save_after_interrupt(self) -> None:
        """Write the checkpoint if weights and losses are of the same step; an interrupt may come at any line."""
        if self._updates == self.step and not self._in_update:
            self.save_checkpoint()

    def _open_checkpoint(self, checkpoint: Checkpoint) -> None:
        path = Path(checkpoint.path)
        check_writable(path)
        if checkpoint.resume and path.exists():
            run = self._run, self._place, self.schedule.losses
            self.history.loss = read_checkpoint(path, self.model, self._optimizer, *run)
            self._updates = self.step
        elif path.exists() and not checkpoint.overwrite:
            raise UserError(f"{path}: a checkpoint exists; resume it, overwrite it or name another")

    def _check_ranks(self) -> None:
        """Raise UserError if ranks have different settings."""
        settings = self.ranks.gather({**self._run, "step": self.step})
        for rank, other in enumerate(settings):
            changed = differences(settings[0], other)
            if changed:
                raise UserError(
                    f"ranks 0 and {rank} have different settings ({'; '.join(changed)}, on rank {rank}); "
                    "give all ranks the same recordings, settings and checkpoint"
                )


def launch(trainers: Sequence[Trainer], steps: int, backend: str, preferred: str) -> np.ndarray:
    """Take `steps` steps with trainers that are at the same step, side by side in one launch.

    If `backend` is "auto", `preferred` is tried first. No checkpoint may be written before the launch has ended.

    Returns the losses (len(trainers), steps), a row for the `record_losses` of each trainer.
    """
    runs = [run for trainer in trainers if (run := trainer.as_run())]
    for trainer in trainers:
        trainer._in_update = True
    losses = train_steps(runs, trainers[0].step, steps, backend, preferred).cpu().numpy()
    for trainer in trainers:
        trainer._updates += steps
        trainer._in_update = False
    return losses


def _trainable(model: TrainableModel, sampler: Any, ranks: Ranks) -> Any:
    """Return the model without wrappers.

    Raises TypeError if it lacks a method, buffer or parameters that training needs, and UserError if it is wrapped in
    DistributedDataParallel but the Trainer has no ranks.
    """
    inner = unwrapped(model, "Trainer")
    needs = ["training_loss"]
    if isinstance(sampler, CropSampler):
        needs += ["bins", "mean", "std", "noise_mean_square"]
    missing = [name for name in needs if not hasattr(inner, name)]
    if isinstance(inner, torch.nn.Module) and next(inner.parameters(), None) is None:
        missing.append("parameters to train")
    if missing:
        raise TypeError(
            f"Trainer: a {type(inner).__name__} has no {', no '.join(missing)}; give a model of partae_fast.models, a "
            "subclass, or a module with training_loss(batch, penalty, backend) and, for a CropSampler, bins and the "
            "buffers mean, std and noise_mean_square; or iterate over the sampler in a loop of your own"
        )
    group = current()
    parts = model.modules() if isinstance(model, torch.nn.Module) else ()
    if ranks.count == 1 < group.count and any(
        isinstance(part, torch.nn.parallel.DistributedDataParallel) for part in parts
    ):
        raise UserError(
            f"Trainer: the model is in DistributedDataParallel, of {group.count} processes, and this Trainer would "
            f"train alone; give ranks=Ranks({group.rank}, {group.count}) of partae_fast.training.distributed"
        )
    return inner


def _with_older(
    checkpoint: str | os.PathLike[str] | Checkpoint | None, schedule: Schedule | None, older: dict[str, Any]
) -> tuple[Checkpoint | None, Schedule]:
    """Return the checkpoint's settings and the schedule, with the keywords of version 0.1."""
    replaced = {"checkpoint_every": "every", "resume": "resume", "overwrite": "overwrite"}
    unknown = sorted(set(older) - {*replaced, "falling_over", "plateau", "watch", "progress"})
    if unknown:
        raise TypeError(f"Trainer has no argument {unknown[0]!r}")
    if older:
        warnings.warn(
            f"Trainer({', '.join(older)}) is deprecated: use checkpoint=Checkpoint(path, every, resume, overwrite), "
            "schedule=Stairs(steps) or Plateau(...), and the attributes watch and progress",
            DeprecationWarning,
            stacklevel=3,
        )
    settings = {name: older[old] for old, name in replaced.items() if old in older}
    if settings and isinstance(checkpoint, Checkpoint):
        raise TypeError(f"Trainer: checkpoint is a Checkpoint; put {', '.join(settings)} into it")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint, **settings)
    falling_over = older.get("falling_over", 0)
    return checkpoint, schedule or older.get("plateau") or (Stairs(falling_over) if falling_over else Schedule())


def _identity(model: Any, checkpoint: Path | None) -> dict[str, Any]:
    """Return the model's kind and config; raises UserError for a checkpoint of a class that cannot be loaded."""
    try:
        return identity(model)
    except UserError as error:
        if checkpoint:
            raise UserError(f"{checkpoint}: {error}; leave out checkpoint to train it without") from error
        return {"kind": type(model).__name__}


def _check_settings(model: Any, sampler: CropSampler | Sampler, penalty: float, learning_rate: float | None) -> None:
    if isinstance(sampler, CropSampler) and model.bins != sampler.bins:
        raise UserError(f"the model has {model.bins} bins and the recordings {sampler.bins}; give both the same number")
    if not (penalty >= 0 and math.isfinite(penalty)):
        raise UserError(f"penalty is {penalty}; it must be 0 or more")
    if learning_rate is not None and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0")
