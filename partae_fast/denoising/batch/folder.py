"""Denoise recordings into a folder, and continue runs that were stopped."""

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
from .jobs import BatchSettings, Job, Outcome, job_figure_path, load_model, run_job
from .journal import NAME, Journal
from .listing import list_jobs
from .progress import Progress, progress_of

logger = logging.getLogger("partae_fast")


@dataclass
class BatchSummary:
    """Summary of a run.

    done: outcomes of denoised recordings, in the order of completion.
    skipped: recordings that an earlier run denoised.
    failed: outcomes of recordings that could not be denoised.
    ignored: number of files in the folders that are not recordings.
    seconds: duration of the run.
    journal: path of the journal; None for a single output file.
    """

    done: list[Outcome] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    ignored: int = 0
    seconds: float = 0.0
    journal: Path | None = None

    @property
    def audio_seconds(self) -> float:
        """Duration of the denoised audio in seconds."""
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
    outcome_callback: Callable[[Outcome], None] | None = None,
) -> BatchSummary:
    """Denoise recordings and folders of recordings into the folder `out`, as `denoise_file` does.

    The journal `out`/partae-journal.jsonl lists the state of each recording. A recording that was denoised before, with
    the same name, size, time of change, model and settings, is skipped, so the same call continues a stopped run and
    denoises new recordings of a growing folder. A recording that cannot be denoised is recorded with the reason; the
    run continues, and the next run tries it again.

    Arguments:
        model: the model file.
        inputs: files with any suffix, and folders; see `list_jobs` for the names of the outputs.
        part, reduction: see `denoise`.
        clipping, figure: see `denoise_file`.
        overwrite: replace files in `out` that no run wrote, that were changed, or that belong to another recording.
            Without it these recordings fail. A symbolic link in `out` is never written through.
        jobs: number of processes, each of which denoises one recording at a time with its share of PyTorch's threads.
            None uses this process, or one process for each of several GPUs. Processes are spawned, so a script must
            make the call under `if __name__ == "__main__"`.
        device: "cpu", "cuda" or "cuda:N"; None for all GPUs, or the CPU if there are none. Processes are distributed
            over the GPUs.
        scheduler: address of a Dask cluster to use instead of this machine. All files must have the same paths on its
            workers. `jobs` must be None.
        progress: show a progress bar; None shows it in a terminal or a notebook, and elsewhere logs a line every 30 s.
        outcome_callback: called with each outcome.

    Raises UserError if the settings, the model or `out` cannot be used, and if another process denoises into `out`.
    KeyboardInterrupt leaves no partial files, and finished recordings are in the journal.
    """
    started = time.monotonic()
    job_devices = devices(device)
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs is {jobs}; it must be at least 1")
    if jobs is not None and scheduler is not None:
        raise UserError(
            f"jobs is {jobs} and scheduler is {scheduler!r}; the cluster sets the number of jobs: leave out jobs"
        )
    settings = _checked_settings(Path(model), part, reduction, clipping, figure)
    listing = list_jobs(inputs, out)
    summary = BatchSummary(ignored=listing.ignored, journal=Path(out) / NAME)
    with Journal(Path(out)) as journal:
        pending: list[Job] = []
        for job in listing.jobs:
            (summary.skipped if journal.finished(job, settings) else pending).append(job)
        _remove_partial_files(journal, pending)
        # Interrupted recordings come last, because they may have caused the interruption.
        pending.sort(key=journal.interrupted)
        with progress_of(pending, progress) as bar:

            def refuse(outcome: Outcome) -> None:
                journal.refuse(outcome, settings)
                _record(outcome, summary, outcome_callback)

            def begin_jobs() -> Iterator[Job]:
                for job in pending:
                    obstacle = _link_obstacle(job, settings, Path(out))
                    if not obstacle and not overwrite:
                        obstacle = journal.obstacle(job, settings)
                    if obstacle:
                        outcome = Outcome(job, reason=obstacle)
                        bar.end(outcome)
                        refuse(outcome)
                        continue
                    journal.begin(job)
                    yield job

            for outcome in listing.unusable:
                refuse(outcome)
            outcomes = _run_jobs(begin_jobs(), len(pending), settings, jobs, job_devices, device, scheduler, bar)
            with contextlib.closing(outcomes):
                for outcome in outcomes:
                    journal.end(outcome, settings)
                    bar.end(outcome)
                    _record(outcome, summary, outcome_callback)
    summary.seconds = time.monotonic() - started
    return summary


def _checked_settings(model: Path, part: str, reduction: float | None, clipping: str, figure: bool) -> BatchSettings:
    """Return the settings, checked once for all recordings."""
    from ...audio.files import CLIPPING
    from ...models import load
    from ...models.storage import describe

    loaded = load(model)
    rate = loaded.spectrogram.rate if loaded.spectrogram else 1
    denoise_blocks([], rate, 1, loaded, part, reduction)
    if clipping not in CLIPPING:
        raise UserError(f"clipping is {clipping!r}; it must be one of {', '.join(CLIPPING)}")
    return BatchSettings(model, describe(model)["sha256"], part, reduction, clipping, figure)


def devices(device: str | None) -> list[str]:
    """Return the devices to use: all GPUs, or the requested ones, or the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        device = "cuda" if count else "cpu"
    try:
        requested = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device is {device!r}; it must be cpu, cuda or cuda:N") from error
    if requested.type == "cuda" and (requested.index or 0) >= count:
        raise UserError(f"device is {device}, but PyTorch sees {count} GPUs; use cpu, or another machine")
    if requested.type == "cuda" and requested.index is None:
        return [f"cuda:{index}" for index in range(count)]
    return [str(requested)]


def _remove_partial_files(journal: Journal, jobs: Sequence[Job]) -> None:
    """Remove the partial files of runs that were killed."""
    for folder in {job.target.parent for job in jobs if journal.interrupted(job)}:
        remove_abandoned(folder)


def _link_obstacle(job: Job, settings: BatchSettings, out: Path) -> str | None:
    """Return a message if an output is a symbolic link or in a linked folder, below `out`; else None."""
    for path in (job.target, job_figure_path(job, settings)):
        while path is not None and path not in (out, path.parent):
            if path.is_symlink():
                return f"{path}: is a symbolic link, and outputs are written to {out} alone; remove it"
            path = path.parent
    return None


def _run_jobs(
    begun_jobs: Iterator[Job],
    count: int,
    settings: BatchSettings,
    jobs: int | None,
    devices: Sequence[str],
    device: str | None,
    scheduler: str | None,
    bar: Progress,
) -> Generator[Outcome]:
    """Run the jobs on a cluster, in processes or in this process; log the warnings of other processes here."""
    if scheduler is not None:
        from .executors import on_cluster

        return _with_logged_notes(on_cluster(begun_jobs, settings, scheduler, device))
    process_devices = [devices[i % len(devices)] for i in range(min(jobs or len(devices), max(1, count)))]
    if len(process_devices) == 1:
        return _in_this_process(begun_jobs, settings, process_devices[0], bar)
    from .executors import in_processes

    threads = max(1, torch.get_num_threads() // len(process_devices))
    logger.info("denoising in %d processes of %d threads, on %s", len(process_devices), threads, ", ".join(devices))
    return _with_logged_notes(in_processes(begun_jobs, settings, process_devices, threads, bar.update))


def _in_this_process(jobs: Iterator[Job], settings: BatchSettings, device: str, bar: Progress) -> Generator[Outcome]:
    model = load_model(settings, device)
    for job in jobs:
        yield run_job(model, job, settings, lambda share, job=job: bar.update(job, share))


def _with_logged_notes(outcomes: Generator[Outcome]) -> Generator[Outcome]:
    """Yield the outcomes, and log the notes of each."""
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            for note in outcome.notes:
                logger.warning("%s", note)
            yield outcome


def _record(outcome: Outcome, summary: BatchSummary, outcome_callback: Callable[[Outcome], None] | None) -> None:
    """Add an outcome to the summary, and log it if it failed."""
    if outcome.reason is None:
        summary.done.append(outcome)
    else:
        logger.warning("%s", outcome.reason)
        summary.failed.append(outcome)
    if outcome_callback:
        outcome_callback(outcome)
