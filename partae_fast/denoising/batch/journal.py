"""The journal of a folder of results: what became of each recording, so that a run goes on where an earlier one ended.

It is a file of JSON lines in that folder, which is only ever appended to. The lines are

    {"event": "run", "version": 1, "process", "machine", "program", "time"}
    {"event": "begun", "output", "input", "time"}
    {"event": "done", "output", "input", "size", "mtime_ns", "model", "settings", "seconds", "written", "notes", "time"}
    {"event": "failed", "output", "input", "size", "mtime_ns", "model", "settings", "reason", "notes", "time"}
    {"event": "refused", as "failed": it was not begun}

output: below the folder. input: in full. size, mtime_ns: of the input. model: SHA-256. seconds: of audio. written: size
and mtime_ns of the output.

Only "begun" is flushed to the disk (fsync) before work goes on: it must be there before the output can be, which is
flushed before it gets its name. So whatever lies in the folder is known to be ours, after a power cut too, and is never
confused with a file of the user's. A "done" that a power cut loses costs one recording done again; a killed process
loses none, for each line is handed to the system at once. A line that was cut short is passed over.

While a run has the journal open it holds its lock (`file_lock`), which ends with the process, however that ends.
"""

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...file_lock import only_writer
from .jobs import Job, Outcome, Settings, figure_of

logger = logging.getLogger("partae_fast")

NAME, VERSION = "partae-journal.jsonl", 1


@dataclass(frozen=True)
class _Output:
    """What we wrote: from which input, and its size and time of change; None where the writing was not seen to end."""

    input: str
    written: tuple[int, int] | None


class Journal:
    """The journal in `folder`, created if it is not there, and locked until it is closed.

    Raises UserError where another process has it open, and where it cannot be read or written.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._folder = folder
        self._done: dict[str, dict[str, Any]] = {}  # the last "done" of each output
        self._ours: dict[str, _Output] = {}
        self._before: dict[str, _Output | None] = {}  # of what is begun: what was ours before
        with contextlib.ExitStack() as stack:
            with self._usable():
                self._file = stack.enter_context(open(self.path, "a+b"))
            stack.enter_context(only_writer(self.path, self._refusal))
            with self._usable():
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

    def finished(self, job: Job, settings: Settings) -> bool:
        """Whether there is nothing to do: the same recording, model and settings were done, and the output is there."""
        done, figure = self._done.get(self._name(job)), figure_of(job, settings)
        return (
            done is not None
            and all(done.get(key) == value for key, value in self._key(job, settings).items())
            and not self.interrupted(job)
            and job.target.exists()
            and (figure is None or figure.exists())
        )

    def interrupted(self, job: Job) -> bool:
        """Whether a run ended while it was at this output."""
        ours = self._ours.get(self._name(job))
        return ours is not None and ours.written is None

    def obstacle(self, job: Job, settings: Settings) -> str | None:
        """Why the output must not be written unasked: there is one that no run wrote, or of another recording."""
        figure, ours = figure_of(job, settings), self._ours.get(self._name(job))
        remedy = "move it elsewhere, or have it replaced with --overwrite"
        if ours is None:
            there = [path for path in (job.target, figure) if path is not None and path.exists()]
            return f"{there[0]}: exists already, and not from an earlier run; {remedy}" if there else None
        if not job.target.exists():
            return None
        if ours.input != _absolute(job.source):
            return f"{job.target}: is what {ours.input} became, not {job.source}; {remedy}"
        if ours.written not in (None, _state(job.target)):
            return f"{job.target}: was changed since it was written; {remedy}"
        return None

    def begin(self, job: Job) -> None:
        """On return it is on the disk that the output is ours."""
        self._append({"event": "begun", "output": self._name(job), "input": _absolute(job.source)}, flush=True)

    def end(self, outcome: Outcome, settings: Settings) -> None:
        """Record what came of a job that was begun."""
        line: dict[str, Any] = {"output": self._name(outcome.job), **self._key(outcome.job, settings)}
        if outcome.reason is None:
            line |= {"event": "done", "seconds": round(outcome.seconds, 3), "written": outcome.written}
        else:
            line |= {"event": "failed", "reason": outcome.reason}
        self._append(line | ({"notes": outcome.notes} if outcome.notes else {}))

    def refuse(self, outcome: Outcome, settings: Settings) -> None:
        """Record why a job was not begun."""
        line = {"event": "refused", "output": self._name(outcome.job), **self._key(outcome.job, settings)}
        self._append(line | {"reason": outcome.reason})

    def _name(self, job: Job) -> str:
        return os.path.relpath(job.target, self._folder)

    @staticmethod
    def _key(job: Job, settings: Settings) -> dict[str, Any]:
        return {
            "input": _absolute(job.source),
            "size": job.size,
            "mtime_ns": job.mtime_ns,
            "model": settings.checksum,
            "settings": settings.of_sound(),
        }

    def _append(self, line: dict[str, Any], flush: bool = False) -> None:
        line["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._usable():
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            if flush:
                os.fsync(self._file.fileno())
        self._apply(line)

    def _read(self) -> None:
        self._file.seek(0)
        unreadable, whole = 0, True
        for text in self._file:
            whole = text.endswith(b"\n")
            try:
                line = json.loads(text)
                newer = line.get("version", VERSION) != VERSION
                self._apply(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                unreadable += 1
                continue
            if newer:
                raise UserError(f"{self.path}: of another version of this program; denoise into another folder")
        if not whole:
            self._file.write(b"\n")
        if unreadable:
            logger.warning("%s: %d lines cannot be read and are passed over", self.path, unreadable)

    def _apply(self, line: dict[str, Any]) -> None:
        """Take in one line, read or written."""
        event, name = line["event"], line.get("output", "")
        if event == "begun":
            self._before[name] = self._ours.get(name)
            self._ours[name] = _Output(line["input"], None)
        elif event == "done":
            size, mtime_ns = line["written"]
            self._ours[name] = _Output(line["input"], (size, mtime_ns))
            self._done[name] = line
            self._before.pop(name, None)
        elif event == "failed":
            # Nothing was written: what is there is what was there.
            before = self._before.pop(name, None)
            if before is None:
                self._ours.pop(name, None)
            else:
                self._ours[name] = before

    def _refusal(self) -> str:
        return f"{self._folder}: {self._holder()} is denoising into it; wait for its end, or choose another folder"

    def _holder(self) -> str:
        """Return who opened the journal last."""
        self._file.seek(0)
        runs = [line for line in self._file if line.startswith(b'{"event": "run"')]
        with contextlib.suppress(IndexError, ValueError, KeyError):
            last = json.loads(runs[-1])
            return f"process {last['process']} on {last['machine']}"
        return "another process"

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path}: the journal cannot be read and written: {error.strerror}; free some space on the disk, "
                "or choose another folder"
            ) from error


def _absolute(path: Path) -> str:
    return os.path.abspath(path)


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
