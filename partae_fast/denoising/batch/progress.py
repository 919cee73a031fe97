"""A bar that shows how far a run is: recordings, hours of audio, and the time left."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .jobs import Job, Outcome


class Progress:
    """Takes note of what is done; shows nothing by itself.

    The time left goes by bytes: how long each recording is would be known only once all had been opened.
    """

    def __init__(self, jobs: Sequence[Job]):
        self._count, self._bytes = len(jobs), sum(job.size for job in jobs)
        self._ended, self._bytes_ended, self._seconds = 0, 0, 0.0
        self._at: dict[Path, float] = {}  # of those at hand: bytes that are done

    def tell(self, job: Job, share: float) -> None:
        """`share` of the job, 0 .. 1, is done."""
        self._at[job.target] = share * job.size

    def end(self, outcome: Outcome) -> None:
        self._at.pop(outcome.job.target, None)
        self._ended += 1
        self._bytes_ended += outcome.job.size
        self._seconds += outcome.seconds

    @property
    def bytes_done(self) -> float:
        return self._bytes_ended + sum(self._at.values())

    def text(self) -> str:
        said = f"{self._ended}/{self._count} files"
        if self._seconds and self._bytes_ended:
            about = self._seconds / self._bytes_ended / 3600  # hours a byte
            said += f", {about * self.bytes_done:.2f} of about {about * self._bytes:.2f} h"
        return said


class _Bar(Progress):
    def __init__(self, jobs: Sequence[Job], bar: Any):
        super().__init__(jobs)
        self._bar = bar

    def tell(self, job: Job, share: float) -> None:
        super().tell(job, share)
        self._show()

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix_str(self.text(), refresh=False)
        # A recording that is begun again is less far than it was.
        self._bar.update(self.bytes_done - self._bar.n)


def is_shown(progress: bool | None) -> bool:
    """Whether there is a bar: where `progress` is true, and where that is None on a terminal only."""
    return sys.stderr.isatty() if progress is None else progress


@contextlib.contextmanager
def progress_of(jobs: Sequence[Job], progress: bool | None) -> Iterator[Progress]:
    """Progress of the jobs, shown as a bar where `is_shown`; the log is then written above the bar."""
    if not is_shown(progress):
        yield Progress(jobs)
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    form = "{percentage:3.0f}%|{bar}|{postfix} [{elapsed}<{remaining}]"
    total = sum(job.size for job in jobs)
    with (
        logging_redirect_tqdm([logging.getLogger("partae_fast")]),
        tqdm(total=total, bar_format=form, smoothing=0.05, dynamic_ncols=True) as bar,
    ):
        yield _Bar(jobs, bar)
