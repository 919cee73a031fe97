"""Jobs: the denoising of one recording of a batch, its settings and its outcome."""

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
class BatchSettings:
    """Settings of all recordings of a run.

    model: the model file.
    checksum: SHA-256 of the model.
    part, reduction, clipping, figure: see `denoise_file`.
    """

    model: Path
    checksum: str
    part: str = "signal"
    reduction: float | None = None
    clipping: str = "clip"
    figure: bool = False

    def sample_settings(self) -> dict[str, Any]:
        """Return the settings, besides the model, that affect the samples."""
        return {"part": self.part, "reduction": self.reduction, "clipping": self.clipping}


@dataclass(frozen=True)
class Job:
    """A recording, the file that it is denoised to, and its size in bytes and time of change in ns when listed.

    chunk: initial number of frames that the model processes at a time.
    """

    source: Path
    target: Path
    size: int
    mtime_ns: int
    chunk: int = CHUNK


@dataclass(frozen=True)
class Outcome:
    """Result of a job.

    seconds: duration of the audio; 0 if the job failed.
    written: size in bytes and time of change in ns of the output.
    reason: the error message of a failed job, or None.
    notes: warnings that were logged.
    """

    job: Job
    seconds: float = 0.0
    written: tuple[int, int] | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


def run_job(
    model: Any,
    job: Job,
    settings: BatchSettings,
    progress_callback: Callable[[float], None] | None = None,
) -> Outcome:
    """Denoise one recording; errors become a failed outcome, and only KeyboardInterrupt and its like are raised."""
    with _collect_warnings() as notes:
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            header = denoise_file(
                model,
                job.source,
                job.target,
                settings.part,
                settings.reduction,
                settings.figure,
                overwrite=True,
                clipping=settings.clipping,
                chunk=job.chunk,
                progress_callback=progress_callback,
            )
            output = job.target.stat()
        except UserError as error:
            return Outcome(job, reason=str(error), notes=tuple(notes))
        except OSError as error:
            return Outcome(job, reason=f"{job.source}: {error}; try again", notes=tuple(notes))
        except Exception as error:
            logger.debug("%s", job.source, exc_info=True)
            reason = f"{job.source}: internal error: {type(error).__name__}: {error}; please report it"
            return Outcome(job, reason=reason, notes=tuple(notes))
    return Outcome(job, header.seconds, (output.st_size, output.st_mtime_ns), notes=tuple(notes))


def job_figure_path(job: Job, settings: BatchSettings) -> Path | None:
    """Return the path of the job's figure, or None if figures are not plotted."""
    return figure_path(job.target) if settings.figure else None


@functools.lru_cache(maxsize=1)
def load_model(settings: BatchSettings, device: str) -> Any:
    """Return the model of a run on `device`, loaded once in each process.

    Raises UserError if the model file has changed since the run started.
    """
    from ...models import load
    from ...models.storage import describe

    if describe(settings.model)["sha256"] != settings.checksum:
        raise UserError(f"{settings.model}: changed since the run started; start the run again")
    return load(settings.model).to(device)


@contextlib.contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Collect the warnings that this thread logs inside the `with` block."""
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
