"""Implement encode with one matrix product, then check it and time it.

python examples/check_kernel.py
"""

import time

import torch
import torch.nn.functional as F

import partae_fast as pf
from partae_fast.conformance import Candidate, verify


def encode(x, w_enc, pool, mean, std):
    """Compute values and positions; see partae_fast/kernels/__init__.py."""
    taps, bins, latents = w_enc.shape
    dtype = torch.promote_types(x.dtype, torch.float32)  # sums are in float32 or wider
    x, w = x.to(dtype), w_enc.to(dtype).flip(0).transpose(0, 1).reshape(bins * taps, latents)
    x = x if mean is None else (x - mean) / std
    after = (taps - 1) // 2
    windows = F.pad(x, (0, 0, taps - 1 - after, after)).unfold(1, taps, 1)  # (B, N, H, M)
    z = F.pad((windows.flatten(2) @ w).relu().transpose(1, 2), (0, -x.shape[1] % pool), value=-torch.inf)
    values, positions = F.max_pool1d(z, pool, return_indices=True)
    return values.transpose(1, 2).to(w_enc.dtype).contiguous(), positions.transpose(1, 2).int().contiguous()


def main() -> None:
    mine = Candidate("encode", "encode", encode, "mine")
    for row in verify(["encode"], backend="reference", candidate=mine, kind="float32"):
        print(f"{row.backend} {row.type}: {row.cases} cases, {'ok' if row.passed else f'FAILED at {row.where}'}")
    x, w_enc = torch.rand(16, 512, 32), torch.randn(9, 32, 32)
    for name, call in (("partae", pf.encode), ("mine", lambda *args: encode(*args, None, None))):
        seconds = [(time.perf_counter(), call(x, w_enc, 16), time.perf_counter()) for _ in range(30)]
        print(f"{name}: {1e3 * min(end - start for start, _, end in seconds):.2f} ms")


if __name__ == "__main__":
    main()
