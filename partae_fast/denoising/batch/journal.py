"""The journal of an output folder: the state of each recording, so that a stopped run can be continued."""

import contextlib
import json
import logging
import os
import platform
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import UserError
from ...file_lock import only_writer
from .jobs import BatchSettings, Job, Outcome, job_figure_path

logger = logging.getLogger("partae_fast")

NAME, VERSION = "partae-journal.jsonl", 1
_LONGEST_PATH = 1000  # characters in a message


@dataclass(frozen=True)
class _Output:
    """An output that partae has written, or started to write: its input, and its size and time of change.

    `written` is None if the end of the writing is not in the journal; `replaced` is then the size and time of change of
    the file that was there before.
    """

    input: str
    written: tuple[int, int] | None
    replaced: tuple[int, int] | None = None


class Journal:
    """Journal in `folder`, a file of JSON lines to which lines are appended.

    The file is created if it does not exist and locked (`file_lock`) until the journal is closed or the process ends.
    Its lines are:

        {"event": "run", "version": 1, "process", "machine", "program", "time"}
        {"event": "begun", "output", "input", "replaced", "time"}
        {"event": "done", "output", "input", "size", "mtime_ns", "model", "settings", "seconds", "written", "notes",
         "time"}
        {"event": "failed", "output", "input", "size", "mtime_ns", "model", "settings", "reason", "notes", "time"}
        {"event": "refused", the same keys as "failed"}

    "output" is relative to the folder and "input" absolute; "size" and "mtime_ns" are the input's, "model" is the
    SHA-256 of the model, "seconds" is the duration of the audio, and "written" is the size and mtime_ns of the output.
    "replaced" is the size and mtime_ns of the output before the job, or null if there was none. A job that is "refused"
    has not begun.

    A file in the folder is replaced only if it is one that the journal describes: a "begun" line without "done" does
    for a file that has the input's time of change, as complete outputs have, or the size and time in "replaced".

    A "begun" line is flushed to the disk (fsync) before the output is created. Every file that partae writes is
    therefore in the journal, even after a power cut, and is not confused with a file of the user. A power cut may lose
    the last "done" lines, whose recordings are then denoised again; a killed process loses no lines. A truncated line
    is ignored.

    Raises UserError if another process has the journal open, if it cannot be read or written, and if it is a symbolic
    link or not a regular file.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._folder = folder
        self._done: dict[str, dict[str, Any]] = {}  # last "done" line of each output
        self._outputs: dict[str, _Output] = {}
        self._previous: dict[str, _Output | None] = {}  # outputs before the jobs that have begun
        with contextlib.ExitStack() as stack:
            with self._errors_as_user_errors():
                self._file = stack.enter_context(open_regular(self.path))
            stack.enter_context(only_writer(self.path, self._lock_message))
            with self._errors_as_user_errors():
                self._read()
            self._close = stack.pop_all().close

    def __enter__(self) -> "Journal":
        from ...models.storage import program

        self._append(
            {
                "event": "run",
                "version": VERSION,
                "process": os.getpid(),
                "machine": platform.node(),
                "program": program(),
            }
        )
        return self

    def __exit__(self, *failure: object) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        self._close()

    def finished(self, job: Job, settings: BatchSettings) -> bool:
        """Return whether the same recording was denoised with the same settings, and its outputs still exist."""
        done, figure = self._done.get(self._name(job)), job_figure_path(job, settings)
        return (
            done is not None
            and all(done.get(key) == value for key, value in self._key(job, settings).items())
            and not self.interrupted(job)
            and job.target.exists()
            and (figure is None or figure.exists())
        )

    def interrupted(self, job: Job) -> bool:
        """Return whether a run ended while it wrote this output."""
        output = self._outputs.get(self._name(job))
        return output is not None and output.written is None

    def obstacle(self, job: Job, settings: BatchSettings) -> str | None:
        """Return why the output must not be replaced without --overwrite, or None.

        It must not if a file exists that no run wrote, that was changed, or that belongs to another recording.
        """
        figure, output = job_figure_path(job, settings), self._outputs.get(self._name(job))
        remedy = "move it to another folder, or replace it with --overwrite"
        if output is None:
            existing = [path for path in (job.target, figure) if path is not None and path.exists()]
            return f"{existing[0]}: exists already and was not written by partae; {remedy}" if existing else None
        if not job.target.exists():
            return None
        if output.input != _absolute(job.source):
            return f"{job.target}: was denoised from {output.input[:_LONGEST_PATH]}, not from {job.source}; {remedy}"
        state = _state(job.target)
        if output.written is None and state != output.replaced and state[1] != job.mtime_ns:
            return f"{job.target}: exists, and the journal does not say that partae wrote it; {remedy}"
        if output.written not in (None, state):
            return f"{job.target}: was changed since it was written; {remedy}"
        return None

    def begin(self, job: Job) -> None:
        """Record that a job begins, and flush the line to the disk."""
        replaced = _state(job.target) if job.target.exists() else None
        line = {"event": "begun", "output": self._name(job), "input": _absolute(job.source), "replaced": replaced}
        self._append(line, flush=True)

    def end(self, outcome: Outcome, settings: BatchSettings) -> None:
        """Record the outcome of a job that has begun."""
        line: dict[str, Any] = {"output": self._name(outcome.job), **self._key(outcome.job, settings)}
        if outcome.reason is None:
            line |= {"event": "done", "seconds": round(outcome.seconds, 3), "written": outcome.written}
        else:
            line |= {"event": "failed", "reason": outcome.reason}
        self._append(line | ({"notes": outcome.notes} if outcome.notes else {}))

    def refuse(self, outcome: Outcome, settings: BatchSettings) -> None:
        """Record why a job does not begin."""
        line = {"event": "refused", "output": self._name(outcome.job), **self._key(outcome.job, settings)}
        self._append(line | {"reason": outcome.reason})

    def _name(self, job: Job) -> str:
        return os.path.relpath(job.target, self._folder)

    @staticmethod
    def _key(job: Job, settings: BatchSettings) -> dict[str, Any]:
        """Return the values that must be equal for a job to count as done."""
        return {
            "input": _absolute(job.source),
            "size": job.size,
            "mtime_ns": job.mtime_ns,
            "model": settings.checksum,
            "settings": settings.sample_settings(),
        }

    def _append(self, line: dict[str, Any], flush: bool = False) -> None:
        line["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._errors_as_user_errors():
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            if flush:
                os.fsync(self._file.fileno())
        self._apply(line)

    def _read(self) -> None:
        self._file.seek(0)
        unreadable, complete = 0, True
        for text in self._file:
            complete = text.endswith(b"\n")
            try:
                line = json.loads(text)
                other_version = line.get("version", VERSION) != VERSION
                self._apply(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                unreadable += 1
                continue
            if other_version:
                raise UserError(f"{self.path}: was written by another version of partae; denoise into another folder")
        if not complete:
            self._file.write(b"\n")
        if unreadable:
            logger.warning("%s: %d lines cannot be read and are ignored", self.path, unreadable)

    def _apply(self, line: dict[str, Any]) -> None:
        """Update the state with a line that was read or written.

        Raises ValueError, KeyError, TypeError or AttributeError, without an update, if it is no line of a journal.
        """
        event, name = line["event"], _text(line.get("output", ""))
        if event == "begun":
            replaced = None if line.get("replaced") is None else _size_and_time(line["replaced"])
            output = _Output(_text(line["input"]), None, replaced)
            self._previous[name] = self._outputs.get(name)
            self._outputs[name] = output
        elif event == "done":
            self._outputs[name] = _Output(_text(line["input"]), _size_and_time(line["written"]))
            self._done[name] = line
            self._previous.pop(name, None)
        elif event == "failed":
            # A failed job writes nothing, so the previous output still exists.
            previous = self._previous.pop(name, None)
            if previous is None:
                self._outputs.pop(name, None)
            else:
                self._outputs[name] = previous

    def _lock_message(self) -> str:
        return f"{self._folder}: {self._holder()} is denoising into it; wait until it ends, or choose another folder"

    def _holder(self) -> str:
        """Return the process that opened the journal last, as text."""
        self._file.seek(0)
        runs = [line for line in self._file if line.startswith(b'{"event": "run"')]
        with contextlib.suppress(IndexError, ValueError, KeyError):
            last = json.loads(runs[-1])
            return f"process {last['process']} on {last['machine']}"
        return "another process"

    @contextlib.contextmanager
    def _errors_as_user_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path}: the journal cannot be read or written: {error.strerror}; free some disk space, or "
                "choose another folder"
            ) from error


def _text(value: Any) -> str:
    """Return a string in a line; raise ValueError if it is anything else."""
    if not isinstance(value, str):
        raise ValueError
    return value


def _size_and_time(value: Any) -> tuple[int, int]:
    """Return the size and time of change in a line; raise ValueError or TypeError if it is anything else."""
    size, mtime_ns = value
    if not (isinstance(size, int) and isinstance(mtime_ns, int)):
        raise ValueError
    return size, mtime_ns


def _absolute(path: Path) -> str:
    return os.path.abspath(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it and to append to it; create it if it does not exist.

    Raises UserError if it is a symbolic link, which may lead anywhere, or not a regular file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise UserError(f"{path}: is a symbolic link; remove it, or choose another folder")
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: is not a regular file; remove it, or choose another folder")
    return open(descriptor, "a+b")


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
