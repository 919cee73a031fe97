"""Jobs in processes of their own, each of which may die without any other, or the run, being lost."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..interrupts import interrupt
from .jobs import Job, Outcome, Settings, carry_out, model_of

logger = logging.getLogger("partae_fast")

Tell = Callable[[Job, float], None]

# Seconds between two words of a worker on how far it is, and seconds that it has to clean up when it is stopped.
_TELL, _PATIENCE = 0.5, 10.0
_STARTS = 3  # of a worker in a row that die before they can take a job


def in_processes(
    jobs: Iterator[Job], settings: Settings, devices: Sequence[str], threads: int, tell: Tell
) -> Generator[Outcome]:
    """Carry out the jobs, drawn one by one as processes come free, in a process for each of `devices`.

    A process that dies is replaced. The job that it was at is tried once more, with a quarter of the chunk in case it
    was killed for its memory, and has failed if that process dies too. Where the caller stops, by an exception or by
    closing the generator, the processes give up what they are at and leave nothing half-done.

    threads: of each process. Raises UserError where processes cannot start or cannot use the model.
    """
    workers = [_Worker(settings, device, threads) for device in devices]
    again: list[Job] = []
    died: set[Path] = set()
    drawn = False  # all of them
    try:
        while True:
            for worker in workers:
                if worker.process is None and (again or not drawn):
                    worker.start()
                if worker.ready and worker.job is None and (again or not drawn):
                    job = again.pop() if again else next(jobs, None)
                    drawn = drawn or job is None
                    if job is not None:
                        worker.give(job)
            if drawn and not again and all(worker.job is None for worker in workers):
                return
            for worker in _heard(workers):
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    job, how = worker.bury()
                    if job is not None and job.target in died:
                        reason = f"{job.source}: the process at it died twice ({how}), perhaps for want of memory"
                        yield Outcome(job, reason=f"{reason}; try it on its own, without --jobs")
                    elif job is not None:
                        logger.warning("%s: the process at it died (%s); it is tried once more", job.source, how)
                        died.add(job.target)
                        again.append(replace(job, chunk=max(1, job.chunk // 4)))
                    continue
                if kind == "ready":
                    worker.ready = True
                elif kind == "refused":
                    raise UserError(value)
                elif kind == "tell" and worker.job is not None:
                    tell(worker.job, value)
                elif kind == "end":
                    worker.job = None
                    yield value
    finally:
        _stop(workers)


class _Worker:
    """A process, whenever there is one, and the job that it is at."""

    def __init__(self, settings: Settings, device: str, threads: int):
        self._work = settings, device, threads
        self._starts = 0  # since it last took a job
        self.process: Any = None
        self.job: Job | None = None
        self.ready = False

    def start(self) -> None:
        context = get_context("spawn")  # a fork would copy threads' locks, and a GPU does not survive it
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
        with _no_interrupts():
            self.process.start()
        theirs.close()
        self._starts += 1

    def give(self, job: Job) -> None:
        self.job, self._starts = job, 0
        with contextlib.suppress(OSError):  # if it has just died, whoever listens to it learns so
            self.connection.send(job)

    def bury(self) -> tuple[Job | None, str]:
        """What a process that has died was at, and how it died."""
        self.process.join()
        self.connection.close()
        code, job = self.process.exitcode, self.job
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self._starts >= _STARTS:
            raise UserError(
                f"processes for --jobs die as they start ({how}); free some memory, use fewer, or in a script of your "
                'own make the call under: if __name__ == "__main__"'
            )
        self.process, self.job, self.ready = None, None, False
        return job, how


def _heard(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until some worker says something or dies; returns which."""
    living = {worker.connection: worker for worker in workers if worker.process is not None}
    return [living[found] for found in connection.wait(list(living)) if isinstance(found, Connection)]


def _stop(workers: Sequence[_Worker]) -> None:
    living = [worker for worker in workers if worker.process is not None]
    for worker in living:
        worker.process.terminate()
    end = time.monotonic() + _PATIENCE
    for worker in living:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """A process started meanwhile never sees Ctrl-C, which goes to all processes of a terminal: ours stops it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the process


def _serve(pipe: Connection, settings: Settings, device: str, threads: int) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)  # blocked, see _no_interrupts
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logger.addHandler(logging.NullHandler())  # warnings are in the outcome, and said where the run is
    logger.propagate = False
    torch.set_num_threads(threads)
    try:
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        model = model_of(settings, device)
    except UserError as error:
        pipe.send(("refused", str(error)))
        return
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            pipe.send(("end", carry_out(model, pipe.recv(), settings, _seldom(pipe))))


def _seldom(pipe: Connection) -> Callable[[float], None]:
    last = time.monotonic()

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL:
            last = time.monotonic()
            pipe.send(("tell", share))

    return tell


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
