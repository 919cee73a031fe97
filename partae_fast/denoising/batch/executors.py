"""Jobs on the executors of `concurrent.futures`: processes of this machine, or a Dask cluster.

A process that dies breaks its whole pool. The jobs that were running in it are then tried once more, each alone in a
new pool, so that the one under which a process dies twice is known, and no other job is lost with it.
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
from .jobs import Job, Outcome, Settings, carry_out, model_of

logger = logging.getLogger("partae_fast")

Tell = Callable[[Job, float], None]

_TELL = 0.5  # seconds between two reports of a process on its job, and between two looks at them
_PATIENCE = 10.0  # seconds that a process has to clean up when it is stopped
_STARTS = 3  # pools in a row that break before a job starts
_AHEAD = 2  # jobs for each thread of a cluster: one that runs and one that waits, so that none is idle meanwhile
_SECONDS = 20  # to connect to a scheduler


class Workers(Protocol):
    """What carries out jobs."""

    def width(self) -> int:
        """Return how many jobs to submit at a time."""
        ...

    def submit(self, job: Job) -> "Future[Outcome]": ...

    def attend(self) -> None:
        """Do what is due while jobs run; raises UserError where the workers are gone."""
        ...

    def renew(self) -> set[Path]:
        """Start again after the executor broke; returns the targets of the jobs that were running."""
        ...


def in_processes(
    jobs: Iterator[Job], settings: Settings, devices: Sequence[str], threads: int, tell: Tell
) -> Generator[Outcome]:
    """Carry out the jobs, drawn one by one as processes come free, in a spawned process for each of `devices`.

    Where a process dies, the jobs that were running are tried once more, one at a time and with a quarter of the chunk
    in case it was killed for its memory. A job under which a process dies then too has failed. Where the caller stops,
    by an exception or by closing the generator, the processes give up their jobs and leave nothing half-done.

    threads: of each process. Raises UserError where processes cannot start or cannot use the model.
    """
    pool = _Processes(settings, devices, threads, tell)
    try:
        yield from _carried_out(jobs, pool)
    finally:
        pool.stop()


def on_cluster(jobs: Iterator[Job], settings: Settings, scheduler: str, device: str | None) -> Generator[Outcome]:
    """Carry out the jobs on the Dask cluster of `scheduler`, such as "tcp://10.0.0.1:8786".

    Its workers must see the same files under the same names. The job of a worker that dies is given to another; a job
    under which as many die as the scheduler allows (`distributed.scheduler.allowed-failures`) has failed. Workers that
    join later get work too.

    device: of every worker; None for a GPU where it has one. Raises UserError where the library or the scheduler is
    missing, or a worker cannot read the model.
    """
    try:
        from distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("--scheduler needs dask.distributed; install partae-fast[cluster]") from None
    try:
        client = Client(scheduler, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
        reason = str(error).split("\n")[0]
        raise UserError(
            f"--scheduler {scheduler}: cannot be reached: {reason}; start one with dask scheduler"
        ) from error
    with client:
        yield from _carried_out(jobs, _Cluster(client, settings, scheduler, device))


def _carried_out(jobs: Iterator[Job], workers: Workers) -> Generator[Outcome]:
    running: dict[Future[Outcome], Job] = {}
    suspects: deque[Job] = deque()  # jobs that ran when a process died
    others: deque[Job] = deque()  # jobs that waited then
    trial = False  # whether a suspect runs, alone
    broken = 0  # executors in a row that broke before a job started
    try:
        while True:
            if not running:
                trial = bool(suspects)
            while len(running) < (1 if trial else workers.width()):
                job = suspects.popleft() if trial else others.popleft() if others else next(jobs, None)
                if job is None:
                    break
                running[workers.submit(job)] = job
            if not running:
                return
            done, _ = wait(running, _TELL, FIRST_COMPLETED)
            workers.attend()
            if any(isinstance(_failure(future), BrokenExecutor) for future in done):
                done, _ = wait(running)  # all of its futures end with it
            lost = []
            for future in done:
                job, failure = running.pop(future), _failure(future)
                if isinstance(failure, BrokenExecutor):
                    lost.append(job)
                elif isinstance(failure, UserError):
                    raise failure
                elif failure is not None:
                    reason = f"{job.source}: lost by its worker: {type(failure).__name__}: {failure}"
                    yield Outcome(job, reason=reason)
                else:
                    broken = 0
                    yield replace(future.result(), job=job)
            if not lost:
                continue
            started = workers.renew()
            broken = 0 if started else broken + 1
            if broken >= _STARTS:
                raise UserError(
                    "processes for --jobs die as they start; free some memory, use fewer, or in a script of your own "
                    'make the call under: if __name__ == "__main__"'
                )
            for job in lost:
                if job.target not in started:
                    (suspects if trial else others).append(job)
                elif trial:
                    reason = f"{job.source}: the process at it died twice, perhaps for want of memory"
                    yield Outcome(job, reason=f"{reason}; try it on its own, without --jobs")
                else:
                    logger.warning("%s: a process died while this ran; it is tried once more, alone", job.source)
                    suspects.append(replace(job, chunk=max(1, job.chunk // 4)))
    finally:
        for future in running:
            future.cancel()


def _failure(future: "Future[Outcome]") -> BaseException | None:
    """Return what a future that is done raised."""
    try:
        return future.exception()
    except CancelledError as error:  # by Dask, where the scheduler is gone
        return error


class _Cluster:
    def __init__(self, client: Any, settings: Settings, scheduler: str, device: str | None) -> None:
        self._client, self._scheduler, self._device = client, scheduler, device
        self._settings = replace(settings, model=_absolute(settings.model))
        self._executor = client.get_executor(pure=False)

    def width(self) -> int:
        return max(1, _AHEAD * sum(self._client.nthreads().values()))

    def submit(self, job: Job) -> "Future[Outcome]":
        there = replace(job, source=_absolute(job.source), target=_absolute(job.target))
        return self._executor.submit(_on_worker, there, self._settings, self._device)

    def attend(self) -> None:
        if self._client.status != "running":
            raise UserError(f"--scheduler {self._scheduler}: is gone; the same command goes on once there is one")

    def renew(self) -> set[Path]:
        raise UserError(f"--scheduler {self._scheduler}: takes no more jobs; the same command goes on with another")


def _on_worker(job: Job, settings: Settings, device: str | None) -> Outcome:
    """Carry out a job on a worker of a cluster."""
    import torch

    if not settings.model.exists():
        raise UserError(f"{settings.model}: a worker of the cluster does not see it; put all files on a shared disk")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return carry_out(model_of(settings, place), job, settings)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


class _Processes:
    """A pool of spawned processes, and what it takes to know which jobs run in it and to stop them."""

    def __init__(self, settings: Settings, devices: Sequence[str], threads: int, tell: Tell) -> None:
        self._settings, self._devices, self._threads, self._tell = settings, devices, threads, tell
        self._jobs: dict[int, Job] = {}  # by the numbers that processes report them by
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # a fork would copy threads' locks, and a GPU does not survive it
        # A process ends when the writing end is closed, as it is where this process dies.
        ended, self._end = context.Pipe(duplex=False)
        self._reports = context.SimpleQueue()
        devices = context.SimpleQueue()
        for device in self._devices:
            devices.put(device)
        self._executor = ProcessPoolExecutor(
            len(self._devices), context, _initialise, (ended, devices, self._reports, self._threads)
        )
        self._running: set[Path] = set()

    def width(self) -> int:
        return len(self._devices)

    def submit(self, job: Job) -> "Future[Outcome]":
        number = len(self._jobs)
        self._jobs[number] = job
        try:
            with _no_interrupts():  # it may start a process
                return self._executor.submit(_in_process, number, job, self._settings)
        except BrokenExecutor as error:
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            return failed

    def attend(self) -> None:
        while not self._reports.empty():
            number, share = self._reports.get()
            self._running.add(self._jobs[number].target)
            self._tell(self._jobs[number], share)

    def renew(self) -> set[Path]:
        self.stop()
        self.attend()
        started = self._running
        self._start()
        return started

    def stop(self) -> None:
        self._end.close()
        self._executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all processes, from those that start meanwhile; this one stops them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In a process of the pool


class _Here:
    """The state of this process, where it is one of a pool."""

    device = "cpu"
    reports: Any = None
    busy = False  # whether a job runs
    stopping = False


def _initialise(ended: Connection, devices: Any, reports: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # blocked, see _no_interrupts
    signal.signal(signal.SIGTERM, _give_up)
    threading.Thread(target=_give_up_at, args=(ended,), daemon=True).start()
    import torch

    logger.addHandler(logging.NullHandler())  # warnings are in the outcome, and logged by the process that asked
    logger.propagate = False
    torch.set_num_threads(threads)
    _Here.device, _Here.reports = devices.get(), reports
    if _Here.device.startswith("cuda"):
        torch.cuda.set_device(_Here.device)


def _in_process(number: int, job: Job, settings: Settings) -> Outcome:
    """Carry out a job; the process ends where it is stopped meanwhile."""
    try:
        _Here.busy = True
        report = _reporting(number)
        return carry_out(model_of(settings, _Here.device), job, settings, report)
    except KeyboardInterrupt:
        os._exit(1)  # what was half-written is removed; a mere exception would bring the next job
    finally:
        _Here.busy = False


def _reporting(number: int) -> Callable[[float], None]:
    """Report a job as started, and return what reports how far it is, now and then."""
    _Here.reports.put((number, 0.0))
    last = time.monotonic()

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL:
            last = time.monotonic()
            _Here.reports.put((number, share))

    return report


def _give_up(number: int, frame: FrameType | None) -> None:
    if not _Here.busy:
        os._exit(1)
    if not _Here.stopping:  # a second signal must not land where the first one cleans up
        _Here.stopping = True
        interrupt(number, frame)


def _give_up_at(ended: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        ended.recv()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)
