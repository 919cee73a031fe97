"""Benchmark affinity_loss: the loss and its gradient with respect to the embeddings."""

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
# The time-frequency points of a 2 s mixture at 10 kHz with hops of 128 and 256 and 257 bins.
QUICK = {"B": 4, "P": 39 * 257, "D": 10}
SHAPES = [{"B": 32, "P": t * 257, "D": d} for t, d in ((156, 10), (156, 40), (78, 40))]


def peer(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the loss in low-rank form, written in plain PyTorch."""
    units = F.normalize(embeddings.tanh(), dim=-1)
    one_hot = F.one_hot(labels, SOURCES).to(units.dtype)
    units_units, units_labels, labels_labels = units.mT @ units, units.mT @ one_hot, one_hot.mT @ one_hot
    squares = (units_units**2).sum((1, 2)) - 2 * (units_labels**2).sum((1, 2)) + (labels_labels**2).sum((1, 2))
    return squares.mean() / labels.shape[1] ** 2


@benchmark("affinity", passes=(BOTH,), shapes=SHAPES, smoke={"B": 2, "P": 15, "D": 4}, quick=QUICK)
def bench_affinity(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, p, d = shape.values()
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(b, p, d, generator=generator).to(device)
    labels = torch.randint(SOURCES, (b, p), generator=generator).to(device)
    numbers = b * p * d
    # For each number, forward: half a row of the symmetric product, and a sum; backward: a row of that product and one
    # of the product with the labels. Each number is read once and its gradient is written once: a second read may come
    # from a cache.
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
