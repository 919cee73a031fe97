"""Run jobs in processes of this machine or on a Dask cluster.

A process that dies breaks its pool. The jobs that were running in the pool are tried once more, each alone in a new
pool, which identifies the job that kills its process and saves all others.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ...errors import UserError
from ...interrupts import interrupt
from .jobs import BatchSettings, Job, Outcome, load_model, run_job

logger = logging.getLogger("partae_fast")

ProgressCallback = Callable[[Job, float], None]

_REPORT_INTERVAL = 0.5  # seconds between progress reports of a process, and between checks for them
_CLEANUP_TIME = 10.0  # seconds for a process to clean up when it is stopped
_MAX_BROKEN_POOLS = 3  # consecutive pools that may break before a job starts
_JOBS_PER_THREAD = 2  # jobs submitted per thread of a cluster: one that runs and one that waits
_CONNECT_TIMEOUT = 20  # seconds to connect to a scheduler


class Workers(Protocol):
    """Executor of jobs."""

    def capacity(self) -> int:
        """Return the number of jobs to submit at a time."""
        ...

    def submit(self, job: Job) -> "Future[Outcome]": ...

    def poll(self) -> None:
        """Pass on progress reports; raise UserError if the workers are gone."""
        ...

    def restart(self) -> set[Path]:
        """Start again after the executor broke; return the targets of the jobs that were running."""
        ...


def in_processes(
    jobs: Iterator[Job],
    settings: BatchSettings,
    devices: Sequence[str],
    threads: int,
    progress_callback: ProgressCallback,
) -> Generator[Outcome]:
    """Run the jobs in one spawned process per device; a process takes the next job when it is free.

    If a process dies, the running jobs are tried once more, one at a time and with a quarter of the chunk in case the
    memory ran out. A job fails if its process dies again. If the caller raises or closes the generator, the processes
    stop their jobs and leave no partial files.

    threads: PyTorch threads of each process.

    Raises UserError if processes cannot start or cannot use the model.
    """
    pool = _Processes(settings, devices, threads, progress_callback)
    try:
        yield from _run_all(jobs, pool)
    finally:
        pool.stop()


def on_cluster(jobs: Iterator[Job], settings: BatchSettings, scheduler: str, device: str | None) -> Generator[Outcome]:
    """Run the jobs on the Dask cluster of `scheduler`, such as "tcp://10.0.0.1:8786".

    All files must have the same paths on its workers. The job of a worker that dies moves to another worker, and fails
    after as many deaths as `distributed.scheduler.allowed-failures`. Workers may join at any time.

    device: device of all workers; None for a GPU if the worker has one.

    Raises UserError if Dask or the scheduler is missing, or if a worker cannot read the model.
    """
    try:
        from distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "--scheduler needs dask.distributed, which is not installed; pip install 'partae-fast[cluster]'"
        ) from None
    try:
        client = Client(scheduler, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
        reason = str(error).split("\n")[0]
        raise UserError(
            f"--scheduler {scheduler}: cannot be reached: {reason}; start one with dask scheduler"
        ) from error
    with client:
        yield from _run_all(jobs, _Cluster(client, settings, scheduler, device))


def _run_all(jobs: Iterator[Job], workers: Workers) -> Generator[Outcome]:
    """Run the jobs on the workers; yield the outcomes as the jobs end."""
    running: dict[Future[Outcome], Job] = {}
    suspects: deque[Job] = deque()  # jobs that were running when a process died
    waiting: deque[Job] = deque()  # jobs that were submitted but had not started then
    testing_suspect = False  # a suspect is running alone
    broken_pools = 0  # consecutive pools that broke before a job started
    try:
        while True:
            if not running:
                testing_suspect = bool(suspects)
            while len(running) < (1 if testing_suspect else workers.capacity()):
                if testing_suspect:
                    job = suspects.popleft()
                else:
                    job = waiting.popleft() if waiting else next(jobs, None)
                if job is None:
                    break
                running[workers.submit(job)] = job
            if not running:
                return
            done, _ = wait(running, _REPORT_INTERVAL, FIRST_COMPLETED)
            workers.poll()
            if any(isinstance(_exception(future), BrokenExecutor) for future in done):
                done, _ = wait(running)  # all futures of a broken executor end
            lost = []
            for future in done:
                job, exception = running.pop(future), _exception(future)
                if isinstance(exception, BrokenExecutor):
                    lost.append(job)
                elif isinstance(exception, UserError):
                    raise exception
                elif exception is not None:
                    reason = f"{job.source}: lost by its worker: {type(exception).__name__}: {exception}; try it again"
                    yield Outcome(job, reason=reason)
                else:
                    broken_pools = 0
                    yield replace(future.result(), job=job)
            if not lost:
                continue
            started = workers.restart()
            broken_pools = 0 if started else broken_pools + 1
            if broken_pools >= _MAX_BROKEN_POOLS:
                raise UserError(
                    "the processes of --jobs die when they start; free some memory, reduce --jobs, or, in a script, "
                    'make the call under: if __name__ == "__main__"'
                )
            for job in lost:
                if job.target not in started:
                    (suspects if testing_suspect else waiting).append(job)
                elif testing_suspect:
                    reason = f"{job.source}: its process died twice, perhaps because memory ran out"
                    yield Outcome(job, reason=f"{reason}; try it on its own, without --jobs")
                else:
                    logger.warning("%s: its process died; it is tried once more, alone", job.source)
                    suspects.append(replace(job, chunk=max(1, job.chunk // 4)))
    finally:
        for future in running:
            future.cancel()


def _exception(future: "Future[Outcome]") -> BaseException | None:
    """Return the exception of a future that is done, or None."""
    try:
        return future.exception()
    except CancelledError as error:  # Dask cancels futures if the scheduler is gone
        return error


class _Cluster:
    """Workers of a Dask cluster."""

    def __init__(self, client: Any, settings: BatchSettings, scheduler: str, device: str | None) -> None:
        self._client, self._scheduler, self._device = client, scheduler, device
        self._settings = replace(settings, model=_absolute(settings.model))
        self._executor = client.get_executor(pure=False)

    def capacity(self) -> int:
        return max(1, _JOBS_PER_THREAD * sum(self._client.nthreads().values()))

    def submit(self, job: Job) -> "Future[Outcome]":
        absolute_job = replace(job, source=_absolute(job.source), target=_absolute(job.target))
        return self._executor.submit(_on_worker, absolute_job, self._settings, self._device)

    def poll(self) -> None:
        if self._client.status != "running":
            raise UserError(
                f"--scheduler {self._scheduler}: has stopped; start it and run the same command to continue"
            )

    def restart(self) -> set[Path]:
        raise UserError(
            f"--scheduler {self._scheduler}: accepts no more jobs; run the same command with another to continue"
        )


def _on_worker(job: Job, settings: BatchSettings, device: str | None) -> Outcome:
    """Run a job on a worker of a cluster."""
    import torch

    if not settings.model.exists():
        raise UserError(f"{settings.model}: does not exist on a worker of the cluster; put all files on a shared disk")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return run_job(load_model(settings, device), job, settings)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


class _Processes:
    """Pool of spawned processes that report which jobs they run and stop with their parent."""

    def __init__(
        self, settings: BatchSettings, devices: Sequence[str], threads: int, progress_callback: ProgressCallback
    ) -> None:
        self._settings, self._devices, self._threads = settings, devices, threads
        self._progress_callback = progress_callback
        self._jobs: dict[int, Job] = {}  # by the numbers in the reports of the processes
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # fork copies the locks of threads and breaks CUDA
        # A process ends when the writing end of the pipe is closed, which also happens if this process dies.
        parent_alive, self._end = context.Pipe(duplex=False)
        self._reports = context.SimpleQueue()
        devices = context.SimpleQueue()
        for device in self._devices:
            devices.put(device)
        self._executor = ProcessPoolExecutor(
            len(self._devices), context, _initialise, (parent_alive, devices, self._reports, self._threads)
        )
        self._started: set[Path] = set()  # targets of the jobs that have started

    def capacity(self) -> int:
        return len(self._devices)

    def submit(self, job: Job) -> "Future[Outcome]":
        number = len(self._jobs)
        self._jobs[number] = job
        try:
            with _block_interrupts():  # submit may start a process
                return self._executor.submit(_in_process, number, job, self._settings)
        except BrokenExecutor as error:
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            return failed

    def poll(self) -> None:
        while not self._reports.empty():
            number, share = self._reports.get()
            self._started.add(self._jobs[number].target)
            self._progress_callback(self._jobs[number], share)

    def restart(self) -> set[Path]:
        self.stop()
        self.poll()
        started = self._started
        self._start()
        return started

    def stop(self) -> None:
        self._end.close()
        self._executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block SIGINT in processes that start inside the `with` block.

    A terminal sends Ctrl-C to all processes, but the parent process stops the others.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# The functions below run in the processes of a pool.


class _Process:
    """State of this process of a pool."""

    device = "cpu"
    reports: Any = None
    busy = False  # a job is running
    stopping = False


def _initialise(parent_alive: Connection, devices: Any, reports: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # blocked by `_block_interrupts`
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_stop_with_parent, args=(parent_alive,), daemon=True).start()
    import torch

    logger.addHandler(logging.NullHandler())  # warnings are in the outcome, and the parent process logs them
    logger.propagate = False
    torch.set_num_threads(threads)
    _Process.device, _Process.reports = devices.get(), reports
    if _Process.device.startswith("cuda"):
        torch.cuda.set_device(_Process.device)


def _in_process(number: int, job: Job, settings: BatchSettings) -> Outcome:
    """Run a job; end the process if it is stopped during the job."""
    try:
        _Process.busy = True
        report = _start_reports(number)
        return run_job(load_model(settings, _Process.device), job, settings, report)
    except KeyboardInterrupt:
        os._exit(1)  # partial files are removed; an exception would make the pool send the next job
    finally:
        _Process.busy = False


def _start_reports(number: int) -> Callable[[float], None]:
    """Report that a job has started; return a function that reports its progress at intervals."""
    _Process.reports.put((number, 0.0))
    last = time.monotonic()

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_INTERVAL:
            last = time.monotonic()
            _Process.reports.put((number, share))

    return report


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop the process, after the cleanup of a running job; the handler of SIGTERM."""
    if not _Process.busy:
        os._exit(1)
    if not _Process.stopping:  # a second signal would interrupt the cleanup
        _Process.stopping = True
        interrupt(number, frame)


def _stop_with_parent(parent_alive: Connection) -> None:
    """Wait until the parent process closes the pipe or dies, then stop this process."""
    with contextlib.suppress(EOFError, OSError):
        parent_alive.recv()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_CLEANUP_TIME)
    os._exit(1)
