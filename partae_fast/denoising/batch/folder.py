"""Many recordings into a folder: what is done stays done, whatever happens to the rest."""

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...atomic import remove_abandoned
from ...audio.files import PathLike
from ...errors import UserError
from ..denoise import denoise_blocks
from .jobs import Job, Outcome, Settings, carry_out, model_of
from .journal import NAME, Journal
from .listing import list_jobs
from .progress import Progress, progress_of

logger = logging.getLogger("partae_fast")


@dataclass
class Summary:
    """What a run did.

    done: in the order in which they were. skipped: done by an earlier run. failed: with the reason of each. ignored:
    how many files lay in the folders and are no recordings. seconds: that it took. journal: where all is recorded, None
    for a file on its own.
    """

    done: list[Outcome] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    ignored: int = 0
    seconds: float = 0.0
    journal: Path | None = None

    @property
    def audio_seconds(self) -> float:
        """Of audio that was denoised."""
        return sum(outcome.seconds for outcome in self.done)


def denoise_folder(
    model: PathLike,
    inputs: Sequence[PathLike],
    out: PathLike,
    *,
    part: str = "signal",
    reduction: float | None = None,
    clipping: str = "clip",
    figure: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    device: str | None = None,
    scheduler: str | None = None,
    progress: bool | None = None,
    told: Callable[[Outcome], None] | None = None,
) -> Summary:
    """Denoise recordings, and all in folders of recordings, into the folder `out`, as `denoise_file` does.

    `out` has a journal, partae-journal.jsonl. What it says is done, of the same recording (name, size, time of change),
    model and settings, is skipped; so a run that was stopped in any way goes on when it is started again, and one over
    a folder that grows does what is new. What was done with another model or other settings is done again. A recording
    that cannot be denoised is recorded with the reason, the others go on, and the next run tries it again.

    Arguments:
        model: the model's file.
        inputs: files, whatever their suffix, and folders; where the results go is said in `list_jobs`.
        part, reduction: as for `denoise`. clipping, figure: as for `denoise_file`.
        overwrite: whether a file in `out` is replaced that no earlier run wrote, that was changed since, or that
            another recording became. Without it that recording fails.
        jobs: how many recordings at a time, each in a process of its own with its share of PyTorch's threads; None for
            one, in this process, or one for each GPU. Processes are spawned: a script must make the call under
            `if __name__ == "__main__"`.
        device: "cpu", "cuda" or "cuda:N"; None for all GPUs where there are any. The processes take turns at the GPUs.
        scheduler: the address of a Dask cluster that does the work in place of this machine. Its workers must see all
            files under the same names. `jobs` is then not for us to say.
        progress: whether to show a bar; None for where stderr is a terminal.
        told: called with each outcome.

    Raises UserError where the settings, the model or `out` are of no use, and where another process denoises into
    `out`. KeyboardInterrupt passes: what was at hand leaves no file, and the rest is recorded.
    """
    started = time.monotonic()
    places = devices(device)
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs is {jobs}; it must be at least 1")
    if jobs is not None and scheduler is not None:
        raise UserError(
            "jobs and a scheduler were given: how many jobs there are is then the cluster's; leave out jobs"
        )
    settings = _settings(Path(model), part, reduction, clipping, figure)
    listing = list_jobs(inputs, out)
    summary = Summary(ignored=listing.ignored, journal=Path(out) / NAME)
    with Journal(Path(out)) as journal:
        todo: list[Job] = []
        for job in listing.jobs:
            (summary.skipped if journal.finished(job, settings) else todo).append(job)
        _sweep(journal, todo)
        # What a run ended at comes last: if that was what ended it, the rest is done first.
        todo.sort(key=journal.interrupted)
        with progress_of(todo, progress) as bar:

            def refuse(outcome: Outcome) -> None:
                journal.refuse(outcome, settings)
                _note(outcome, summary, told)

            def begun() -> Iterator[Job]:
                for job in todo:
                    obstacle = None if overwrite else journal.obstacle(job, settings)
                    if obstacle:
                        outcome = Outcome(job, reason=obstacle)
                        bar.end(outcome)
                        refuse(outcome)
                        continue
                    journal.begin(job)
                    yield job

            for outcome in listing.unusable:
                refuse(outcome)
            outcomes = _outcomes(begun(), len(todo), settings, jobs, places, device, scheduler, bar)
            with contextlib.closing(outcomes):
                for outcome in outcomes:
                    journal.end(outcome, settings)
                    bar.end(outcome)
                    _note(outcome, summary, told)
    summary.seconds = time.monotonic() - started
    return summary


def _settings(model: Path, part: str, reduction: float | None, clipping: str, figure: bool) -> Settings:
    """Checked, so that what is wrong with them is said once and not of every recording."""
    from ...audio.files import CLIPPING
    from ...models import load
    from ...models.storage import describe

    loaded = load(model)
    rate = loaded.spectrogram.rate if loaded.spectrogram else 1
    denoise_blocks([], rate, 1, loaded, part, reduction)
    if clipping not in CLIPPING:
        raise UserError(f"clipping is {clipping!r}; it must be one of {', '.join(CLIPPING)}")
    return Settings(model, describe(model)["sha256"], part, reduction, clipping, figure)


def devices(device: str | None) -> list[str]:
    """Where to compute: all GPUs, or those that are asked for, or the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        device = "cuda" if count else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is not known; try cpu or cuda") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        raise UserError(f"device {device} was asked for and PyTorch sees {count} GPUs; use cpu, or another machine")
    if wanted.type == "cuda" and wanted.index is None:
        return [f"cuda:{index}" for index in range(count)]
    return [str(wanted)]


def _sweep(journal: Journal, todo: Sequence[Job]) -> None:
    """Remove what runs that were killed left half-written."""
    for folder in {job.target.parent for job in todo if journal.interrupted(job)}:
        remove_abandoned(folder)


def _outcomes(
    begun: Iterator[Job],
    count: int,
    settings: Settings,
    jobs: int | None,
    devices: Sequence[str],
    device: str | None,
    scheduler: str | None,
    bar: Progress,
) -> Generator[Outcome]:
    """Carry out the jobs wherever that was asked for. Warnings are logged here, wherever they arose."""
    if scheduler is not None:
        from .executors import on_cluster

        return _logged(on_cluster(begun, settings, scheduler, device))
    places = [devices[i % len(devices)] for i in range(min(jobs or len(devices), max(1, count)))]
    if len(places) == 1:
        return _in_this_process(begun, settings, places[0], bar)
    from .executors import in_processes

    threads = max(1, torch.get_num_threads() // len(places))
    logger.info("denoising in %d processes of %d threads, on %s", len(places), threads, ", ".join(devices))
    return _logged(in_processes(begun, settings, places, threads, bar.tell))


def _in_this_process(jobs: Iterator[Job], settings: Settings, device: str, bar: Progress) -> Generator[Outcome]:
    model = model_of(settings, device)
    for job in jobs:
        yield carry_out(model, job, settings, lambda share, job=job: bar.tell(job, share))


def _logged(outcomes: Generator[Outcome]) -> Generator[Outcome]:
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            for note in outcome.notes:
                logger.warning("%s", note)
            yield outcome


def _note(outcome: Outcome, summary: Summary, told: Callable[[Outcome], None] | None) -> None:
    if outcome.reason is None:
        summary.done.append(outcome)
    else:
        logger.warning("%s", outcome.reason)
        summary.failed.append(outcome)
    if told:
        told(outcome)
