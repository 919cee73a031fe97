"""Sums over runs of frames in CUDA C, for the sparse passes of encode and decode: `frame_windows.cuh` describes them.

Row k is the filter of latent k in the order of the frames. `Rows` says where its numbers are in the weights.
"""

import functools
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from .common import Target, aligned, check_counts, cover, launch, numbers, round_up, structure

# The structures of the kernels.
RUNS = structure(
    *("amplitudes", "values", "positions"),
    **dict.fromkeys(("frames", "windows", "pool_least", "pool_most"), "i4"),
    negative_slope="f4",
)
SCATTER_TILE = np.dtype([(name, "i4") for name in ("bins", "latents", "taps", "rows", "bins_each", "latents_each")])
SCATTER = structure(
    *("out", "filters", "divisor"),
    **dict.fromkeys(("latent_stride", "tap_stride", "bin_stride"), "i8"),
    runs=RUNS,
    windows_most="i4",
    aligned_out="i4",
    aligned_filters="i4",
    tile=SCATTER_TILE,
)
REDUCE_TILE = np.dtype([(name, "i4") for name in ("bins", "latents", "taps")])
REDUCE = structure(
    *("partials", "dots", "source", "filters", "mean", "std"),
    **dict.fromkeys(("latent_stride", "tap_stride"), "i8"),
    runs=RUNS,
    **dict.fromkeys(("total_windows", "windows_each", "chunks"), "i4"),
    tile=REDUCE_TILE,
)
ADD_UP = structure(
    *("total", "partials"), strides=("i8", 3), size="i8", **dict.fromkeys(("parts", "taps", "bins"), "i4")
)
BINS = 64  # of a block of scatter_runs, at most
DOTS_EACH = 16  # of the kernel


def macros(target: Target, **others: int | str) -> dict[str, int | str]:
    """Return the macros of a file of kernels."""
    names = ("threads", "frames", "latents", "outputs", "lanes", "sums")
    return {name.upper(): getattr(target, name) for name in names} | {"PRECISION": 0} | others


@dataclass(frozen=True)
class Rows:
    """Filters: tap i, bin h of latent k is at k * latent + i * tap + h * bin after the start of `tensor`."""

    tensor: Tensor
    taps: int
    latents: int
    bins: int
    latent: int
    tap: int
    bin: int

    @staticmethod
    def of_decoder(w_dec: Tensor) -> "Rows":
        """Return the rows of contiguous filters (M, K, H)."""
        taps, latents, bins = w_dec.shape
        return Rows(w_dec, taps, latents, bins, bins, latents * bins, 1)

    @staticmethod
    def of_encoder(w_enc: Tensor) -> "Rows":
        """Return the rows of contiguous filters (M, H, K), which begin with the last tap."""
        taps, bins, latents = w_enc.shape
        return Rows(w_enc[taps - 1], taps, latents, bins, 1, -bins * latents, latents)


@dataclass(frozen=True)
class Runs:
    """Contiguous amplitudes and positions (B, W, K) of recordings of `frames` frames.

    `pools` are the smallest and the largest possible pool. With `values` the amplitudes are gradients of a rectifier.
    """

    amplitudes: Tensor
    positions: Tensor
    frames: int
    pools: tuple[int, int]
    values: Tensor | None = None
    negative_slope: float = 0.0

    def packed(self) -> np.ndarray:
        """Return the structure of the kernels; check the counts."""
        batch, windows, _ = self.positions.shape
        check_counts(frames=self.frames, windows=batch * windows)
        values = 0 if self.values is None else self.values.data_ptr()
        pointers = self.amplitudes.data_ptr(), values, self.positions.data_ptr()
        return np.array([(*pointers, self.frames, windows, *self.pools, self.negative_slope)], RUNS)


@dataclass(frozen=True)
class ScatterTile:
    """The division of the work by scatter_runs, which depends on the sizes alone."""

    bins: int
    latents: int
    taps: int
    rows: int
    bins_each: int
    latents_each: int

    def windows_most(self, pool_least: int) -> int:
        """Windows that reach a tile, at most: pools differ by less than makes one window more."""
        return (self.rows + self.taps - 1) // pool_least + 3

    def shared(self, windows: int) -> int:
        """Bytes of shared memory of a block."""
        floats = self.taps * self.latents_each * self.bins_each + 4 * windows * self.latents_each
        return 4 * (floats + 2 * (self.rows + self.taps - 1) + 2)


@functools.cache
def scatter_tile(target: Target, bins: int, latents: int, taps: int, pool_least: int) -> ScatterTile:
    """Return the division of the work: as many latents and bins at a time as fit shared memory."""
    bins_each, latents_each, rows = min(round_up(bins, 4), BINS), min(latents, target.latents), target.rows
    while rows * bins_each > 4 * target.outputs * target.threads:
        bins_each = round_up(bins_each // 2, 4)
    while True:
        tile = ScatterTile(bins, latents, taps, rows, bins_each, latents_each)
        if tile.shared(tile.windows_most(pool_least)) <= target.shared or bins_each * latents_each == 4:
            return tile
        if latents_each >= bins_each or bins_each == 4:
            latents_each = cover(latents_each, 2)
        else:
            bins_each = round_up(bins_each // 2, 4)


def scatter_runs(target: Target, path: str, name: str, runs: Runs, rows: Rows, divisor: Tensor | None = None) -> Tensor:
    """Return the sum (B, N, H) of amplitude * row over all runs, divided by `divisor` (H,) if it is not None."""
    batch = len(runs.positions)
    tile = scatter_tile(target, rows.bins, rows.latents, rows.taps, runs.pools[0])
    windows_most = min(tile.windows_most(runs.pools[0]), runs.positions.shape[1])
    out = torch.empty(batch, runs.frames, rows.bins, dtype=torch.float32, device=runs.amplitudes.device)
    sizes = np.array([astuple(tile)], SCATTER_TILE)
    constants = {"SCATTER_TILE": numbers(sizes)} if target.constant_sizes else {}
    launch(
        target,
        path,
        name,
        macros(target, **constants),
        blocks=batch * cover(runs.frames, tile.rows) * cover(rows.bins, tile.bins_each),
        shared=tile.shared(windows_most),
        layout=SCATTER,
        out=out,
        filters=rows.tensor,
        divisor=None if divisor is None else divisor.contiguous(),
        latent_stride=rows.latent,
        tap_stride=rows.tap,
        bin_stride=rows.bin,
        runs=runs.packed(),
        windows_most=windows_most,
        aligned_out=aligned(out, rows.bins),
        aligned_filters=rows.bin == 1 and aligned(rows.tensor, rows.bins),
        tile=sizes,
    )
    return out


def part_count(total_windows: int, weights: int) -> int:
    """Return the number of partial sums of a weight gradient, which shapes alone determine, and so its bits.

    A part has 8 windows or more. There are enough parts to fill a GPU, in at most 32 MB unless there are 16 or fewer.
    """
    return min(cover(total_windows, 8), 256, max(16, 2**23 // weights))


def reduce_runs(
    target: Target,
    path: str,
    name: str,
    source: Tensor,
    runs: Runs,
    rows: Rows,
    need_dots: bool,
    like: Tensor | None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the dots (B, W, K) of each run of `source` with its row, and the sum of amplitude * run for each row.

    The sums have the layout of `rows` in weights like `like`; they are None if it is None. With mean and std (H,) the
    source is normalised in the sums; frames outside the recording count as the mean.
    """
    batch, windows, latents = runs.positions.shape
    length, device = rows.taps * rows.bins, source.device
    chunks = cover(length, target.lanes * target.sums)
    sums = cover(cover(length, chunks), target.lanes) if target.constant_sizes else target.sums
    parts = part_count(batch * windows, latents * length)
    windows_each = cover(batch * windows, parts)
    parts = cover(batch * windows, windows_each)
    float32 = {"dtype": torch.float32, "device": device}
    dots = torch.empty(chunks, batch, windows, latents, **float32) if need_dots else None
    partials = None if like is None else torch.empty(parts, latents, length, **float32)
    sizes = np.array([(rows.bins, latents, rows.taps)], REDUCE_TILE)
    constants = {"REDUCE_TILE": numbers(sizes)} if target.constant_sizes else {}
    teams = target.threads // target.lanes
    launch(
        target,
        path,
        name,
        macros(target, SUMS=sums, **constants),
        blocks=parts * cover(latents, teams) * chunks,
        shared=4 * DOTS_EACH * teams * (target.lanes + 1),
        layout=REDUCE,
        partials=partials,
        dots=dots,
        source=source,
        filters=rows.tensor if need_dots else None,
        mean=None if mean is None else mean.contiguous(),
        std=None if std is None else std.contiguous(),
        latent_stride=rows.latent,
        tap_stride=rows.tap,
        runs=runs.packed(),
        total_windows=batch * windows,
        windows_each=windows_each,
        chunks=chunks,
        tile=sizes,
    )
    add_up_name = name.rpartition("_gradient")[0] + "_add_up"
    total = None
    if like is not None and partials is not None:
        total = torch.empty_like(like)
        begin = total[-1] if rows.tap < 0 else total
        strides = rows.latent, rows.tap, rows.bin
        add_up(target, path, add_up_name, partials, begin, strides, rows.taps, rows.bins)
    if dots is not None and chunks > 1:
        values = torch.empty_like(dots[0])
        add_up(target, path, add_up_name, dots, values, (1, 1, 1), 1, 1)
        return values, total
    return None if dots is None else dots[0], total


def add_up(
    target: Target,
    path: str,
    name: str,
    partials: Tensor,
    total: Tensor,
    strides: tuple[int, int, int],
    taps: int,
    bins: int,
) -> None:
    """Store in `total`, at the strides of (latent, tap, bin), the sum of `partials` (parts, K, M, H) over the parts."""
    size = partials[0].numel()
    launch(
        target,
        path,
        name,
        macros(target),
        blocks=cover(size, target.lanes),
        shared=4 * target.threads,
        layout=ADD_UP,
        total=total,
        partials=partials,
        strides=strides,
        size=size,
        parts=len(partials),
        taps=taps,
        bins=bins,
    )
