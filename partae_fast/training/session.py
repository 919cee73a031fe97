"""The training of a system's models, one after the other: lock, checkpoints and record."""

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
from .distributed import current
from .options import TrainingOptions
from .plateau import Plateau
from .record import JsonLines, Record, TensorBoard
from .trainer import Sampler, Trainer

logger = logging.getLogger("partae_fast")


class Session:
    """Trains the models of a system, a stage each, as the options say; a context manager.

    Args:
        options: of the training.
        source: where the system was published; written to the record.
        stages: how many models are trained, one after the other.
        spectrogram: that of the recordings, for the record, where there is one.

    In a process group each rank has a session; the first rank alone writes.
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
        plateau: Plateau | None = None,
        falling_over: int = 0,
    ) -> Any:
        """Train the model of the next stage for `steps` steps; returns it, with its `history`.

        `optimizer`, `learning_rate` and `optimizer_options` are the system's; in the first stage the session's options
        replace them, and another optimizer drops the two others. The rest is as for `Trainer`.
        """
        options, checkpoint = self.options, self._checkpoints[self._stage]
        kept = {}
        if self._stage == 0:
            own = options.optimizer in (None, optimizer)
            optimizer, kept = options.optimizer or optimizer, (optimizer_options or {}) if own else {}
            learning_rate = learning_rate if options.learning_rate is None and own else options.learning_rate
        trainer = Trainer(
            model.to(options.chosen_device()),
            sampler,
            penalty=penalty,
            optimizer=optimizer,
            learning_rate=learning_rate,
            options={**kept, "weight_decay": options.weight_decay},
            falling_over=falling_over,
            plateau=plateau,
            backend=options.backend,
            checkpoint=checkpoint,
            resume=options.resume,
            overwrite=options.overwrite,
            progress=options.progress,
            ranks=self.ranks,
            watch=self._record.watch,
        )
        if self._stage == 0 and self.ranks.leads and not (options.resume and checkpoint and checkpoint.exists()):
            self._remove_later_checkpoints()
        trainer.fused()  # a back-end that cannot run leaves no record
        self._record.begin(trainer)
        if checkpoint is not None and trainer.step >= steps > 0:
            logger.info("%s: %d steps were done already, of %d", checkpoint, trainer.step, steps)
        trainer.run(max(0, steps - trainer.step))
        self._record.end(trainer)
        self._stage += 1
        trainer.model.history = trainer.history
        return trainer.model

    def _remove_later_checkpoints(self) -> None:
        """The later stages' checkpoints belong to another run where the first stage starts at its first step."""
        for path in self._checkpoints[1:]:
            if path and path.exists() and not self.options.overwrite:
                raise UserError(f"{path}: a checkpoint exists without the first model's; overwrite it or name another")
            if path:
                path.unlink(missing_ok=True)


def train(
    model: Any, sampler: Sampler, options: TrainingOptions, source: str, steps: int, *arguments: Any, **settings: Any
) -> Any:
    """Train a system's only model: `Session.train`, for `steps` steps unless the options say how many."""
    with Session(options, source) as session:
        return session.train(model, sampler, options.steps_or(steps), *arguments, **settings)


def checkpoint_paths(path: PathLike, stages: int) -> list[Path]:
    """The checkpoint of each stage: that of the first at `path`, those of the later ones beside it."""
    return [Path(path), *(Path(f"{os.fspath(path)}.remixed{number}") for number in range(1, stages))]
