"""affinity_loss: the value and its gradient to the embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import losses
from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BOTH
from partae_fast.bench.timing import Work
from partae_fast.kernels.affinity import eager

SOURCES = 2
# Points of a mix of 2 s at 10 kHz with hops of 128 and 256, 257 bins.
SHAPES = [{"B": 32, "P": t * 257, "D": d} for t, d in ((156, 10), (156, 40), (78, 40))]


def peer(embeddings: Tensor, labels: Tensor) -> Tensor:
    """The loss in low-rank form as one would write it."""
    units = F.normalize(embeddings.tanh(), dim=-1)
    members = F.one_hot(labels, SOURCES).to(units.dtype)
    among, across, within = units.mT @ units, units.mT @ members, members.mT @ members
    squares = (among**2).sum((1, 2)) - 2 * (across**2).sum((1, 2)) + (within**2).sum((1, 2))
    return squares.mean() / labels.shape[1] ** 2


@benchmark("affinity", passes=(BOTH,), shapes=SHAPES, smoke={"B": 2, "P": 15, "D": 4})
def bench_affinity(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, p, d = shape.values()
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(b, p, d, generator=generator).to(device)
    labels = torch.randint(SOURCES, (b, p), generator=generator).to(device)
    numbers = b * p * d
    # Of each number: half a row of the symmetric product and a sum forward, a row of it and of the labels' back; it is
    # read, its gradient written; what an item needs a second time may lie in a cache.
    work = Work((3.0 * d + 4.0) * numbers, 8.0 * numbers + labels.element_size() * labels.numel())
    data = {"embeddings": embeddings, "labels": labels}

    def truth(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return eager.affinity_loss(embeddings, labels, None, SOURCES, "squared")

    return losses.contest(
        "affinity",
        device,
        backends,
        pf.affinity_loss,
        peer,
        truth,
        data,
        ("embeddings",),
        work,
    )
