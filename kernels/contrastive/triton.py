# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false, reportOperatorIssue=false
"""contrastive_loss on a GPU, in Triton: each program reads and writes a block of an item's points once.

A program stores a partial loss and the partial gradients of its item's vectors. These are added in order, and then
those of items that share a row of the table. A label or row out of range makes the loss NaN.
"""

import torch
from torch import Tensor

from .._triton.common import add_up, check_counts, launch, power_of_two, tl, triton
from .._triton.embeddings import inverse_length, squash, tile_of


@triton.jit(do_not_specialize=["tiles", "points", "sources", "batch", "rows", "share"])
def contrastive_kernel(
    losses_ptr,  # (tiles, B) float32
    sums_ptr,  # (tiles, B, S, D) float32
    grad_ptr,  # (B, P, D)
    embeddings_ptr,  # (B, P, D)
    table_ptr,  # (R, D)
    sources_ptr,  # (B, S)
    labels_ptr,  # (B, P)
    tiles,
    points,
    size,  # D
    sources,  # S
    batch,
    rows,  # R
    share,  # 1 / (B * P * S)
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    tile, item = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    offs_p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    offs_d = tl.arange(0, BLOCK_D)
    mask_p, mask_d = offs_p < points, offs_d < size
    first = item.to(tl.int64) * points
    offs_e = (first + offs_p)[:, None] * size + offs_d[None, :]
    mask_e = mask_p[:, None] & mask_d[None, :]
    squashed = squash(tl.load(embeddings_ptr + offs_e, mask=mask_e, other=0.0).to(tl.float32))  # (BLOCK_P, BLOCK_D)
    inverse = inverse_length(squashed)
    units = squashed * inverse[:, None]
    labels = tl.load(labels_ptr + first + offs_p, mask=mask_p, other=0)
    loss = tl.where((labels >= 0) & (labels < sources), 0.0, float("nan"))  # (BLOCK_P,)
    along = tl.zeros((BLOCK_P,), tl.float32)
    grad = tl.zeros((BLOCK_P, BLOCK_D), tl.float32)
    for s in range(sources):
        row = tl.load(sources_ptr + item * sources + s)
        in_range = (row >= 0) & (row < rows)
        row = tl.where(in_range, row, 0)
        vector = tl.load(table_ptr + row * size + offs_d, mask=mask_d, other=0.0).to(tl.float32)  # (BLOCK_D,)
        vector = tl.where(in_range, vector, tl.where(mask_d, float("nan"), 0.0))
        product = tl.sum(units * vector[None, :], axis=1)
        loudest = labels == s
        agreement = tl.where(loudest, product, -product)
        small = tl.exp(-tl.abs(agreement))
        loss += tl.log(1.0 + small) - tl.where(agreement < 0, agreement, 0.0)
        weight = share * tl.where(agreement > 0, small, 1.0) / (1.0 + small)
        slope = tl.where(loudest, -weight, weight)
        along += slope * product
        grad += slope[:, None] * vector[None, :]
        offs_u = ((tile.to(tl.int64) * batch + item) * sources + s) * size + offs_d
        tl.store(sums_ptr + offs_u, tl.sum(slope[:, None] * units, axis=0), mask=mask_d)
    grad = (grad - along[:, None] * units) * inverse[:, None] * (1.0 - squashed * squashed)
    tl.store(grad_ptr + offs_e, grad.to(grad_ptr.dtype.element_ty), mask=mask_e)
    tl.store(losses_ptr + tile * batch + item, share * tl.sum(tl.where(mask_p, loss, 0.0), axis=0))


@triton.jit(do_not_specialize=["entries"])
def table_kernel(
    grad_ptr,  # (R, D)
    sums_ptr,  # (B * S, D) float32
    sources_ptr,  # (B * S,)
    entries,  # B * S
    size,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add the gradients of all vectors that are this program's row of the table."""
    row = tl.program_id(0)
    offs_d = tl.arange(0, BLOCK_D)
    mask_d = offs_d < size
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, entries, BLOCK_N):
        offs_n = start + tl.arange(0, BLOCK_N)
        here = tl.load(sources_ptr + offs_n, mask=offs_n < entries, other=-1) == row
        offs_u = offs_n[:, None].to(tl.int64) * size + offs_d[None, :]
        total += tl.load(sums_ptr + offs_u, mask=here[:, None] & mask_d[None, :], other=0.0)
    offs_g = row.to(tl.int64) * size + offs_d
    tl.store(grad_ptr + offs_g, tl.sum(total, axis=0).to(grad_ptr.dtype.element_ty), mask=mask_d)


def contrastive_loss(
    embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, bins, size = embeddings.shape
    points, (rows, _), count = frames * bins, table.shape, sources.shape[1]
    check_counts(numbers=points * size, vectors=batch * count, rows=rows * size)
    tile = tile_of(size)
    embeddings, table, sources = embeddings.contiguous(), table.contiguous(), sources.contiguous()
    tiles = triton.cdiv(points, tile["BLOCK_P"])
    options = {"dtype": torch.float32, "device": embeddings.device}
    losses, sums = torch.empty(tiles, batch, **options), torch.empty(tiles, batch, count, size, **options)
    grad, grad_table = torch.empty_like(embeddings), torch.empty_like(table)
    launch(
        contrastive_kernel,
        batch * tiles,
        losses_ptr=losses,
        sums_ptr=sums,
        grad_ptr=grad,
        embeddings_ptr=embeddings,
        table_ptr=table,
        sources_ptr=sources,
        labels_ptr=labels.contiguous(),
        tiles=tiles,
        points=points,
        size=size,
        sources=count,
        batch=batch,
        rows=rows,
        share=1.0 / (batch * points * count),
        **tile,
    )
    vectors = add_up(sums, torch.empty(batch, count, size, **options))
    block = {"BLOCK_N": power_of_two(batch * count, 1, 32), "BLOCK_D": tile["BLOCK_D"], "num_warps": 1}
    launch(
        table_kernel,
        rows,
        grad_ptr=grad_table,
        sums_ptr=vectors,
        sources_ptr=sources,
        entries=batch * count,
        size=size,
        **block,
    )
    return add_up(losses.flatten(), torch.empty((), **options)), grad, grad_table
