"""Training by several processes, the ranks: each takes some items of every batch, and all have the sum of gradients.

`torchrun --nproc-per-node N -m partae_fast train ...` starts them. A batch is cut into shards, as many whatever the
number of ranks, and a rank takes a run of them. What shards give is added up along a binary tree over all shards: the
rank adds the nodes that are its own alone, all send these to all, and each adds the rest. So the sum's order, and with
it every bit, is the same with 2 ranks as with 3 or 4; every rank makes the same update, and no weights are ever sent.
PyTorch's DistributedDataParallel leaves the order to all_reduce, and a mean over ranks to equal shares.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import UserError

T = TypeVar("T")

SHARDS = 4  # of a batch, at least: with up to as many ranks the bits are the same; each costs a few launches a step
_PATIENCE = timedelta(days=1)  # for a rank that reads recordings; one that is lost is seen at once


@dataclass(frozen=True)
class Ranks:
    """Which of how many ranks this process is; alone, 0 of 1."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes files and speaks."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's `value`, any object, in order of ranks."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with _company():
            dist.all_gather_object(found, value)
        return found

    def gather_tensor(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's `tensor`, all of one shape, in order of ranks."""
        if self.count == 1:
            return [tensor]
        import torch.distributed as dist

        found = [torch.empty_like(tensor) for _ in range(self.count)]
        with _company():
            dist.all_gather(found, tensor)
        return found


@dataclass(frozen=True)
class Node:
    """The sum over shards first .. first + size - 1."""

    first: int
    size: int
    total: Tensor


def added(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, in order, with every two that are the halves of one node of the tree added, first plus second."""
    found: list[Node] = []
    for node in nodes:
        found.append(node)
        while len(found) > 1 and _are_halves(*found[-2:]):
            second, first = found.pop(), found.pop()
            found.append(Node(first.first, 2 * first.size, first.total + second.total))
    return found


def _are_halves(one: Node, other: Node) -> bool:
    return one.size == other.size and one.first + one.size == other.first and one.first % (2 * one.size) == 0


class Shares:
    """How a batch is shared out among ranks, and the sum of what they found.

    Raises UserError where there are more ranks than items.
    """

    def __init__(self, batch: int, ranks: Ranks) -> None:
        if ranks.count > batch:
            raise UserError(f"{ranks.count} ranks share a batch of {batch} items; start {batch} at most")
        self._ranks = ranks
        shards = max(SHARDS, 1 << (ranks.count - 1).bit_length())
        self.same_bits = f"2 to {shards}"
        """How many ranks give these bits."""
        edges = [batch * i // shards for i in range(shards + 1)]
        self._cut = [shards * rank // ranks.count for rank in range(ranks.count + 1)]
        own = range(*self._cut[ranks.rank : ranks.rank + 2])
        self.shards = {shard: range(edges[shard], edges[shard + 1]) for shard in own}
        """The items of each shard that this rank takes; there may be none in a shard."""

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum over all shards of all ranks of what each gave, (n,), the same bits on every rank.

        `parts` are of this rank's shards, in order.
        """
        nodes = added([Node(shard, 1, part) for shard, part in zip(self.shards, parts, strict=True)])
        places = [self._nodes_of(rank) for rank in range(self._ranks.count)]
        rows = parts[0].new_zeros((max(map(len, places)), parts[0].numel()))
        for row, node in zip(rows, nodes, strict=False):
            row.copy_(node.total)
        found = self._ranks.gather_tensor(rows)
        sent = [
            Node(*place, row)
            for own, rows in zip(places, found, strict=True)
            for place, row in zip(own, rows, strict=False)
        ]
        (root,) = added(sent)
        return root.total

    def _nodes_of(self, rank: int) -> list[tuple[int, int]]:
        """First shard and size of each node that a rank sends."""
        nothing = torch.empty(0)
        nodes = added([Node(shard, 1, nothing) for shard in range(*self._cut[rank : rank + 2])])
        return [(node.first, node.size) for node in nodes]


@dataclass(frozen=True)
class Launched:
    """What torchrun told this process: which rank, of how many, and the same on this machine alone."""

    rank: int
    count: int
    local_rank: int
    local_count: int


def launched() -> Launched | None:
    """What torchrun told this process; None where it was started in another way, or is the only one."""
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        found = Launched(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError):
        return None
    return found if found.count > 1 else None


def current() -> Ranks:
    """The ranks of PyTorch's default process group; alone where there is none."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The ranks that torchrun started, this one among them; alone where it started none.

    device: where they train, which decides how they talk: NCCL on a GPU, else gloo.

    Of several ranks that fail one speaks: the first. The others leave by SystemExit, without a word.
    """
    told = launched()
    if told is None:
        yield Ranks()
        return
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    with _stdout_is_stderr():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield Ranks(rank, count)
    except KeyboardInterrupt:
        if rank == 0 and _is_first(store):
            raise
        raise SystemExit(130) from None
    except Exception:
        if _is_first(store):
            raise
        raise SystemExit(2) from None
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The GPU of this rank, where ranks train on GPUs; else `device`.

    Raises UserError where there are more ranks on this machine than GPUs.
    """
    told = launched()
    if device.type != "cuda" or told is None:
        return device
    gpus = torch.cuda.device_count()
    if told.local_count > gpus:
        raise UserError(
            f"{told.local_count} ranks were started on a machine with {gpus} GPUs; "
            f"give --nproc-per-node {gpus}, or --device cpu"
        )
    own = torch.device("cuda", told.local_rank)
    torch.cuda.set_device(own)
    return own


def share_processors() -> None:
    """Give each rank its share of the machine's processors, where torchrun has left each only one of them."""
    told = launched()
    if told is not None and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // told.local_count))


def _is_first(store: Any) -> bool:
    """Whether this is the first rank to fail. Where nobody can be asked somebody else was."""
    try:
        return store.add("partae/failed", 1) == 1
    except RuntimeError:
        return False


@contextlib.contextmanager
def _company() -> Iterator[None]:
    """Whatever ranks do together: where one is gone the others say so."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "another rank is gone, or cannot be reached; the same command with --resume goes on from the checkpoint"
        ) from error


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """What libraries print goes to stderr: stdout is for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
