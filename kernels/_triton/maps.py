# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""Convolutions of maps on a GPU, in Triton, for the ops that pool or up-sample them; for the CPU see `_cpu/maps.py`.

A convolution is a matrix product of positions with the `reads` numbers under a filter, ordered by tap and channel.
These numbers are read directly from the map.

    convolve            x, weight, bias, scale, relu -> map
    convolve_phase      the same for one kind of position in each repeat
    gradient_of_weight  partial sums over positions, added in a fixed order
"""

import torch
from torch import Tensor

from ..phases import phases, summed
from .common import add_up, check_counts, launch, power_of_two, precision_of, product, tl, triton

PARTS = 256  # partial sums of a gradient of weights, at most


@triton.jit
def coordinates(row, frames, bins):
    """Return item * frames + frame (64 bits), frame and bin of position `row` of a map."""
    h = (row % bins).to(tl.int32)  # first: after the division it takes up to ten registers more
    item_n = row // bins
    return item_n, (item_n % frames).to(tl.int32), h


@triton.jit
def under(x_ptr, row, n, h, used, offs_k, reads, frames, bins, channels, first_n, first_h, span_h):
    """Load numbers offs_k (BLOCK_K,) under the filters at positions (ROWS,): 0 outside the map.

    Number k is channel k % C of tap (k // C // span_h, k // C % span_h), counted from (first_n, first_h).
    """
    tap = offs_k // channels
    down = first_n + tap // span_h
    across = first_h + tap % span_h
    n, h = n[:, None] + down[None, :], h[:, None] + across[None, :]
    inside = used[:, None] & (offs_k < reads)[None, :] & (n >= 0) & (n < frames) & (h >= 0) & (h < bins)
    at = (down * bins + across) * channels + offs_k % channels
    return tl.load(x_ptr + (row * channels)[:, None] + at[None, :], mask=inside, other=0.0)


@triton.jit
def convolve_rows(
    x_ptr, w_ptr, row, n, h, used, offs_d, frames, bins, channels, filters, first_n, first_h, span_h, reads,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Return products (ROWS, BLOCK_D) of positions with filters offs_d. `row` is the position in the map, 64 bits."""
    z = tl.zeros((ROWS, BLOCK_D), tl.float32)
    for first in range(0, reads, BLOCK_K):
        offs_k = first + tl.arange(0, BLOCK_K)
        x = under(x_ptr, row, n, h, used, offs_k, reads, frames, bins, channels, first_n, first_h, span_h)
        mask_w = (offs_k < reads)[:, None] & (offs_d < filters)[None, :]
        w = tl.load(w_ptr + offs_k[:, None] * filters + offs_d[None, :], mask=mask_w, other=0.0)
        z = product(x, w.to(x.dtype), z, PRECISION)
    return z


# Only channels and filters determine how numbers are loaded. If others were specialised, by whether they are 1 or a
# multiple of 16, an up-sampling would compile nine variants, and other shapes more.
_PLACES = ["first_n", "first_h", "span_h", "place_n", "place_h", "copies_n", "copies_h"]


@triton.jit(do_not_specialize=["positions", "frames", "bins", "reads", "p", "q", *_PLACES])
def convolve_kernel(
    out_ptr,  # (B, p N, q H, D)
    x_ptr,  # (B, N, H, C)
    w_ptr,  # (span_n, span_h, C, D)
    bias_ptr,  # (D,) or None
    positions,  # B N H
    frames,  # N
    bins,  # H
    channels,  # C
    filters,  # D
    first_n,
    first_h,
    span_h,
    reads,  # span_n * span_h * C
    p,
    q,
    place_n,
    place_h,
    copies_n,
    copies_h,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Convolve one kind of position in each repeat of an up-sampled map; write it to all its copies."""
    filter_blocks = tl.cdiv(filters, BLOCK_D)
    row = (tl.program_id(0) // filter_blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    offs_d = (tl.program_id(0) % filter_blocks) * BLOCK_D + tl.arange(0, BLOCK_D)
    used = row < positions
    item_n, n, h = coordinates(row, frames, bins)
    z = convolve_rows(
        x_ptr=x_ptr,
        w_ptr=w_ptr,
        row=row,
        n=n,
        h=h,
        used=used,
        offs_d=offs_d,
        frames=frames,
        bins=bins,
        channels=channels,
        filters=filters,
        first_n=first_n,
        first_h=first_h,
        span_h=span_h,
        reads=reads,
        PRECISION=PRECISION,
        ROWS=ROWS,
        BLOCK_K=BLOCK_K,
        BLOCK_D=BLOCK_D,
    )
    mask_d = offs_d < filters
    if bias_ptr is not None:
        z += tl.load(bias_ptr + offs_d, mask=mask_d, other=0.0).to(tl.float32)[None, :]
    if RELU:
        z = tl.where(z < 0, 0.0, z)
    mask_out = used[:, None] & mask_d[None, :]
    for i in range(copies_n):
        for j in range(copies_h):
            place = (item_n * p + place_n + i) * (bins * q) + h * q + place_h + j
            out_ptrs = out_ptr + (place * filters)[:, None] + offs_d[None, :]
            tl.store(out_ptrs, z.to(out_ptr.dtype.element_ty), mask=mask_out)


@triton.jit(do_not_specialize=["positions", "blocks_per_part", "frames", "bins", "first", "span", "reads"])
def gradient_of_weight_kernel(
    partials_ptr,  # (parts, reads, D)
    x_ptr,  # (B, N, H, C)
    grad_ptr,  # (B, N, H, D)
    positions,  # B N H
    blocks_per_part,  # of BLOCK_R positions
    frames,  # N
    bins,  # H
    channels,  # C
    filters,  # D
    first,  # of the taps, along both axes
    span,
    reads,  # span * span * C
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    read_blocks, filter_blocks = tl.cdiv(reads, BLOCK_K), tl.cdiv(filters, BLOCK_D)
    part = tl.program_id(0) // (read_blocks * filter_blocks)
    block = tl.program_id(0) % (read_blocks * filter_blocks)
    offs_k = (block // filter_blocks) * BLOCK_K + tl.arange(0, BLOCK_K)
    offs_d = (block % filter_blocks) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask_d = offs_d < filters
    total = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    for step in range(blocks_per_part):
        row = (part.to(tl.int64) * blocks_per_part + step) * BLOCK_R + tl.arange(0, BLOCK_R)
        used = row < positions
        _, n, h = coordinates(row, frames, bins)
        x = under(x_ptr, row, n, h, used, offs_k, reads, frames, bins, channels, first, first, span)
        grad_ptrs = grad_ptr + (row * filters)[:, None] + offs_d[None, :]
        grad = tl.load(grad_ptrs, mask=used[:, None] & mask_d[None, :], other=0.0)
        total = product(tl.trans(x), grad.to(x.dtype), total, PRECISION)
    offs_out = (part.to(tl.int64) * reads + offs_k)[:, None] * filters + offs_d[None, :]
    tl.store(partials_ptr + offs_out, total, mask=(offs_k < reads)[:, None] & mask_d[None, :])


def convolve_tile(filters: int) -> dict[str, int]:
    """Return block sizes and warps of `convolve_kernel`: with four warps, addresses spill registers."""
    return {"ROWS": 64, "BLOCK_K": 16, "BLOCK_D": power_of_two(filters, 16, 32), "num_warps": 8}


def weight_tile(filters: int, reads: int) -> dict[str, int]:
    """Block sizes and warps of `gradient_of_weight_kernel`."""
    return {
        "BLOCK_R": 32,
        "BLOCK_K": power_of_two(reads, 16, 32),
        "BLOCK_D": power_of_two(filters, 16, 32),
        "num_warps": 8,
    }


ELEMENTS = {"BLOCK": 512, "num_warps": 4}  # of the kernels that go number by number


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, scale: tuple[int, int], relu: bool) -> Tensor:
    """The map (B, p N, q H, D) that x (B, N, H, C), up-sampled by (p, q), gives under weight (3, 3, C, D)."""
    (batch, frames, bins, _), filters = x.shape, weight.shape[3]
    out = torch.empty(batch, frames * scale[0], bins * scale[1], filters, dtype=x.dtype, device=x.device)
    wide = weight.float()
    for row_phase in phases(scale[0]):
        for bin_phase in phases(scale[1]):
            taps = summed(summed(wide, row_phase, scale[0], 0), bin_phase, scale[1], 1).to(x.dtype)
            convolve_phase(out, x, taps.contiguous(), bias, row_phase, bin_phase, scale, relu)
    return out


def convolve_phase(
    out: Tensor,
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    row_phase: tuple[int, int, int, int],
    bin_phase: tuple[int, int, int, int],
    scale: tuple[int, int],
    relu: bool,
) -> None:
    x = x.contiguous()
    (batch, frames, bins, channels), filters = x.shape, taps.shape[3]
    check_counts(frames=frames * scale[0], bins=bins * scale[1] * filters, positions=batch * frames * bins)
    (first_n, span_n, copies_n, place_n), (first_h, span_h, copies_h, place_h) = row_phase, bin_phase
    reads = span_n * span_h * channels
    tile = convolve_tile(filters)
    programs = triton.cdiv(batch * frames * bins, tile["ROWS"]) * triton.cdiv(filters, tile["BLOCK_D"])
    launch(
        convolve_kernel,
        programs,
        out_ptr=out,
        x_ptr=x,
        w_ptr=taps,
        bias_ptr=None if bias is None else bias.contiguous(),
        positions=batch * frames * bins,
        frames=frames,
        bins=bins,
        channels=channels,
        filters=filters,
        first_n=first_n,
        first_h=first_h,
        span_h=span_h,
        reads=reads,
        p=scale[0],
        q=scale[1],
        place_n=place_n,
        place_h=place_h,
        copies_n=copies_n,
        copies_h=copies_h,
        RELU=relu,
        PRECISION=precision_of(x, "convolution"),
        **tile,
    )


def gradient_of_weight(x: Tensor, grad: Tensor, span: int) -> Tensor:
    """Return products (span, span, C, D) of grad (B, N, H, D) with x (B, N, H, C), for 3 x 3 taps or for one."""
    (batch, frames, bins, channels), filters = x.shape, grad.shape[3]
    positions, reads = batch * frames * bins, span * span * channels
    tile = weight_tile(filters, reads)
    blocks = triton.cdiv(positions, tile["BLOCK_R"])
    blocks_per_part = triton.cdiv(blocks, min(blocks, PARTS))
    parts = triton.cdiv(blocks, blocks_per_part)
    partials = torch.empty(parts, span, span, channels, filters, dtype=torch.float32, device=x.device)
    launch(
        gradient_of_weight_kernel,
        parts * triton.cdiv(reads, tile["BLOCK_K"]) * triton.cdiv(filters, tile["BLOCK_D"]),
        partials_ptr=partials,
        x_ptr=x.contiguous(),
        grad_ptr=grad.contiguous(),
        positions=positions,
        blocks_per_part=blocks_per_part,
        frames=frames,
        bins=bins,
        channels=channels,
        filters=filters,
        first=-(span // 2),
        span=span,
        reads=reads,
        PRECISION=precision_of(x, "convolution"),
        **tile,
    )
    return add_up(partials, torch.empty(partials.shape[1:], dtype=x.dtype, device=x.device))
