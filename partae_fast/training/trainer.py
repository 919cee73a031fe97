"""The training loop: launches of whole steps where the kernels have them, else batch, loss, gradients, optimiser."""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..atomic import check_writable
from ..errors import UserError
from ..kernels.optimiser import EVERY_RULE, RULES
from ..kernels.train_steps import TrainingRun
from ..models.conv_autoencoder import ConvAutoencoder
from ..models.state import unwrapped
from ..models.storage import identity
from ..sampling.crops import CropSampler
from .checkpoint import current_place, differences, read_checkpoint, write_checkpoint
from .distributed import Ranks, Shares, current
from .loop import BURST_SECONDS, BURST_STEPS, COMMON_STEPS, Pace, deferred_interrupt, progress_bar
from .optimisers import Optimiser
from .plateau import Plateau
from .steps import serving_backend, train_steps

_STAIRS = 10  # in which a learning rate falls


@dataclass
class History:
    """What training saw: `loss`, a list of one float per step."""

    loss: list[float] = field(default_factory=list)


class Sampler(Protocol):
    """What a trainer asks of batches that are not crops of spectrograms."""

    batch: int

    def batch_at(self, step: int, items: range | None = None) -> tuple[torch.Tensor, ...]:
        """What goes into a step, or some of its items; along the first axis of each tensor are the items."""
        ...

    def to(self, device: torch.device) -> Any:
        """The sampler with its recordings on the device."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that are the same for the same batches."""
        ...

    def ready(self, step: int) -> int:
        """For how many steps from this one batches can be had before it must be asked again."""
        ...


class Trainer:
    """Trains a model on a sampler's batches.

    A CropSampler's mean, std and noise statistics are copied into the model. A sampler's recordings are moved to the
    model's device. With the same settings, recordings, device and library versions two runs give equal bits.

    Args:
        model: any of `partae_fast.models` or a subclass, on the device to train on; trained in place, by its
            `training_loss`. Another module needs parameters and `training_loss(batch, penalty, backend)`, and for a
            CropSampler `bins` and the buffers mean, std and noise_mean_square. Wrappers of torch.compile, DataParallel
            and DistributedDataParallel are taken off. No checkpoint is kept of a class that `pf.load` does not know.
        sampler: batches, of the kind that the model's `training_loss` takes; for a convolutional model a CropSampler of
            its bins.
        penalty: weight of what noise-only items put into foreground latents, >= 0.
        optimizer: "adadelta" (rho 0.95, epsilon 1e-6), "adam", "sgd" (momentum 0.9) or "nesterov" (likewise).
        backend: what computes the steps; see `pf.backends()`.
        falling_over: steps over which the learning rate falls to a tenth, in ten equal stairs; 0 keeps it.
        learning_rate: None for 1.0 with AdaDelta, 0.001 with Adam, 1e-5 with SGD and Nesterov.
        options: other settings of the optimiser, by name; see `partae_fast.kernels.optimiser.EVERY_RULE`.
        checkpoint: a file to write as training goes, at its end and when it is interrupted; None for none.
        checkpoint_every: seconds from one checkpoint to the next.
        resume: go on from `checkpoint`, bit for bit as if the run had never stopped. Where there is none
            yet, training starts at step 0.
        overwrite: begin anew where `checkpoint` exists; without this or `resume` that is refused.
        progress: a bar with loss and steps per second; None shows it on a terminal only.
        ranks: which of several processes this is, that train one model together: each takes its share of every batch,
            op by op, and all have the same model at every step, to the same bits with 2 ranks as with up to 4. The
            losses are those of one process to 1e-5. Of the ranks the first alone writes the checkpoint and shows the
            bar; all read it, and it may be of another number of ranks.
        plateau: how the learning rate falls, and when training ends, by what a model makes of what was held out; for
            one process, and not with `falling_over`.
        watch: called with the trainer after every burst of steps and at the end of a run.

    Raises UserError where bins differ, a setting is out of range, or the checkpoint cannot be written or is
    of another run, and TypeError for what is no such model.

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
        model: Any,
        sampler: CropSampler | Sampler,
        penalty: float = 0.75,
        optimizer: str = "adadelta",
        backend: str = "auto",
        learning_rate: float | None = None,
        options: dict[str, float] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool | None = None,
        falling_over: int = 0,
        ranks: Ranks | None = None,
        watch: "Callable[[Trainer], None] | None" = None,
        plateau: Plateau | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        model = _trainable(model, sampler, self.ranks)
        _check_settings(model, sampler, penalty, optimizer, learning_rate)
        self._shares = Shares(sampler.batch, self.ranks) if self.ranks.count > 1 else None
        self.model, self.penalty, self.backend = model, float(penalty), backend
        given = {**(options or {}), **({} if learning_rate is None else {"learning_rate": float(learning_rate)})}
        device = next(model.parameters()).device
        self.sampler = sampler.to(device)
        if isinstance(sampler, CropSampler):
            with torch.no_grad():
                for name in ("mean", "std", "noise_mean_square"):
                    getattr(model, name).copy_(getattr(sampler, name))
        self._optimiser = Optimiser(optimizer, dict(model.named_parameters()), given)
        self.history = History()
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_every, self.progress = checkpoint_every, progress if self.ranks.leads else False
        self.watch, self.plateau = watch, plateau
        self._run = {
            **_identity(model, self.checkpoint),
            "penalty": self.penalty,
            "optimizer": optimizer,
            **self._optimiser.options,
            "sampler": sampler.fingerprint() if self.checkpoint or self._shares else {},
            **({"falling_over": falling_over} if falling_over else {}),
            **({"plateau": plateau.settings()} if plateau else {}),
        }
        self._stair, self._learning_rate = falling_over / _STAIRS, self._optimiser.options["learning_rate"]
        self._place = current_place(backend, device) | {"ranks": self._shares.same_bits if self._shares else "1"}
        self._pace = Pace()
        self._updates, self._in_update = 0, False  # steps whose update is whole; whether one is under way
        if self.checkpoint:
            self._open_checkpoint(self.checkpoint, resume, overwrite)
        self._check_company()

    @property
    def step(self) -> int:
        """How many steps are done; the next has this number."""
        return len(self.history.loss)

    def run(self, steps: int) -> History:
        """Take `steps` more steps, fewer where the plateau ends; returns their history, and `history` covers all.

        Ctrl-C ends the step at hand, writes the checkpoint and raises KeyboardInterrupt.

        Raises UserError where the loss turns NaN or infinite, naming the first such step; a checkpoint then
        stays as it was before.
        """
        if steps < 0:
            raise UserError(f"steps is {steps}; it must be 0 or more")
        first, end = self.step, self.step + steps
        due = time.monotonic() + self.checkpoint_every
        with (
            deferred_interrupt(ignore_repeats=bool(self._shares)) as interrupted,
            progress_bar("train", first, end, self.progress) as bar,
        ):
            backend, stopping = self.fused(), False
            while self.step < end and not (stopping or (interrupted and not self._shares)):
                if self._is_over():
                    break
                try:
                    alike = min(end - self.step, self._take_stair(), self.sampler.ready(self.step))
                    if self._shares:
                        stopping = self._take_common(min(alike, COMMON_STEPS), interrupted)
                    elif backend:
                        self._take_launch(alike, backend)
                    else:
                        self.burst(alike, interrupted)
                except KeyboardInterrupt:
                    self.stop()
                    raise
                bar.set_postfix(loss=f"{self.history.loss[-1]:.4g}", refresh=False)
                bar.update(self.step - bar.n)
                if time.monotonic() >= due and self.step < end and self.is_finite():
                    self.save_checkpoint()
                    due = time.monotonic() + self.checkpoint_every
                if self.watch:
                    self.watch(self)
            self._is_over()  # measures after a last epoch, too
            self.save_checkpoint()
            if stopping or any(self.ranks.gather(bool(interrupted))):
                raise KeyboardInterrupt
        return History(self.history.loss[first:])

    @property
    def kind(self) -> str:
        """Which model it trains, as the model's file calls it."""
        return self._run["kind"]

    def settings(self) -> dict[str, Any]:
        """Plain values: `run`, what is trained on what and how, and `place`, what else the bits depend on."""
        return {"run": self._run, "place": self._place}

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if self.plateau:
            return self._learning_rate * self.plateau.rate_at(step)
        if not self._stair:
            return self._learning_rate
        return self._learning_rate * (_STAIRS - self._stair_of(step)) / _STAIRS

    def _stair_of(self, step: int) -> int:
        return min(int(step / self._stair), _STAIRS - 1)

    def _take_stair(self) -> int:
        """Set the learning rate of the next step; returns for how many steps it stays."""
        self._optimiser.options["learning_rate"] = self.learning_rate_at(self.step)
        if self.plateau:
            return self.plateau.until_next(self.step)
        if not self._stair or (number := self._stair_of(self.step)) == _STAIRS - 1:
            return sys.maxsize
        return math.ceil((number + 1) * self._stair) - self.step

    def _is_over(self) -> bool:
        """Whether the plateau ends training here."""
        return self.plateau is not None and self.plateau.listen(self.step, self.model)

    def save_checkpoint(self) -> None:
        """Write the checkpoint now, where the trainer has one."""
        if self.checkpoint and self.ranks.leads:
            losses, held_out = self.history.loss, self.plateau.losses if self.plateau else None
            write_checkpoint(self.checkpoint, self.model, self._optimiser, losses, self._run, self._place, held_out)

    def is_finite(self) -> bool:
        """Whether the weights are finite, so that a checkpoint may be written; the next loss says what went wrong."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def fused(self) -> str | None:
        """The back-end that takes whole steps in one launch, None where ops are called one by one.

        A launch updates the weights inside itself, so several ranks call ops.
        """
        run = None if self._shares else self.as_run()
        return None if run is None else serving_backend([run], self.backend)

    def as_run(self) -> TrainingRun | None:
        """What `train_steps` is given; None where it cannot serve.

        A sampler that makes its batches in another way than CropSampler is asked for them.
        """
        model, optimiser = self.model, self._optimiser
        own_loss = getattr(type(model), "training_loss", None) is not ConvAutoencoder.training_loss
        if own_loss or "training_loss" in vars(model) or not self._draws_crops() or optimiser.rule not in RULES:
            return None
        if {name for name, _ in model.named_parameters()} != {"w_enc", "w_dec"}:
            return None
        return TrainingRun(
            model.w_enc.detach(),
            model.w_dec.detach(),
            optimiser.state,
            self.sampler.crops,
            model.mean,
            model.std,
            model.foreground,
            self.penalty,
            model.pool,
            optimiser.rule,
            optimiser.options,
            model.negative_slope,
            model.rectified_output,
        )

    def _take_launch(self, limit: int, backend: str) -> None:
        """Up to `limit` steps in one launch that takes about as long as a burst may; note their losses."""
        self.note(self._pace.launch(limit, lambda steps: launch([self], steps, backend)[0]))

    def burst(self, limit: int, interrupted: list[int]) -> None:
        """Take up to `limit` steps op by op, fewer where time is up or an interrupt waits; note their losses."""
        losses: list[torch.Tensor] = []
        until = time.monotonic() + BURST_SECONDS
        try:
            while len(losses) < min(limit, BURST_STEPS) and not interrupted and time.monotonic() < until:
                losses.append(self._take_step(self.step + len(losses)))
        finally:
            if losses:
                self.note(torch.stack(losses).double().cpu().numpy())

    def _take_step(self, step: int) -> torch.Tensor:
        """One step, op by op; returns its loss, on the device."""
        loss = self._differentiated(step, range(self.sampler.batch))
        self._update(step)
        return loss

    def _take_common(self, steps: int, interrupted: list[int]) -> bool:
        """Take steps with the other ranks, note their losses; returns whether any rank was interrupted."""
        ends = torch.stack([self._take_shared(self.step + i, interrupted) for i in range(steps)])
        found = ends.double().cpu().numpy()
        self.note(found[:, 0])
        return bool(found[:, 1].any())

    def _take_shared(self, step: int, interrupted: list[int]) -> torch.Tensor:
        """One step with the other ranks; returns its loss and, not 0, whether a rank was interrupted, on the device."""
        assert self._shares
        parameters = list(self.model.parameters())
        parts = []
        for items in self._shares.shards.values():
            part = parameters[0].new_zeros(sum(p.numel() for p in parameters) + 2)
            if items:
                loss = self._differentiated(step, items)
                torch.cat([*(p.grad.reshape(-1) for p in parameters if p.grad is not None), loss[None]], out=part[:-1])
                part *= len(items) / self.sampler.batch
            part[-1] = float(bool(interrupted))
            parts.append(part)
        total = self._shares.total(parts)
        gradients = total[:-2].split([p.numel() for p in parameters])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.view(parameter.shape)
        self._update(step)
        return total[-2:]

    def _differentiated(self, step: int, items: range) -> torch.Tensor:
        """The loss of some items of a step's batch, their mean; its gradients are the parameters'."""
        dtype = next(self.model.parameters()).dtype
        batch = tuple(part.to(dtype) if part.is_floating_point() else part for part in self._batch(step, items))
        for parameter in self.model.parameters():
            parameter.grad = None
        self.model.step = step
        loss = self.model.training_loss(batch, self.penalty, self.backend)
        loss.backward()
        return loss.detach()

    def _batch(self, step: int, items: range) -> tuple[torch.Tensor, ...]:
        """What `training_loss` takes of some items of a step's batch."""
        sampler = self.sampler
        if not isinstance(sampler, CropSampler):
            return sampler.batch_at(step, items)
        if self._draws_crops():
            x, noise_only = sampler.batch_at(step, items)
            return (x, noise_only) if sampler.crops.target_is_input else (x, noise_only, sampler.target_at(step, items))
        among = slice(items.start, items.stop)
        x, noise_only = (part[among] for part in sampler.batch_at(step))
        return (x, noise_only) if sampler.crops.target_is_input else (x, noise_only, sampler.target_at(step)[among])

    def _update(self, step: int) -> None:
        """Step the parameters by their gradients."""
        self._in_update = True
        self._optimiser.step(step)
        self._updates += 1
        self._in_update = False

    def _draws_crops(self) -> bool:
        """Whether the sampler makes its batches as CropSampler does."""
        return type(self.sampler).batch_at is CropSampler.batch_at and "batch_at" not in vars(self.sampler)

    def note(self, losses: np.ndarray) -> None:
        """Put the losses of the steps just taken into the history; UserError at the first that is not finite."""
        finite = np.isfinite(losses)
        good = len(losses) if finite.all() else int(np.argmin(finite))
        self.history.loss.extend(losses[:good].tolist())
        if good < len(losses):
            raise UserError(
                f"the loss is {losses[good]} at step {self.step}; try a lower learning rate (now "
                f"{self._optimiser.options['learning_rate']:g}), another optimizer, or recordings of a more even level"
            )

    def stop(self) -> None:
        """After an interrupt at any line: write the checkpoint if weights and losses are of the same step."""
        if self._updates == self.step and not self._in_update:
            self.save_checkpoint()

    def _open_checkpoint(self, path: Path, resume: bool, overwrite: bool) -> None:
        check_writable(path)
        if resume and path.exists():
            held_out = self.plateau.losses if self.plateau else None
            self.history.loss = read_checkpoint(path, self.model, self._optimiser, self._run, self._place, held_out)
            self._updates = self.step
        elif path.exists() and not overwrite:
            raise UserError(f"{path}: a checkpoint exists; resume it, overwrite it or name another")

    def _check_company(self) -> None:
        """Refuse to train with ranks that are about to train something else."""
        found = self.ranks.gather({**self._run, "step": self.step})
        for rank, other in enumerate(found):
            changed = differences(found[0], other)
            if changed:
                raise UserError(
                    f"ranks 0 and {rank} do not train the same ({'; '.join(changed)}, on rank {rank}); "
                    "give all the same recordings, settings and checkpoint"
                )


def launch(trainers: Sequence[Trainer], steps: int, backend: str) -> np.ndarray:
    """Take `steps` steps with trainers that stand at the same one, side by side in one launch.

    Returns the losses (len(trainers), steps), a row for each one's `note`. No checkpoint may be written of them until
    the launch has ended.
    """
    runs = [run for trainer in trainers if (run := trainer.as_run())]
    for trainer in trainers:
        trainer._in_update = True
    losses = train_steps(runs, trainers[0].step, steps, backend).cpu().numpy()
    for trainer in trainers:
        trainer._updates += steps
        trainer._in_update = False
    return losses


def _trainable(model: Any, sampler: Any, ranks: Ranks) -> Any:
    """Return the model without wrappers.

    Raises TypeError where it lacks what training needs, and UserError where DistributedDataParallel would have added
    up the gradients of several processes and the Trainer is alone.
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
    company = current()
    if ranks.count == 1 < company.count and any(
        isinstance(part, torch.nn.parallel.DistributedDataParallel) for part in model.modules()
    ):
        raise UserError(
            f"Trainer: the model is in DistributedDataParallel, of {company.count} processes, and this Trainer would "
            f"train alone; give ranks=Ranks({company.rank}, {company.count}) of partae_fast.training.distributed"
        )
    return inner


def _identity(model: Any, checkpoint: Path | None) -> dict[str, Any]:
    """What a run says of its model; UserError where a checkpoint is to be kept of a class that cannot be loaded."""
    try:
        return identity(model)
    except UserError as error:
        if checkpoint:
            raise UserError(f"{checkpoint}: {error}; leave out checkpoint to train it without") from error
        return {"kind": type(model).__name__}


def _check_settings(
    model: Any, sampler: CropSampler | Sampler, penalty: float, optimizer: str, learning_rate: float | None
) -> None:
    if isinstance(sampler, CropSampler) and model.bins != sampler.bins:
        raise UserError(f"the model has {model.bins} bins and the recordings {sampler.bins}; give both the same")
    if not (penalty >= 0 and math.isfinite(penalty)):
        raise UserError(f"penalty is {penalty}; it must be 0 or more")
    if optimizer not in EVERY_RULE:
        raise UserError(f"optimizer {optimizer!r} is not known; choose one of {', '.join(EVERY_RULE)}")
    if learning_rate is not None and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0")
