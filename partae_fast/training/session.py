"""The training of a system's models, one after the other, with lock, checkpoints and record."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..audio.files import PathLike
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..file_lock import only_writer
from .checkpoint import Checkpoint
from .distributed import current
from .options import TrainingOptions
from .record import JsonLines, Record, TensorBoard
from .schedules import Schedule
from .trainer import Sampler, Trainer

logger = logging.getLogger("partae_fast")


class Session:
    """Train the models of a system, one a stage; a context manager.

    Args:
        options: of the training.
        source: the system's publication, for the record.
        stages: number of models.
        spectrogram: spectrogram of the recordings, for the record; None if the system has none.

    In a process group every rank has a session; rank 0 alone writes.
    """

    def __init__(
        self, options: TrainingOptions, source: str, stages: int = 1, spectrogram: Spectrogram | None = None
    ) -> None:
        self.options, self.ranks, self._stage = options, current(), 0
        self._checkpoints: Sequence[Path | None] = [None] * stages
        if options.checkpoint is not None:
            self._checkpoints = checkpoint_paths(options.checkpoint, stages)
        self._about: dict[str, Any] = {"source": source}
        if spectrogram is not None:
            self._about["spectrogram"] = spectrogram.to_dict()
        self._open_files = contextlib.ExitStack()

    def __enter__(self) -> "Session":
        with contextlib.ExitStack() as open_files:
            if self._checkpoints[0] and self.ranks.leads:
                open_files.enter_context(only_writer(self._checkpoints[0]))
            self._record = Record(self._sinks() if self.ranks.leads else [])
            open_files.callback(self._record.close)
            self._open_files = open_files.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open_files.close()

    def _sinks(self) -> list[Any]:
        options, sinks = self.options, []
        if options.history is not None:
            sinks.append(JsonLines(options.history, self._about, options.resume))
        if options.tensorboard is not None:
            sinks.append(TensorBoard(options.tensorboard))
        return sinks

    def train(
        self,
        model: Any,
        sampler: Sampler | Any,
        steps: int,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        penalty: float = 0.0,
        optimizer_options: dict[str, float] | None = None,
        schedule: Schedule | None = None,
    ) -> Any:
        """Train the model of the next stage for `steps` steps; return it, with its `history`.

        `optimizer`, `learning_rate` and `optimizer_options` are the system's defaults. In the first stage the session's
        options replace them; another optimizer starts at its own learning rate and options. The other arguments are
        those of `Trainer`.
        """
        options, path = self.options, self._checkpoints[self._stage]
        own_options = {}
        if self._stage == 0:
            is_default = options.optimizer in (None, optimizer)
            optimizer, own_options = options.optimizer or optimizer, (optimizer_options or {}) if is_default else {}
            learning_rate = learning_rate if options.learning_rate is None and is_default else options.learning_rate
        trainer = Trainer(
            model.to(options.chosen_device()),
            sampler,
            penalty=penalty,
            optimizer=optimizer,
            learning_rate=learning_rate,
            options={**own_options, "weight_decay": options.weight_decay},
            backend=options.backend,
            checkpoint=None if path is None else Checkpoint(path, resume=options.resume, overwrite=options.overwrite),
            schedule=schedule,
            ranks=self.ranks,
        )
        trainer.watch, trainer.progress = self._record.watch, options.progress
        if self._stage == 0 and self.ranks.leads and not (options.resume and path and path.exists()):
            self._remove_later_checkpoints()
        trainer.fused()  # raises for a back-end that cannot run, before the record is written
        self._record.begin(trainer)
        if path is not None and trainer.step >= steps > 0:
            logger.info("%s: has %d steps already, of %d", path, trainer.step, steps)
        trainer.run(max(0, steps - trainer.step))
        self._record.end(trainer)
        self._stage += 1
        trainer.model.history = trainer.history
        return trainer.model

    def _remove_later_checkpoints(self) -> None:
        """Remove checkpoints of later stages: they belong to another run if the first stage starts at step 0."""
        for path in self._checkpoints[1:]:
            if path and path.exists() and not self.options.overwrite:
                raise UserError(f"{path}: exists without the first model's; overwrite it or choose another name")
            if path:
                path.unlink(missing_ok=True)


def train(
    model: Any, sampler: Sampler, options: TrainingOptions, source: str, steps: int, *arguments: Any, **settings: Any
) -> Any:
    """Train a system's only model by `Session.train`; `steps` is the default of the options' number."""
    with Session(options, source) as session:
        return session.train(model, sampler, options.steps_or(steps), *arguments, **settings)


def checkpoint_paths(path: PathLike, stages: int) -> list[Path]:
    """Return the checkpoint of each stage: the first at `path`, the later ones beside it."""
    return [Path(path), *(Path(f"{os.fspath(path)}.remixed{number}") for number in range(1, stages))]
