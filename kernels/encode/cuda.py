"""encode in CUDA C: `encode.cuh` describes the kernels; this module divides the work, and launches them.

"auto" selects triton where both can run, as no GPU has compared the two.
"""

import functools
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from .._cuda.common import Target, aligned, check_counts, cover, launch, numbers, round_up, structure, target_for
from .._cuda.frame_windows import Rows, Runs, macros, reduce_runs, scatter_runs
from ..shapes import window_count
from ..tf32 import tf32_allowed

FILE = "encode/encode.cuh"
# struct EncodeTile and struct Encode of the kernel.
TILE = np.dtype(
    [
        *((name, "i4") for name in ("bins", "latents", "taps", "pool", "windows_each", "rows")),
        *((name, "i4") for name in ("bins_each", "taps_each", "latents_each", "slices")),
    ]
)
ENCODE = structure(
    *("x", "w_enc", "mean", "std", "values", "positions"),
    **dict.fromkeys(("frames", "windows", "aligned_x", "aligned_w"), "i4"),
    negative_slope="f4",
    tile=TILE,
)
SLICES = 4  # threads, or warps, that share a sum, at most
PRECISIONS = ("ffma", "tf32", "3xtf32")  # of the products, in the order of the kernel's PRECISION


@dataclass(frozen=True)
class Tile:
    """The division of the work by the kernel; `encode.cuh` describes each number. It depends on the sizes alone."""

    bins: int
    latents: int
    taps: int
    pool: int
    windows_each: int
    rows: int
    bins_each: int
    taps_each: int
    latents_each: int
    slices: int

    def shared(self, precision: str) -> int:
        """Return the bytes of shared memory of a block."""
        padded = precision != "ffma" and self.latents_each % 16 != 8
        stride = self.latents_each + 8 * padded  # rows of a fragment start in different banks
        floats = self.taps_each * self.bins_each * stride
        floats += (self.rows + self.taps_each - 1) * (self.bins_each + 4)
        floats += self.slices * self.rows * stride
        return 4 * (floats + 2 * self.bins_each + 2 * self.windows_each * self.latents_each)


@functools.cache
def tile_of(target: Target, bins: int, latents: int, taps: int, pool: int, precision: str = "ffma") -> Tile:
    """Return the division of the work: the largest part of bins, then of taps, whose filters fit shared memory."""
    vector, step = (4, 2 * target.frames) if precision == "ffma" else (8, 16)
    windows_each = max(1, target.rows // pool)
    rows = round_up(windows_each * pool if pool <= 2 * target.rows else target.rows, step)
    latents_each = min(round_up(latents, vector), target.latents)
    tasks = rows // target.frames * latents_each // 4 if precision == "ffma" else 32 * rows // 16
    bins_each, taps_each = round_up(bins, vector), taps
    while True:
        slices = min(SLICES, bins_each // vector, target.threads // tasks)
        tile = Tile(bins, latents, taps, pool, windows_each, rows, bins_each, taps_each, latents_each, slices)
        if tile.shared(precision) <= target.shared or (bins_each == vector and taps_each == 1):
            return tile
        if bins_each > vector * SLICES or taps_each == 1:
            bins_each = round_up(bins_each // 2, vector)
        else:
            taps_each = cover(taps_each, 2)


def encode(
    x: Tensor,
    w_enc: Tensor,
    pool: int,
    mean: Tensor | None,
    std: Tensor | None,
    negative_slope: float = 0.0,
    precision: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the kernel in TF32 if PyTorch's switch allows it, else in float32; `precision` is for measurements.

    "3xtf32" has nearly the accuracy of float32, but makes infinity NaN.
    """
    target = target_for("encode", x)
    precision = precision or ("tf32" if tf32_allowed("convolution") else "ffma")
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    check_counts(frames=frames, windows=batch * windows)
    x, w_enc = x.contiguous(), w_enc.contiguous()
    mean, std = (None, None) if mean is None or std is None else (mean.contiguous(), std.contiguous())
    values = torch.empty(batch, windows, latents, dtype=x.dtype, device=x.device)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32, device=x.device)
    tile = tile_of(target, bins, latents, taps, min(pool, frames), precision)
    sizes = np.array([astuple(tile)], TILE)
    constants = {"ENCODE_TILE": numbers(sizes)} if target.constant_sizes else {}
    launch(
        target,
        FILE,
        "encode",
        macros(target, PRECISION=PRECISIONS.index(precision), **constants),
        blocks=batch * cover(windows, tile.windows_each) * cover(latents, tile.latents_each),
        shared=tile.shared(precision),
        layout=ENCODE,
        x=x,
        w_enc=w_enc,
        mean=mean,
        std=std,
        values=values,
        positions=positions,
        frames=frames,
        windows=windows,
        aligned_x=aligned(x, bins),
        aligned_w=aligned(w_enc, latents),
        negative_slope=negative_slope,
        tile=sizes,
    )
    return values, positions


def encode_backward(
    grad_values: Tensor,
    x: Tensor,
    w_enc: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: int,
    mean: Tensor | None,
    std: Tensor | None,
    need_x: bool,
    need_w: bool,
    negative_slope: float = 0.0,
) -> tuple[Tensor | None, Tensor | None]:
    target = target_for("encode", x)
    frames, w_enc = x.shape[1], w_enc.contiguous()
    pools = min(pool, frames), min(pool, frames)
    runs = Runs(grad_values.contiguous(), positions.contiguous(), frames, pools, values.contiguous(), negative_slope)
    rows = Rows.of_encoder(w_enc)
    grad_x = scatter_runs(target, FILE, "encode_gradient_x", runs, rows, std) if need_x else None
    if not need_w:
        return grad_x, None
    _, grad_w = reduce_runs(
        target,
        FILE,
        "encode_gradient_w",
        source=x.contiguous(),
        runs=runs,
        rows=rows,
        need_dots=False,
        like=w_enc,
        mean=mean,
        std=std,
    )
    return grad_x, grad_w
