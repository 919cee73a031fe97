"""Progress of a run: recordings, hours of audio and remaining time, with or without a bar."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...progress import Lines, bar, is_shown
from .jobs import Job, Outcome


class Progress:
    """Progress of a list of jobs, without a bar: a line is logged every 30 s, unless `progress` is False.

    It is measured in bytes, because durations are unknown until the recordings are opened.
    """

    def __init__(self, jobs: Sequence[Job], progress: bool | None = False):
        self._lines = Lines(progress)
        self._count, self._bytes = len(jobs), sum(job.size for job in jobs)
        self._ended, self._bytes_ended, self._seconds = 0, 0, 0.0
        self._running: dict[Path, float] = {}  # bytes done of each running job, by its target

    def update(self, job: Job, share: float) -> None:
        """Record that `share` of the job, 0 .. 1, is done."""
        self._running[job.target] = share * job.size
        self._show()

    def end(self, outcome: Outcome) -> None:
        """Record that a job has ended."""
        self._running.pop(outcome.job.target, None)
        self._ended += 1
        self._bytes_ended += outcome.job.size
        self._seconds += outcome.seconds
        self._show()

    @property
    def bytes_done(self) -> float:
        """Bytes of the input that are done."""
        return self._bytes_ended + sum(self._running.values())

    def text(self) -> str:
        """Return the number of files and the estimated hours of audio that are done."""
        text = f"{self._ended}/{self._count} files"
        if self._seconds and self._bytes_ended:
            hours_per_byte = self._seconds / self._bytes_ended / 3600
            text += f", {hours_per_byte * self.bytes_done:.2f} of about {hours_per_byte * self._bytes:.2f} h"
        return text

    def _show(self) -> None:
        self._lines.show(self.text, self.bytes_done / self._bytes if self._bytes else 0.0)


class _Bar(Progress):
    """Progress displayed as a tqdm bar."""

    def __init__(self, jobs: Sequence[Job], bar: Any):
        super().__init__(jobs)
        self._bar = bar

    def _show(self) -> None:
        self._bar.set_postfix_str(self.text(), refresh=False)
        # The difference is negative if a recording is started again.
        self._bar.update(self.bytes_done - self._bar.n)


@contextlib.contextmanager
def progress_of(jobs: Sequence[Job], progress: bool | None) -> Iterator[Progress]:
    """Return the progress of the jobs, as a bar if `is_shown(progress)`; log lines then appear above the bar."""
    if not is_shown(progress):
        yield Progress(jobs, progress)
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar_format = "{percentage:3.0f}%|{bar}|{postfix} [{elapsed}<{remaining}]"
    total = sum(job.size for job in jobs)
    with (
        logging_redirect_tqdm([logging.getLogger("partae_fast")]),
        bar(total=total, bar_format=bar_format, smoothing=0.05, dynamic_ncols=True) as shown,
    ):
        yield _Bar(jobs, shown)
