"""The record of a run: its losses as training goes, in a file of lines of JSON and for TensorBoard.

A line of the file is one of
    begin   {"begin": KIND, "stage": N, "step": how many steps are done, "time": when, "program", "place": back-end,
            device and versions, "run": the settings, and what the caller has to say}; one for each model and each time
            that its training is begun or resumed
    loss    {"model": KIND, "stage": N, "step": how many steps are done, "loss": its mean over the steps since the line
            before, "learning_rate": that of the last of them, "seconds": of training and writing since the beginning}
KIND is the model's in its file, such as conv_partitioned, and N counts the models of the run from 1. A run that is
resumed goes on in the same file: what it had recorded beyond its checkpoint is taken out first, so that no step is
there twice.
"""

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

EVERY = 10  # steps that a loss is the mean of


class Sink(Protocol):
    """Where a record goes."""

    seconds: float  # how long the run has taken already, where it is resumed

    def begin(self, trainer: Trainer, stage: int) -> None: ...
    def write(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class Record:
    """Told of training as it goes, writes a row for every so many steps to each sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks
        self._stage, self._done = 0, 0
        self._start: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """The model that is trained next, which may have steps behind it."""
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
        """Write the last row, which may be of fewer steps."""
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
    """The file of lines.

    Arguments:
        path: the file; what stands there goes, unless the run is resumed.
        about: plain values for the lines that begin a model.
        resume: whether a run goes on that may have written some of the file.

    Raises UserError where the file cannot be written, or is none of ours and would be gone on in.
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
        with atomic_path(self._path) as place:
            place.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

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
    """Curves for TensorBoard, loss and learning_rate over steps, in a folder N-KIND of a folder for each model.

    Raises UserError where TensorBoard is not installed, or the folder cannot be made.
    """

    seconds = 0.0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "the log for TensorBoard needs the library tensorboard: pip install 'partae-fast[tensorboard]'"
            ) from error
        self._folder, self._writer_of = Path(folder), SummaryWriter
        self._writer: Any = None
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be a folder: {error.strerror}") from error

    def begin(self, trainer: Trainer, stage: int) -> None:
        """TensorBoard drops what a run that was resumed had written beyond its step."""
        self.close()
        self._writer = self._writer_of(str(self._folder / f"{stage}-{trainer.kind}"), purge_step=trainer.step + 1)

    def write(self, row: dict[str, Any]) -> None:
        for name in ("loss", "learning_rate"):
            self._writer.add_scalar(name, row[name], row["step"])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """What a file holds but for a last line that was cut."""
    text = path.read_text(errors="replace")
    whole = text[: text.rfind("\n") + 1].splitlines()
    try:
        lines = [json.loads(line) for line in whole]
        if not all(isinstance(line, dict) and {"stage", "step"} <= set(line) for line in lines):
            raise ValueError("another file's line")
    except ValueError:
        raise UserError(f"{path}: is no record of training; move it away, and training is recorded anew") from None
    return lines


def _is_beyond(line: dict[str, Any], step: int, stage: int) -> bool:
    """Whether a line is of a step that a model with `step` behind it is yet to take; or a last one, of fewer."""
    if line["stage"] != stage:
        return line["stage"] > stage and step == 0
    if "begin" in line:
        return line["step"] > step or step == 0
    return line["step"] > step or line["step"] % EVERY != 0
