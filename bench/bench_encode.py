"""Benchmark encode: forward, backward, both, and both with the gradient of x.

The other backward passes give the gradient of w_enc only, because x is data in training.
"""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import peers
from partae_fast.bench.common import (
    ByChoice,
    Check,
    Contest,
    Wrong,
    check_positions,
    deviation,
    gradients,
    misplacement,
)
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BACKWARD, BOTH, FORWARD, PASSES, contest
from partae_fast.bench.shapes import ON_GPU, SHAPES, SMOKE, dense, inputs, latents, sparse_flop
from partae_fast.bench.timing import Work
from partae_fast.kernels.encode import eager

BOTH_WITH_X = "both-x"  # forward and backward with the gradient of x, as for a layer inside a network


@benchmark("encode", passes=(*PASSES, BOTH_WITH_X), shapes=SHAPES, on_gpu=ON_GPU, smoke=SMOKE)
def bench_encode(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    t = inputs(shape, device)
    pool = shape["P"]
    active = int((pf.encode(t.x, t.w_enc, pool, t.mean, t.std)[0] > 0).sum())
    ours = {name: lambda t, name=name: pf.encode(t.x, t.w_enc, pool, t.mean, t.std, backend=name) for name in backends}
    others = {
        name: lambda t, f=f: f(t.x, t.w_enc, pool, t.mean, t.std)
        for name, f in peers.compiled(peers.encode, device).items()
    }
    return contest(
        "encode",
        op_pass,
        device,
        {"x": t.x, "w_enc": t.w_enc, "mean": t.mean, "std": t.std},
        ours,
        others,
        t.grad_values,
        work=_work(op_pass, shape, active),
        truth=lambda copies: _check(copies, shape, op_pass),
        leaves=("x", "w_enc") if op_pass == BOTH_WITH_X else ("w_enc",),
        of_peer=_with_32_bits,
    )


def _work(op_pass: str, shape: dict[str, int], active: int) -> Work:
    """Return the minimum work of a pass, with `active` values above 0.

    A backward pass also reads the gradient of values and writes those of w_enc and, for both-x, of x.
    """
    forward, gradient = dense(shape), sparse_flop(shape, 1, active)
    moved = 4.0 * (latents(shape) + shape["M"] * shape["H"] * shape["K"])
    if op_pass == FORWARD:
        return forward
    if op_pass == BACKWARD:  # values and positions are read again
        return Work(gradient, moved + 8.0 * latents(shape))
    if op_pass == BOTH:
        return Work(forward.flop + gradient, forward.bytes + moved)
    return Work(forward.flop + 2 * gradient, forward.bytes + moved + 4.0 * shape["B"] * shape["N"] * shape["H"])


def _with_32_bits(outputs):
    """Return a peer's outputs with the positions as int32, as partae returns them."""
    values, positions, *gradients = outputs
    return [values, positions.int(), *gradients]


def _check(t: SimpleNamespace, shape: dict[str, int], op_pass: str) -> Check:
    """Return a check of the values, and of the activations and gradients at a version's positions."""
    frames, pool = shape["N"], shape["P"]
    normal = eager.normalised(t.x, t.mean, t.std, shape["M"])
    activations = F.conv1d(normal, eager.filters(t.w_enc)).relu().transpose(1, 2)  # (B, N, K)
    best, _ = eager.encode(t.x, t.w_enc, pool, t.mean, t.std)
    first = torch.arange(best.shape[1], device=best.device)[:, None] * pool
    terms = shape["M"] * shape["H"]

    def true_gradients(active: Tensor, positions: Tensor) -> tuple[Tensor | None, ...]:
        choice = active.double(), positions, pool, t.mean, t.std
        return eager.encode_backward(t.grad, t.x, t.w_enc, *choice, op_pass == BOTH_WITH_X, True)

    gradients_for = ByChoice(true_gradients)

    def check(outputs):
        values, positions, *grads = outputs
        yield deviation("values", values, best, terms)
        check_positions(positions, best.shape)
        if ((positions < first) | (positions >= (first + pool).clamp(max=frames))).any():
            raise Wrong("positions lie outside of their windows")
        yield misplacement(activations.gather(1, positions.long()), best, terms)
        if grads:  # a library sums the gradient of w_enc over all frames
            yield from gradients(("x", "w_enc"), grads, gradients_for(values > 0, positions), shape["B"] * frames)

    return check
