"""Training of one model by several processes, the ranks, each on its items of every batch.

`torchrun --nproc-per-node N -m partae_fast train ...` starts them.
"""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import UserError

T = TypeVar("T")

_PATIENCE = timedelta(days=1)  # a rank may read recordings for hours; a lost rank is noticed at once


@dataclass(frozen=True)
class Ranks:
    """This process's rank and the number of ranks of the process group; 0 of 1 without a group."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the only one that writes files and messages."""
        return self.rank == 0

    def items(self, batch: int) -> range:
        """Return this rank's items of a batch; raises UserError if there are more ranks than items."""
        if self.count > batch:
            raise UserError(f"{self.count} ranks share a batch of {batch} items; start {batch} at most")
        return range(batch * self.rank // self.count, batch * (self.rank + 1) // self.count)

    def gather(self, value: T) -> list[T]:
        """Return `value` of every rank, any object, in order of ranks."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        with report_lost_rank():
            dist.all_gather_object(values, value)
        return values

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over the ranks, the same bits on each; it replaces the tensor's values."""
        if self.count > 1:
            import torch.distributed as dist

            with report_lost_rank():
                dist.all_reduce(tensor)
        return tensor


class ParallelLoss:
    """A model's mean loss over a batch that ranks share, with gradients by DistributedDataParallel.

    Batch normalisation takes the statistics of a rank's own items.

    Args:
        model: on its device, with `training_loss`; its parameters become those of rank 0.
        batch: items of all ranks together. Shares may be unequal.
        ranks: those of the default process group.
    """

    def __init__(self, model: torch.nn.Module, batch: int, ranks: Ranks) -> None:
        from torch.nn.parallel import DistributedDataParallel

        # The name since PyTorch 2.13; the older one warns there.
        parameters = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True, "static_graph": True}
        items = len(ranks.items(batch))
        self.share = items / batch
        self._scale = items * ranks.count / batch  # DistributedDataParallel takes the mean over ranks
        with report_lost_rank():
            self._module = DistributedDataParallel(_LossModule(model), **options)
        self._module.register_comm_hook(ranks.count, _mean_of_each)

    def backward(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the mean loss of this rank's items; the parameters get the gradients of the whole batch's mean."""
        with report_lost_rank():
            loss = self._module(batch, penalty, backend)
            (loss * self._scale).backward()
        return loss.detach()


def _mean_of_each(count: int, bucket):  # PyTorch takes no annotations but its own classes, imported here later
    """Replace each gradient of a bucket by its mean over `count` ranks.

    The order of a sum over ranks depends on the place of a number in the tensor, and DistributedDataParallel moves
    gradients to other places of its buckets after its first step, which in a resumed run is a later step.
    """
    import torch.distributed as dist

    sums = [dist.all_reduce(gradient.div_(count), async_op=True) for gradient in bucket.gradients()]
    done = torch.futures.collect_all([work.get_future() for work in sums])  # pyright: ignore[reportOptionalMemberAccess]
    return done.then(lambda _: bucket.buffer())


class _LossModule(torch.nn.Module):
    """A module whose forward pass is `training_loss`, as DistributedDataParallel needs it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        model: Any = self.model
        return model.training_loss(batch, penalty, backend)


@dataclass(frozen=True)
class Launched:
    """The rank and the number of ranks that torchrun set for this process, over all machines and on this one."""

    rank: int
    count: int
    local_rank: int
    local_count: int


def launched() -> Launched | None:
    """Return the ranks that torchrun set; None if it did not start this process, or started only one."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        launch = Launched(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError):
        return None
    return launch if launch.count > 1 else None


def current() -> Ranks:
    """Return the ranks of PyTorch's default process group; 0 of 1 without a group."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the process group of the ranks that torchrun started; a context manager that yields the ranks.

    Ranks talk by NCCL if `device` is a GPU, else by gloo. Without torchrun there is no group, and rank 0 of 1.

    If several ranks fail, the first raises its exception and the others leave by SystemExit, without a message.
    """
    launch = launched()
    if launch is None:
        yield Ranks()
        return
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    with _stdout_to_stderr():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield Ranks(rank, count)
    except KeyboardInterrupt:
        if rank == 0 and _is_first_to_fail(store):
            raise
        raise SystemExit(130) from None
    except Exception:
        if _is_first_to_fail(store):
            raise
        raise SystemExit(2) from None
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """Return this rank's GPU if ranks train on GPUs, else `device`.

    Raises UserError if there are more ranks than GPUs on this machine.
    """
    launch = launched()
    if device.type != "cuda" or launch is None:
        return device
    gpus = torch.cuda.device_count()
    if launch.local_count > gpus:
        raise UserError(
            f"{launch.local_count} ranks were started on a machine with {gpus} GPUs; "
            f"give --nproc-per-node {gpus}, or --device cpu"
        )
    gpu = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(gpu)
    return gpu


def share_processors() -> None:
    """Give each rank its share of the machine's processors if torchrun has set one thread a rank."""
    launch = launched()
    if launch is not None and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // launch.local_count))


def _is_first_to_fail(store: Any) -> bool:
    """Return whether no other rank has failed; False if the store is gone, since its rank has failed then."""
    try:
        return store.add("partae/failed", 1) == 1
    except RuntimeError:
        return False


@contextlib.contextmanager
def report_lost_rank() -> Iterator[None]:
    """Turn the error of a collective operation whose peer is lost into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise UserError(
            "another rank has ended or cannot be reached; repeat the command with --resume to continue from the "
            "checkpoint"
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """Return whether the error is one of communication; gloo raises plain RuntimeErrors."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(name in str(error).lower() for name in ("gloo", "nccl", "connection"))


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect what libraries print to stderr, since stdout is for results."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
