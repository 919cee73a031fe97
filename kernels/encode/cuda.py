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
SLICES = 4  # threads that share a sum, at most


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

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        floats = self.taps_each * self.bins_each * self.latents_each
        floats += (self.rows + self.taps_each - 1) * (self.bins_each + 4)
        floats += self.slices * self.rows * self.latents_each
        return 4 * (floats + 2 * self.bins_each + 2 * self.windows_each * self.latents_each)


@functools.cache
def tile_of(target: Target, bins: int, latents: int, taps: int, pool: int) -> Tile:
    """Return the division of the work: the largest part of bins, then of taps, whose filters fit shared memory."""
    windows_each = max(1, target.rows // pool)
    rows = round_up(windows_each * pool if pool <= 2 * target.rows else target.rows, 2 * target.frames)
    latents_each = min(round_up(latents, 4), target.latents)
    tasks = rows // target.frames * latents_each // 4
    bins_each, taps_each = round_up(bins, 4), taps
    while True:
        slices = min(SLICES, bins_each // 4, target.threads // tasks)
        tile = Tile(bins, latents, taps, pool, windows_each, rows, bins_each, taps_each, latents_each, slices)
        if tile.shared <= target.shared or (bins_each == 4 and taps_each == 1):
            return tile
        if bins_each > 4 * SLICES or taps_each == 1:
            bins_each = round_up(bins_each // 2, 4)
        else:
            taps_each = cover(taps_each, 2)


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, negative_slope: float = 0.0
) -> tuple[Tensor, Tensor]:
    target = target_for("encode", x)
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    check_counts(frames=frames, windows=batch * windows)
    x, w_enc = x.contiguous(), w_enc.contiguous()
    mean, std = (None, None) if mean is None or std is None else (mean.contiguous(), std.contiguous())
    values = torch.empty(batch, windows, latents, dtype=x.dtype, device=x.device)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32, device=x.device)
    tile = tile_of(target, bins, latents, taps, min(pool, frames))
    sizes = np.array([astuple(tile)], TILE)
    launch(
        target,
        FILE,
        "encode",
        macros(target, **({"ENCODE_TILE": numbers(sizes)} if target.constant_sizes else {})),
        blocks=batch * cover(windows, tile.windows_each) * cover(latents, tile.latents_each),
        shared=tile.shared,
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
