"""The training loop: launches of whole steps where the kernels have them, else batch, loss, gradients, optimiser."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import functional
from ..atomic import check_writable
from ..errors import UserError
from ..kernels.optimiser import RULES
from ..kernels.train_steps import Run
from ..models.storage import identity
from ..sampling import CropSampler
from .checkpoint import current_place, read_checkpoint, write_checkpoint
from .optimisers import Optimiser
from .steps import serving_backend, train_steps

# A burst of steps ends after about this long. A NaN, an interrupt, or a checkpoint that is due, waits for its end.
_BURST_SECONDS = 0.25
_BURST_STEPS = 1 << 20  # and after this many: their losses stay on the device until then


@dataclass
class History:
    """What training saw: `loss`, one float per step."""

    loss: list[float] = field(default_factory=list)


class Trainer:
    """Trains a model on a sampler's batches.

    The sampler's mean, std and noise statistics are copied into the model, and its recordings moved to the
    model's device. With the same settings, recordings, device and library versions two runs give equal bits.

    Args:
        model: a ConvPartitionedAutoencoder, on the device to train on; trained in place.
        sampler: batches, of the model's bins.
        penalty: weight of what noise-only items put into foreground latents, >= 0.
        optimizer: "adadelta" (rho 0.95, epsilon 1e-6), "adam", or "sgd" (momentum 0.9).
        backend: what computes the steps; see `pf.backends()`.
        learning_rate: None for 1.0 with AdaDelta, 0.001 with Adam, 1e-5 with SGD.
        options: other settings of the optimiser, by name; see `partae_fast.kernels.optimiser.RULES`.
        checkpoint: a file to write as training goes, at its end and when it is interrupted; None for none.
        checkpoint_every: seconds from one checkpoint to the next.
        resume: go on from `checkpoint`, bit for bit as if the run had never stopped. Where there is none
            yet, training starts at step 0.
        overwrite: begin anew where `checkpoint` exists; without this or `resume` that is refused.
        progress: a bar with loss and steps per second; None shows it on a terminal only.

    Raises UserError where bins differ, a setting is out of range, or the checkpoint cannot be written or is
    of another run.

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
        sampler: CropSampler,
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
    ) -> None:
        _check_settings(model, sampler, penalty, optimizer, learning_rate)
        self.model, self.penalty, self.backend = model, float(penalty), backend
        given = {**(options or {}), **({} if learning_rate is None else {"learning_rate": float(learning_rate)})}
        device = model.w_enc.device
        self.sampler = sampler.to(device)
        with torch.no_grad():
            for name in ("mean", "std", "noise_mean_square"):
                getattr(model, name).copy_(getattr(sampler, name))
        self._optimiser = Optimiser(optimizer, dict(model.named_parameters()), given)
        self.history = History()
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_every, self.progress = checkpoint_every, progress
        self._run = {
            **identity(model),
            "penalty": self.penalty,
            "optimizer": optimizer,
            **self._optimiser.options,
            "sampler": sampler.fingerprint() if self.checkpoint else {},
        }
        self._place = current_place(backend, device)
        self._launch = 1  # steps in the next launch
        self._updates, self._in_update = 0, False  # steps whose update is whole; whether one is under way
        if self.checkpoint:
            self._open_checkpoint(self.checkpoint, resume, overwrite)

    @property
    def step(self) -> int:
        """How many steps are done; the next has this number."""
        return len(self.history.loss)

    def run(self, steps: int) -> History:
        """Take `steps` more steps; returns their history, and `history` covers all.

        Ctrl-C ends the step at hand, writes the checkpoint and raises KeyboardInterrupt.

        Raises UserError where the loss turns NaN or infinite, naming the first such step; a checkpoint then
        stays as it was before.
        """
        if steps < 0:
            raise UserError(f"steps is {steps}; it must be 0 or more")
        first, end = self.step, self.step + steps
        due = time.monotonic() + self.checkpoint_every
        with _late_interrupt() as interrupted, self._bar(first, end) as bar:
            backend = self.fused()
            while self.step < end and not interrupted:
                try:
                    if backend:
                        self._take_launch(end - self.step, backend)
                    else:
                        self._burst(end - self.step, interrupted)
                except KeyboardInterrupt:
                    self._stop()
                    raise
                bar.set_postfix(loss=f"{self.history.loss[-1]:.4g}", refresh=False)
                bar.update(self.step - bar.n)
                if time.monotonic() >= due and self.step < end and self._is_finite():
                    self.save_checkpoint()
                    due = time.monotonic() + self.checkpoint_every
            self.save_checkpoint()
            if interrupted:
                raise KeyboardInterrupt
        return History(self.history.loss[first:])

    def save_checkpoint(self) -> None:
        """Write the checkpoint now, where the trainer has one."""
        if self.checkpoint:
            losses = self.history.loss
            write_checkpoint(self.checkpoint, self.model, self._optimiser, losses, self._run, self._place)

    def _is_finite(self) -> bool:
        """Whether a checkpoint may be written; where not, the next loss says what went wrong."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def fused(self) -> str | None:
        """The back-end that takes whole steps in one launch, None where ops are called one by one.

        A sampler that makes its batches in another way than CropSampler is asked for them.
        """
        if type(self.sampler).batch_at is not CropSampler.batch_at or "batch_at" in vars(self.sampler):
            return None
        if {name for name, _ in self.model.named_parameters()} != {"w_enc", "w_dec"}:
            return None
        return serving_backend([self._run_of_steps()], self.backend)

    def _run_of_steps(self) -> Run:
        model, optimiser = self.model, self._optimiser
        return Run(
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
        )

    def _take_launch(self, limit: int, backend: str) -> None:
        """Up to `limit` steps in one launch that takes about as long as a burst may; note their losses."""
        steps, start = min(limit, self._launch, _BURST_STEPS), time.monotonic()
        self._in_update = True
        losses = train_steps([self._run_of_steps()], self.step, steps, backend)[0].tolist()
        self._updates += steps
        self._in_update = False
        if time.monotonic() - start < _BURST_SECONDS / 2:
            self._launch = 2 * steps
        elif time.monotonic() - start > _BURST_SECONDS:
            self._launch = max(1, steps // 2)
        self._note(losses)

    def _burst(self, limit: int, interrupted: list[int]) -> None:
        """Take up to `limit` steps, fewer where time is up or an interrupt waits; note their losses."""
        losses: list[torch.Tensor] = []
        until = time.monotonic() + _BURST_SECONDS
        try:
            while len(losses) < min(limit, _BURST_STEPS) and not interrupted and time.monotonic() < until:
                losses.append(self._take_step(self.step + len(losses)))
        finally:
            if losses:
                self._note(torch.stack(losses).tolist())

    def _take_step(self, step: int) -> torch.Tensor:
        """One step, op by op; returns its loss, on the device."""
        model = self.model
        x, noise_only = self.sampler.batch_at(step)
        for parameter in model.parameters():
            parameter.grad = None
        loss = functional.partitioned_loss(
            x,
            model.mean,
            model.std,
            model.w_enc,
            model.w_dec,
            noise_only,
            model.foreground,
            self.penalty,
            model.pool,
            backend=self.backend,
        )
        loss.backward()
        self._in_update = True
        self._optimiser.step(step)
        self._updates += 1
        self._in_update = False
        return loss.detach()

    def _note(self, losses: list[float]) -> None:
        for loss in losses:
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} at step {self.step}; try a lower learning rate (now "
                    f"{self._optimiser.options['learning_rate']:g}), another optimizer, or recordings of a more even "
                    "level"
                )
            self.history.loss.append(loss)

    def _stop(self) -> None:
        """After an interrupt at any line: write the checkpoint if weights and losses are of the same step."""
        if self._updates == self.step and not self._in_update:
            self.save_checkpoint()

    def _open_checkpoint(self, path: Path, resume: bool, overwrite: bool) -> None:
        check_writable(path)
        if resume and path.exists():
            self.history.loss = read_checkpoint(path, self.model, self._optimiser, self._run, self._place)
            self._updates = self.step
        elif path.exists() and not overwrite:
            raise UserError(f"{path}: a checkpoint exists; resume it, overwrite it or name another")

    def _bar(self, first: int, end: int) -> Any:
        """A progress bar from step `first` to `end`, or something that takes its calls and shows nothing."""
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        if not shown:
            return contextlib.nullcontext(_NoBar(first))
        from tqdm import tqdm

        return tqdm(initial=first, total=end, unit="step", desc="train")


class _NoBar:
    def __init__(self, n: int) -> None:
        self.n = n

    def set_postfix(self, **values: Any) -> None:
        pass

    def update(self, n: int) -> None:
        self.n += n


def _check_settings(
    model: Any, sampler: CropSampler, penalty: float, optimizer: str, learning_rate: float | None
) -> None:
    if model.bins != sampler.bins:
        raise UserError(f"the model has {model.bins} bins and the recordings {sampler.bins}; give both the same")
    if not (penalty >= 0 and math.isfinite(penalty)):
        raise UserError(f"penalty is {penalty}; it must be 0 or more")
    if optimizer not in RULES:
        raise UserError(f"optimizer {optimizer!r} is not known; choose one of {', '.join(RULES)}")
    if learning_rate is not None and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0")


@contextlib.contextmanager
def _late_interrupt() -> Iterator[list[int]]:
    """Ctrl-C fills the list instead of raising, so that it never lands in the middle of an update.

    A second Ctrl-C raises at once. Where another handler is set, or off the main thread, nothing is changed.
    """
    waiting: list[int] = []

    def note(number: int, frame: object) -> None:
        waiting.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield waiting
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
