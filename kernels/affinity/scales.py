"""The loss of an item from its small products, and their factors in its gradient."""

from torch import Tensor


def scales(among: Tensor, across: Tensor, sizes: Tensor, variant: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return each item's loss, and a, c of its gradient with respect to V, w (a V V'WV - c Y (V'WY)')."""
    norms = [(product**2).flatten(1).sum(1) for product in (among, across, sizes)]
    if variant == "squared":
        total = sizes.sum(1)
        scale = (total**2).reciprocal().where(total != 0, 0.0)
        return scale * (norms[0] - 2.0 * norms[1] + norms[2]), 4.0 * scale, 4.0 * scale
    among_norm, across_norm, sizes_norm = (norm.sqrt() for norm in norms)
    scale_among, scale_across = ((2.0 / norm).where(norm != 0, 0.0) for norm in (among_norm, across_norm))
    return among_norm - 2.0 * across_norm + sizes_norm, scale_among, scale_across
