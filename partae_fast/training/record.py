"""The record of a training: its losses during training, as lines of JSON in a file and for TensorBoard."""
# A line of the file is one of
#     begin   {"begin": KIND, "stage": N, "step": steps taken, "time", "program", "place": back-end, device and
#             versions, "run": settings, and what the caller adds}; a line for each model, and for each time that its
#             training resumes
#     loss    {"model": KIND, "stage": N, "step": steps taken, "loss": mean over the steps since the line before,
#             "learning_rate": of the last of them, "seconds": of training and writing since the start}
# KIND is the model's kind in its file, such as conv_partitioned, and N numbers the models of the run from 1. A resumed
# run first removes the lines beyond its checkpoint, so that no step is recorded twice.

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..atomic import atomic_path, check_writable
from ..errors import UserError
from ..models.storage import program
from .trainer import Trainer

EVERY = 10  # steps in the mean of a row


class Sink(Protocol):
    """A destination of a record."""

    seconds: float  # duration of a resumed run so far

    def begin(self, trainer: Trainer, stage: int) -> None: ...
    def write(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class Record:
    """Write a row for every `EVERY` steps of a training to each sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks
        self._stage, self._done = 0, 0
        self._start: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """Begin the record of the next model, which may have taken steps already."""
        self._stage += 1
        for sink in self._sinks:
            sink.begin(trainer, self._stage)
        if self._start is None:
            self._start = time.monotonic() - max((sink.seconds for sink in self._sinks), default=0.0)
        self._done = trainer.step - trainer.step % EVERY

    def watch(self, trainer: Trainer) -> None:
        """Write the rows that are due."""
        assert self._start is not None
        while trainer.step >= self._done + EVERY:
            self._write(trainer, self._done + EVERY)

    def end(self, trainer: Trainer) -> None:
        """Write the last row, which may cover fewer steps."""
        if trainer.step > self._done:
            self._write(trainer, trainer.step)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def _write(self, trainer: Trainer, step: int) -> None:
        assert self._start is not None
        row = {
            "model": trainer.kind,
            "stage": self._stage,
            "step": step,
            "loss": float(np.mean(trainer.history.loss[self._done : step])),
            "learning_rate": trainer.learning_rate_at(step - 1),
            "seconds": round(time.monotonic() - self._start, 3),
        }
        for sink in self._sinks:
            sink.write(row)
        self._done = step


class JsonLines:
    """The record as lines of JSON in a file.

    Args:
        path: the file; it is replaced unless the run is resumed.
        about: plain values for the lines that begin a model.
        resume: whether to append to the record of a resumed run.

    Raises UserError if the file cannot be written, or if it is to be resumed and is not a record of training.
    """

    def __init__(self, path: str | os.PathLike[str], about: dict[str, Any], resume: bool) -> None:
        self._path, self._about = check_writable(path), about
        self._lines = _lines(self._path) if resume and self._path.exists() else []
        self.seconds = max((line.get("seconds", 0.0) for line in self._lines), default=0.0)

    def begin(self, trainer: Trainer, stage: int) -> None:
        kept = [line for line in self._lines if not _is_beyond(line, trainer.step, stage)]
        self.seconds = max((line.get("seconds", 0.0) for line in kept), default=0.0)
        line = {
            "begin": trainer.kind,
            "stage": stage,
            "step": trainer.step,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "program": program(),
            **trainer.settings(),
            **self._about,
        }
        self._lines = [*kept, line]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

    def write(self, row: dict[str, Any]) -> None:
        self._lines.append(row)
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        pass


class TensorBoard:
    """Curves of loss and learning_rate for TensorBoard, in a folder N-KIND for each model.

    Raises UserError if TensorBoard is not installed or the folder cannot be made.
    """

    seconds = 0.0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "the log for TensorBoard needs tensorboard: pip install 'partae-fast[tensorboard]'"
            ) from error
        self._folder, self._writer_of = Path(folder), SummaryWriter
        self._writer: Any = None
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be a folder: {error.strerror}") from error

    def begin(self, trainer: Trainer, stage: int) -> None:
        """Begin a model's curves; TensorBoard drops points beyond the step of a resumed run."""
        self.close()
        self._writer = self._writer_of(str(self._folder / f"{stage}-{trainer.kind}"), purge_step=trainer.step + 1)

    def write(self, row: dict[str, Any]) -> None:
        for name in ("loss", "learning_rate"):
            self._writer.add_scalar(name, row[name], row["step"])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, without an incomplete last one."""
    text = path.read_text(errors="replace")
    complete = text[: text.rfind("\n") + 1].splitlines()
    try:
        lines = [json.loads(line) for line in complete]
        if not all(isinstance(line, dict) and {"stage", "step"} <= set(line) for line in lines):
            raise ValueError("another file's line")
    except ValueError:
        raise UserError(f"{path}: not a record of training; move it or choose another file") from None
    return lines


def _is_beyond(line: dict[str, Any], step: int, stage: int) -> bool:
    """Return whether a line lies beyond `step` of a model, or is its last row of fewer steps."""
    if line["stage"] != stage:
        return line["stage"] > stage and step == 0
    if "begin" in line:
        return line["step"] > step or step == 0
    return line["step"] > step or line["step"] % EVERY != 0
