"""Benchmark contrastive_loss: the loss and its gradients with respect to the embeddings and the table."""

import torch
import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import losses
from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BOTH
from partae_fast.bench.timing import Work
from partae_fast.kernels.contrastive import eager

# Hetherly et al. 2018: 2 s mixtures at 10 kHz, with a hop of 128 as in their program and of 256 as in their paper.
SHAPES = [{"B": 32, "T": t, "F": 257, "D": d, "S": 2} for t in (156, 78) for d in (10, 40)]
QUICK = {"B": 8, "T": 78, "F": 257, "D": 10, "S": 2}
ROWS = 40  # sources in training


def peer(embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor) -> Tensor:
    """Return the loss, written in plain PyTorch."""
    units = F.normalize(embeddings.tanh(), dim=-1)
    products = torch.einsum("btfd,bsd->btfs", units, table[sources])
    loudest = labels[..., None] == torch.arange(sources.shape[1], device=labels.device)
    return -F.logsigmoid(torch.where(loudest, products, -products)).mean()


@benchmark("contrastive", passes=(BOTH,), shapes=SHAPES, smoke={"B": 2, "T": 3, "F": 5, "D": 4, "S": 2}, quick=QUICK)
def bench_contrastive(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, t, f, d, s = shape.values()
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(b, t, f, d, generator=generator)
    table = torch.randn(ROWS, d, generator=generator)
    sources = torch.randint(ROWS, (b, s), generator=generator)
    labels = torch.randint(s, (b, t, f), generator=generator)
    data = {"embeddings": embeddings, "table": table, "sources": sources, "labels": labels}
    data = {name: tensor.to(device) for name, tensor in data.items()}
    numbers = b * t * f * d
    # For each number: its square, a product with every source forward, and two with every source backward. Each number
    # is read once and its gradient is written once.
    work = Work((6.0 * s + 2.0) * numbers, 8.0 * numbers + labels.element_size() * labels.numel())
    leaves = ("embeddings", "table")
    return losses.contest(
        "contrastive",
        device,
        backends,
        pf.contrastive_loss,
        peer,
        eager.contrastive_loss,
        data,
        leaves,
        work,
    )
