"""One recording of many: what is to be done with it, the doing, and what came of it."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..denoise import CHUNK
from ..files import denoise_file, figure_path

logger = logging.getLogger("partae_fast")


@dataclass(frozen=True)
class Settings:
    """What is the same for every recording of a run.

    model: the model's file. checksum: of its contents, SHA-256. part, reduction, clipping, figure: as for
    `denoise_file`.
    """

    model: Path
    checksum: str
    part: str = "signal"
    reduction: float | None = None
    clipping: str = "clip"
    figure: bool = False

    def of_sound(self) -> dict[str, Any]:
        """The settings that decide the samples, besides the model."""
        return {"part": self.part, "reduction": self.reduction, "clipping": self.clipping}


@dataclass(frozen=True)
class Job:
    """A recording, its size in bytes and time of change in ns when it was found, and the file that it becomes.

    chunk: frames at a time to begin with.
    """

    source: Path
    target: Path
    size: int
    mtime_ns: int
    chunk: int = CHUNK


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    seconds: of audio, where it was done. written: size in bytes and time of change in ns of the output. reason: why it
    failed, None where it was done. notes: what the log says of it.
    """

    job: Job
    seconds: float = 0.0
    written: tuple[int, int] | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


def carry_out(model: Any, job: Job, settings: Settings, tell: Callable[[float], None] | None = None) -> Outcome:
    """Denoise one recording. Whatever goes wrong with it is in the outcome; only a signal to stop is raised."""
    with _warnings() as notes:
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            about = denoise_file(
                model,
                job.source,
                job.target,
                settings.part,
                settings.reduction,
                settings.figure,
                overwrite=True,
                clipping=settings.clipping,
                chunk=job.chunk,
                tell=tell,
            )
            written = job.target.stat()
        except UserError as error:
            return Outcome(job, reason=str(error), notes=tuple(notes))
        except OSError as error:
            return Outcome(job, reason=f"{job.source}: {error}; try again", notes=tuple(notes))
        except Exception as error:
            logger.debug("%s", job.source, exc_info=True)
            reason = f"{job.source}: a fault of the program: {type(error).__name__}: {error}"
            return Outcome(job, reason=reason, notes=tuple(notes))
    return Outcome(job, about.seconds, (written.st_size, written.st_mtime_ns), notes=tuple(notes))


def figure_of(job: Job, settings: Settings) -> Path | None:
    """Where the job's figure goes, if it is to have one."""
    return figure_path(job.target) if settings.figure else None


@functools.lru_cache(maxsize=1)
def model_of(settings: Settings, device: str) -> Any:
    """The run's model on `device`, loaded once for each process.

    Raises UserError where the file is no longer the one that the run began with.
    """
    from ...models import load
    from ...models.storage import describe

    if describe(settings.model)["sha256"] != settings.checksum:
        raise UserError(f"{settings.model}: changed since the run began; start again")
    return load(settings.model).to(device)


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What this thread logs as a warning meanwhile."""
    notes: list[str] = []
    thread = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                notes.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
