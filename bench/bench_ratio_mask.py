"""Benchmark ratio_mask_loss: the loss and its gradient with respect to the logits."""

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
    """Return the loss, written in plain PyTorch."""
    return ((sources - logits.softmax(-1) * mixture[..., None]) ** 2).mean()


@benchmark("ratio_mask", passes=(BOTH,), shapes=SHAPES, smoke={"B": 2, "T": 3, "F": 5, "S": 2})
def bench_ratio_mask(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, t, f, s = shape.values()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(b, t, f, s, generator=generator).to(device)
    sources = torch.randn(b, t, f, s, generator=generator).abs().to(device)
    data = {"logits": logits, "mixture": sources.sum(-1), "sources": sources}
    numbers = logits.numel()
    # For each logit: the sum and the quotient of the softmax, the error, its square, its slope, and the derivative of
    # the softmax. Logits, sources and mixture are read, and the gradient is written.
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
