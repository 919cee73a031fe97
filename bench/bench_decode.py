"""Benchmark decode: forward, backward with respect to values and w_dec, and both."""

from types import SimpleNamespace

import partae_fast as pf
from partae_fast.bench import peers
from partae_fast.bench.common import Check, Contest, deviation, gradients
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BACKWARD, FORWARD, PASSES, contest
from partae_fast.bench.shapes import ON_GPU, SHAPES, SMOKE, inputs, latents, sparse_flop
from partae_fast.bench.timing import Work
from partae_fast.kernels.decode import eager


@benchmark("decode", passes=PASSES, shapes=SHAPES, on_gpu=ON_GPU, smoke=SMOKE)
def bench_decode(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    t = inputs(shape, device)
    frames = shape["N"]
    values, positions = pf.encode(t.x, t.w_enc, shape["P"], t.mean, t.std)
    active, moved = int((values > 0).sum()), t.x.numel() + t.w_dec.numel() + 2 * latents(shape)
    forward = Work(sparse_flop(shape, 1, active), 4.0 * moved)
    # The gradient of the values is needed for all of them; only values above 0 contribute to that of w_dec. The pass
    # reads grad_r, values, positions and w_dec, and writes two gradients.
    backward = Work(
        sparse_flop(shape, 1, active) + sparse_flop(shape, 1), 4.0 * (moved + t.w_dec.numel() + latents(shape))
    )
    both = Work(forward.flop + backward.flop, forward.bytes + 4.0 * (t.x.numel() + t.w_dec.numel() + latents(shape)))
    ours = {
        name: lambda t, name=name: (pf.decode(t.values, t.positions, t.w_dec, frames, backend=name),)
        for name in backends
    }
    others = {
        name: lambda t, f=f: (f(t.values, t.index, t.w_dec, frames),)
        for name, f in peers.compiled(peers.decode, device).items()
    }
    return contest(
        "decode",
        op_pass,
        device,
        {"values": values, "w_dec": t.w_dec, "positions": positions, "index": positions.long()},
        ours,
        others,
        t.grad_r,
        work={FORWARD: forward, BACKWARD: backward}.get(op_pass, both),
        truth=lambda copies: _check(copies, shape),
        leaves=("values", "w_dec"),
    )


def _check(t: SimpleNamespace, shape: dict[str, int]) -> Check:
    """Return a check of the reconstruction and of the gradients."""
    reconstruction = eager.decode(t.values, t.positions, t.w_dec, shape["N"])
    grads = eager.decode_backward(t.grad, t.values, t.positions, t.w_dec, True, True) if "grad" in vars(t) else ()

    def check(outputs):
        yield deviation("the reconstruction", outputs[0], reconstruction, shape["M"] * shape["K"])
        yield from gradients(("values", "w_dec")[: len(grads)], outputs[1:], grads, shape["B"] * shape["N"])

    return check
