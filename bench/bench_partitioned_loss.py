"""Benchmark partitioned_loss: the loss and its gradients with respect to reconstruction and values."""

import functools

from torch import Tensor

import partae_fast as pf
from partae_fast.bench import losses, peers
from partae_fast.bench.common import Contest
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BOTH
from partae_fast.bench.shapes import ON_GPU, SHAPES, SMOKE, inputs, latents
from partae_fast.bench.timing import Work
from partae_fast.functional.partitioned_loss import _partitioned_loss  # the op, which users call behind decode
from partae_fast.kernels.partitioned_loss import eager

PENALTY = 0.75


@benchmark("partitioned_loss", passes=(BOTH,), shapes=SHAPES, on_gpu=ON_GPU, smoke=SMOKE)
def bench_partitioned_loss(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    t = inputs(shape, device)
    values, _ = pf.encode(t.x, t.w_enc, shape["P"], t.mean, t.std)
    data = {
        "reconstruction": t.grad_r,
        "target": t.x,
        "values": values,
        "noise_only": t.noise_only,
        "foreground": t.foreground,
    }

    def ours(*data: Tensor, backend: str) -> Tensor:
        return _partitioned_loss(*data, PENALTY, backend)[0]

    peer, truth = (functools.partial(f, penalty=PENALTY) for f in (peers.loss, eager.partitioned_loss))

    elements = t.x.numel()
    # For each element: a difference, its square, a sum and a gradient; the same for each value.
    work = Work(4.0 * elements + 4.0 * latents(shape), 4.0 * (3 * elements + 2 * latents(shape)))
    leaves = ("reconstruction", "values")
    return losses.contest("partitioned_loss", device, backends, ours, peer, truth, data, leaves, work)
