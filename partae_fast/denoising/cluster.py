"""Jobs on the workers of a Dask cluster, which see the same files under the same names."""

import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UserError
from .jobs import Job, Outcome, Settings, carry_out, model_of

# Jobs sent for each thread of the cluster: one that runs and one that waits, so that none is idle meanwhile.
_AHEAD = 2
_SECONDS = 20  # to find the scheduler


def on_cluster(jobs: Iterator[Job], settings: Settings, scheduler: str, device: str | None) -> Generator[Outcome]:
    """Carry out the jobs on the cluster of `scheduler`, such as "tcp://10.0.0.1:8786".

    What a worker was at when it died is given to another; a job under which as many die as the scheduler allows
    (`distributed.scheduler.allowed-failures`) has failed. Workers that join later get work too.

    device: of every worker; None for a GPU where it has one. Raises UserError where the library or the scheduler is
    missing, or a worker cannot read the model.
    """
    try:
        from distributed import Client, as_completed  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("--scheduler needs dask.distributed; install partae-fast[cluster]") from None
    settings = replace(settings, model=_absolute(settings.model))
    try:
        client = Client(scheduler, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
        reason = str(error).split("\n")[0]
        raise UserError(
            f"--scheduler {scheduler}: cannot be reached: {reason}; start one with dask scheduler"
        ) from error
    with client:
        sent: dict[Any, Job] = {}
        running = as_completed(loop=client.loop)
        futures: set[Any] = set()  # a future that nobody holds is given up

        def send(job: Job) -> None:
            there = replace(job, source=_absolute(job.source), target=_absolute(job.target))
            future = client.submit(_carry_out_there, there, settings, device, pure=False)
            sent[future.key] = job
            futures.add(future)
            running.add(future)

        try:
            for job in islice(jobs, _width(client)):
                send(job)
            for future in running:
                futures.discard(future)
                yield _outcome(future, sent.pop(future.key))
                if client.status != "running":
                    raise UserError(f"--scheduler {scheduler}: is gone; the same command goes on once there is one")
                for job in islice(jobs, max(0, _width(client) - len(sent))):
                    send(job)
        finally:
            client.cancel(list(futures))


def _width(client: Any) -> int:
    """How many jobs to have sent."""
    return max(1, _AHEAD * sum(client.nthreads().values()))


def _outcome(future: Any, job: Job) -> Outcome:
    failure = future.exception()
    if failure is None:
        return replace(future.result(), job=job)
    if isinstance(failure, UserError):
        raise failure
    return Outcome(job, reason=f"{job.source}: lost on the cluster: {type(failure).__name__}: {failure}")


def _carry_out_there(job: Job, settings: Settings, device: str | None) -> Outcome:
    import torch

    if not settings.model.exists():
        raise UserError(f"{settings.model}: a worker of the cluster does not see it; put all files on a shared disk")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return carry_out(model_of(settings, place), job, settings)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
