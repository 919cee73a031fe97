# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""conv2d_pool on a GPU, in Triton: a tile of windows is convolved and reduced before it leaves the registers.

The backward pass writes the gradients back to their positions, then convolves densely (`_triton/maps.py`).
"""

import torch
from torch import Tensor

from .._triton.common import check_counts, launch, precision_of, tl, triton
from .._triton.maps import ELEMENTS, convolve, convolve_rows, convolve_tile, coordinates, gradient_of_weight
from .._triton.pool import LOWEST_KEY, NAN_KEY, chunk_of, ordered
from ..shapes import no_positions, window_count


@triton.jit(do_not_specialize=["windows", "down", "across", "p", "q", "frames", "bins"])
def convolve_and_pool_kernel(
    values_ptr,  # (B, V, W, D)
    positions_ptr,  # (B, V, W, D) int32
    x_ptr,  # (B, N, H, C)
    w_ptr,  # (3, 3, C, D)
    bias_ptr,  # (D,)
    windows,  # B V W
    down,  # V
    across,  # W
    p,
    q,
    frames,  # N
    bins,  # H
    channels,  # C
    filters,  # D
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Convolve and pool. Row r of a tile is position r % BLOCK_P (of the chunk) in window r // BLOCK_P."""
    ROWS: tl.constexpr = BLOCK_W * BLOCK_P
    filter_blocks = tl.cdiv(filters, BLOCK_D)
    tile = tl.program_id(0) // filter_blocks
    offs_d = (tl.program_id(0) % filter_blocks) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask_d = offs_d < filters
    bias = tl.load(bias_ptr + offs_d, mask=mask_d, other=0.0).to(tl.float32)
    rows = tl.arange(0, ROWS)
    window = tile * BLOCK_W + rows // BLOCK_P
    item = window // (down * across)
    first_n = (window // across % down) * p
    first_h = (window % across) * q

    best_key = tl.full((BLOCK_W, BLOCK_D), LOWEST_KEY, tl.int32)
    best_place = tl.zeros((BLOCK_W, BLOCK_D), tl.int32)
    for chunk in range(0, p * q, BLOCK_P):
        place = chunk + rows % BLOCK_P
        n, h = first_n + place // q, first_h + place % q
        used = (window < windows) & (place < p * q) & (n < frames) & (h < bins)
        row = (item.to(tl.int64) * frames + n) * bins + h
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
            first_n=-1,
            first_h=-1,
            span_h=3,
            reads=9 * channels,
            PRECISION=PRECISION,
            ROWS=ROWS,
            BLOCK_K=BLOCK_K,
            BLOCK_D=BLOCK_D,
        )
        z += bias[None, :]
        # Floats are ordered as integers once all bits but the sign of negative ones are inverted; both zeros are equal.
        z = tl.where(z < 0, 0.0, z) if RELU else z
        key = ordered(tl.where(z == 0, 0.0, z).to(tl.int32, bitcast=True))
        key = tl.where(z != z, NAN_KEY, key)
        key = tl.where(used[:, None], key, LOWEST_KEY)
        chunk_key, chunk_place = tl.max(  # (BLOCK_W, BLOCK_D); the first of equals
            tl.reshape(key, (BLOCK_W, BLOCK_P, BLOCK_D)), axis=1, return_indices=True
        )
        better = chunk_key > best_key
        best_place = tl.where(better, chunk + chunk_place, best_place)
        best_key = tl.where(better, chunk_key, best_key)

    offs_w = tile * BLOCK_W + tl.arange(0, BLOCK_W)
    offs_out = offs_w.to(tl.int64)[:, None] * filters + offs_d[None, :]
    mask_out = (offs_w < windows)[:, None] & mask_d[None, :]
    value = ordered(best_key).to(tl.float32, bitcast=True)
    tl.store(values_ptr + offs_out, value.to(values_ptr.dtype.element_ty), mask=mask_out)
    tl.store(positions_ptr + offs_out, best_place, mask=mask_out)


@triton.jit(do_not_specialize=["numbers", "down", "across", "p", "q", "frames", "bins"])
def unpool_kernel(
    out_ptr,  # (B, N, H, D)
    grad_ptr,  # (B, V, W, D)
    values_ptr,  # (B, V, W, D)
    positions_ptr,  # (B, V, W, D) int32
    numbers,  # B N H D
    down,  # V
    across,  # W
    p,
    q,
    frames,  # N
    bins,  # H
    filters,  # D
    RELU: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write to each position of the map its window's gradient if it is the maximum, else 0."""
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < numbers
    d, row = (offs % filters).to(tl.int32), offs // filters
    item_n, n, h = coordinates(row, frames, bins)
    item = item_n // frames
    at = ((item * down + n // p) * across + h // q) * filters + d
    won = tl.load(positions_ptr + at, mask=mask, other=-1) == n % p * q + h % q
    if RELU:
        value = tl.load(values_ptr + at, mask=mask, other=0.0)
        won = won & ((value > 0) | (value != value))
    tl.store(out_ptr + offs, tl.load(grad_ptr + at, mask=mask & won, other=0.0), mask=mask)


def pool_tile(filters: int, places: int) -> dict[str, int]:
    """Return block sizes and warps of `convolve_and_pool_kernel`."""
    chunk = chunk_of(places)
    tile = convolve_tile(filters)
    rows = tile.pop("ROWS")
    return {"BLOCK_W": rows // chunk, "BLOCK_P": chunk, **tile}


def convolve_and_pool(
    x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool
) -> tuple[Tensor, Tensor]:
    """Return values (B, V, W, D) and positions, int32 of that shape: i q + j for frame i, bin j of the window."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    pool = min(pool[0], frames), pool[1]
    down, across = window_count(frames, pool[0]), window_count(bins, pool[1])
    windows = batch * down * across
    check_counts(positions=batch * frames * bins, places=pool[0] * pool[1], bins=bins * channels, windows=windows)
    values = torch.empty(batch, down, across, filters, dtype=x.dtype, device=x.device)
    positions = torch.empty(values.shape, dtype=torch.int32, device=x.device)
    tile = pool_tile(filters, pool[0] * pool[1])
    launch(
        convolve_and_pool_kernel,
        triton.cdiv(windows, tile["BLOCK_W"]) * triton.cdiv(filters, tile["BLOCK_D"]),
        values_ptr=values,
        positions_ptr=positions,
        x_ptr=x.contiguous(),
        w_ptr=weight.contiguous(),
        bias_ptr=bias.contiguous(),
        windows=windows,
        down=down,
        across=across,
        p=pool[0],
        q=pool[1],
        frames=frames,
        bins=bins,
        channels=channels,
        filters=filters,
        RELU=relu,
        PRECISION=precision_of(x, "convolution"),
        **tile,
    )
    return values, positions


def unpooled(
    grad: Tensor, values: Tensor, positions: Tensor, pool: tuple[int, int], shape: tuple[int, int], relu: bool
) -> Tensor:
    """Return (B, N, H, D), (N, H) = shape, with the gradient of values at their positions, and 0 elsewhere."""
    (batch, down, across, filters), (frames, bins) = values.shape, shape
    out = torch.empty(batch, frames, bins, filters, dtype=grad.dtype, device=grad.device)
    launch(
        unpool_kernel,
        triton.cdiv(out.numel(), ELEMENTS["BLOCK"]),
        out_ptr=out,
        grad_ptr=grad.contiguous(),
        values_ptr=values.contiguous(),
        positions_ptr=positions.contiguous(),
        numbers=out.numel(),
        down=down,
        across=across,
        p=min(pool[0], frames),
        q=pool[1],
        frames=frames,
        bins=bins,
        filters=filters,
        RELU=relu,
        **ELEMENTS,
    )
    return out


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    if pool == (1, 1):
        return convolve(x, weight, bias, pool, relu), no_positions(x)
    return convolve_and_pool(x, weight, bias, pool, relu)


def conv2d_pool_backward(
    grad_values: Tensor,
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: tuple[int, int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if pool == (1, 1):
        grad_z = torch.where(values <= 0, 0.0, grad_values) if relu else grad_values
    else:
        grad_z = unpooled(grad_values, values, positions, pool, (x.shape[1], x.shape[2]), relu)
    transposed = weight.flip(0, 1).transpose(2, 3)
    return (
        convolve(grad_z, transposed, None, (1, 1), False) if need_x else None,
        gradient_of_weight(x, grad_z, 3) if need_w else None,
        grad_z.sum((0, 1, 2), dtype=torch.float32).to(x.dtype) if need_bias else None,
    )
