"""ratio_mask_loss: the value and its gradient to the logits."""

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import losses
from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BOTH
from partae_fast.bench.timing import Work
from partae_fast.kernels.ratio_mask import eager

SHAPES = [{"B": 32, "T": 156, "F": 257, "S": s} for s in (2, 3)]


def peer(logits: Tensor, mixture: Tensor, sources: Tensor) -> Tensor:
    """The loss as one would write it."""
    return ((sources - logits.softmax(-1) * mixture[..., None]) ** 2).mean()


@benchmark("ratio_mask", passes=(BOTH,), shapes=SHAPES, smoke={"B": 2, "T": 3, "F": 5, "S": 2})
def bench_ratio_mask(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, t, f, s = shape.values()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(b, t, f, s, generator=generator).to(device)
    sources = torch.randn(b, t, f, s, generator=generator).abs().to(device)
    data = {"logits": logits, "mixture": sources.sum(-1), "sources": sources}
    numbers = logits.numel()
    # Of each number: the softmax's sum and quotient, error and its square, slope, and the softmax's derivative; logits,
    # sources and mixture are read, the gradient written.
    work = Work(10.0 * numbers, 4.0 * (3 * numbers + numbers / s))
    return losses.contest(
        "ratio_mask",
        device,
        backends,
        pf.ratio_mask_loss,
        peer,
        eager.ratio_mask_loss,
        data,
        ("logits",),
        work,
    )
