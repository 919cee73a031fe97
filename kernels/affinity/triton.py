# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
"""affinity_loss on a GPU, in Triton, in two passes over the embeddings: the small products, then the gradient.

A program of the first pass sums V'WV, V'WY and Y'WY over some blocks of an item's points; these parts are added in
order. A label out of range makes the loss NaN.
"""

import torch
from torch import Tensor

from .._triton.common import add_up, check_counts, launch, power_of_two, precision_of, product, tl, triton
from .._triton.embeddings import inverse_length, squash, tile_of
from .scales import scales


@triton.jit(do_not_specialize=["parts", "steps", "batch", "points", "sources"])
def products_kernel(
    among_ptr,  # (parts, B, D, D) float32
    across_ptr,  # (parts, B, D, S) float32
    sizes_ptr,  # (parts, B, S) float32
    embeddings_ptr,  # (B, P, D)
    labels_ptr,  # (B, P)
    weights_ptr,  # (B, P) or None
    parts,
    steps,  # blocks in a part
    batch,
    points,
    size,  # D
    sources,  # S
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    part, item = tl.program_id(0) % parts, tl.program_id(0) // parts
    first = item.to(tl.int64) * points
    offs_d, offs_s = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_S)
    mask_d, mask_s = offs_d < size, offs_s < sources
    among = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
    across = tl.zeros((BLOCK_D, BLOCK_S), tl.float32)
    sizes = tl.zeros((BLOCK_S,), tl.float32)
    for step in range(steps):
        offs_p = (part * steps + step) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask_p = offs_p < points
        offs_e = (first + offs_p)[:, None] * size + offs_d[None, :]
        mask_e = mask_p[:, None] & mask_d[None, :]
        squashed = squash(tl.load(embeddings_ptr + offs_e, mask=mask_e, other=0.0).to(tl.float32))
        units = squashed * inverse_length(squashed)[:, None]  # (BLOCK_P, BLOCK_D)
        weight, labels = weight_and_label(weights_ptr, labels_ptr, first + offs_p, mask_p, sources)
        members = tl.where(labels[:, None] == offs_s[None, :], weight[:, None], 0.0)  # (BLOCK_P, BLOCK_S)
        transposed = tl.trans(units)
        among = product(transposed, weight[:, None] * units, among, PRECISION)
        across = product(transposed, members, across, PRECISION)
        sizes += tl.sum(members, axis=0)
    entry = part.to(tl.int64) * batch + item
    offs_g = (entry * size + offs_d[:, None]) * size + offs_d[None, :]
    tl.store(among_ptr + offs_g, among, mask=mask_d[:, None] & mask_d[None, :])
    offs_c = (entry * size + offs_d[:, None]) * sources + offs_s[None, :]
    tl.store(across_ptr + offs_c, across, mask=mask_d[:, None] & mask_s[None, :])
    tl.store(sizes_ptr + entry * sources + offs_s, sizes, mask=mask_s)


@triton.jit
def weight_and_label(weights_ptr, labels_ptr, offs, mask, sources):
    """Return each point's weight and label; the weight is NaN if the label is out of range, and 0 outside the item."""
    labels = tl.load(labels_ptr + offs, mask=mask, other=0)
    if weights_ptr is None:
        weight = tl.where(mask, 1.0, 0.0)
    else:
        weight = tl.load(weights_ptr + offs, mask=mask, other=0.0).to(tl.float32)
    return tl.where((labels >= 0) & (labels < sources), weight, float("nan")), labels


@triton.jit(do_not_specialize=["tiles", "points", "sources"])
def gradient_kernel(
    grad_ptr,  # (B, P, D)
    embeddings_ptr,  # (B, P, D)
    labels_ptr,  # (B, P)
    weights_ptr,  # (B, P) or None
    among_ptr,  # (B, D, D) float32, scaled
    across_ptr,  # (B, D, S) float32, scaled
    tiles,
    points,
    size,
    sources,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    tile, item = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    first = item.to(tl.int64) * points
    offs_d = tl.arange(0, BLOCK_D)
    mask_d = offs_d < size
    offs_p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < points
    offs_e = (first + offs_p)[:, None] * size + offs_d[None, :]
    mask_e = mask_p[:, None] & mask_d[None, :]
    squashed = squash(tl.load(embeddings_ptr + offs_e, mask=mask_e, other=0.0).to(tl.float32))
    inverse = inverse_length(squashed)
    units = squashed * inverse[:, None]
    weight, labels = weight_and_label(weights_ptr, labels_ptr, first + offs_p, mask_p, sources)
    in_range = (labels >= 0) & (labels < sources)
    offs_g = (item * size + offs_d[:, None]) * size + offs_d[None, :]
    among = tl.load(among_ptr + offs_g, mask=mask_d[:, None] & mask_d[None, :], other=0.0)
    offs_c = (item * size + offs_d[None, :]) * sources + labels[:, None]
    of_label = tl.load(across_ptr + offs_c, mask=mask_d[None, :] & in_range[:, None], other=0.0)  # (BLOCK_P, BLOCK_D)
    total = tl.zeros((BLOCK_P, BLOCK_D), tl.float32)
    grad = weight[:, None] * (product(units, among, total, PRECISION) - of_label)
    along = tl.sum(grad * units, axis=1)
    grad = (grad - along[:, None] * units) * inverse[:, None] * (1.0 - squashed * squashed)
    tl.store(grad_ptr + offs_e, grad.to(grad_ptr.dtype.element_ty), mask=mask_e)


PARTS_MAX = 32  # of an item: enough to fill a GPU with a batch, few enough to add at once
LEAST = 16  # the smallest side of a product on tensor cores


def affinity_loss(
    embeddings: Tensor, labels: Tensor, weights: Tensor | None, sources: int, variant: str
) -> tuple[Tensor, Tensor]:
    batch, points, size = embeddings.shape
    check_counts(numbers=points * size, products=batch * size * max(size, sources))
    tile = tile_of(size, LEAST)
    embeddings, labels = embeddings.contiguous(), labels.contiguous()
    weights = None if weights is None else weights.contiguous()
    precision = precision_of(embeddings, "product")
    if precision == "tf32" and embeddings.dtype == torch.float32:
        # Loss and gradient are differences of products: with one TF32 product their error would be 5e-3.
        precision = "tf32x3"
    tiles = triton.cdiv(points, tile["BLOCK_P"])
    steps = triton.cdiv(tiles, PARTS_MAX)
    parts = triton.cdiv(tiles, steps)
    options = {"dtype": torch.float32, "device": embeddings.device}
    shapes = (batch, size, size), (batch, size, sources), (batch, sources)
    partials = [torch.empty(parts, *shape, **options) for shape in shapes]
    launch(
        products_kernel,
        batch * parts,
        among_ptr=partials[0],
        across_ptr=partials[1],
        sizes_ptr=partials[2],
        embeddings_ptr=embeddings,
        labels_ptr=labels,
        weights_ptr=weights,
        parts=parts,
        steps=steps,
        batch=batch,
        points=points,
        size=size,
        sources=sources,
        **tile,
        PRECISION=precision,
        BLOCK_S=power_of_two(sources, LEAST, 2**20),
    )
    among, across, sizes = (add_up(part, torch.empty(s, **options)) for part, s in zip(partials, shapes, strict=True))
    losses, scale_among, scale_across = scales(among, across, sizes, variant)
    among, across = among * (scale_among / batch)[:, None, None], across * (scale_across / batch)[:, None, None]
    grad = torch.empty_like(embeddings)
    launch(
        gradient_kernel,
        batch * tiles,
        grad_ptr=grad,
        embeddings_ptr=embeddings,
        labels_ptr=labels,
        weights_ptr=weights,
        among_ptr=among,
        across_ptr=across,
        tiles=tiles,
        points=points,
        size=size,
        sources=sources,
        **tile,
        PRECISION=precision,
    )
    return losses.mean(), grad
