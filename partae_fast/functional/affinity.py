"""affinity_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import (
    autocast,
    check_alike,
    check_devices,
    check_dimensions,
    check_integers,
    check_tensors,
    integer,
    kernels,
    new_loss,
    no_gradient,
    returns_gradients,
)
from .custom_op import op

VARIANTS = ("squared", "norm")


def affinity_loss(
    embeddings: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    variant: str = "squared",
    sources: int = 2,
    backend: str = "auto",
) -> Tensor:
    """Deep clustering: affinities of embeddings against those of labels, in low-rank form; no (P, P) matrix is made.

    With V = tanh(e) / sqrt(|tanh(e)|^2 + 1e-12), (P, D), Y the labels as one-hot rows, (P, S), W the diagonal matrix
    of the weights, and |.| the Frobenius norm, an item's loss is

        "squared"   (|V'WV|^2 - 2 |V'WY|^2 + |Y'WY|^2) / (sum of weights)^2
                    = sum_ij w_i w_j (<V_i, V_j> - <Y_i, Y_j>)^2 / (sum of weights)^2     (Hershey et al. 2016, eq. 1)
        "norm"      |V'WV| - 2 |V'WY| + |Y'WY|

    "norm" is what the program of Hetherly et al. 2018 has: norms that are not squared, and no division. It can be
    below 0. Its weights, the default here, are 1 / sqrt(points of the item that have the point's label); those of
    "squared" are 1, so that (sum of weights)^2 is P^2.

    Args:
        embeddings: (B, P, D) the linear layer's output e at each time-frequency point, before tanh.
        labels: (B, P) of integers, which source is the loudest, in [0, sources). One out of range is an error:
            ValueError on the CPU; on a GPU, where asking would stop the stream, a loss of NaN.
        weights: (B, P) >= 0, of the type of `embeddings`; a point of weight 0 is left out.
        variant: "squared" or "norm".
        sources: S, how many sources there are.

    Returns:
        The mean over the batch, a scalar: float32, or float64 for float64 input; under autocast computed in float32.
        Gradients reach embeddings.

    >>> embeddings, labels = torch.randn(2, 50, 4), torch.randint(2, (2, 50))
    >>> affinity_loss(embeddings, labels).shape
    torch.Size([])
    """
    check_dimensions(embeddings=(embeddings, "B, P, D"), labels=(labels, "B, P"))
    check_integers(labels=labels)
    if weights is not None:
        check_tensors(weights=weights)
    sources = integer("sources", sources)
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is not known; choose one of {', '.join(VARIANTS)}")
    if sources < 1:
        raise ValueError(f"sources is {sources}; it must be at least 1")
    for name, tensor in (("labels", labels), ("weights", weights)):
        if tensor is not None and tensor.shape != embeddings.shape[:2]:
            raise ValueError(
                f"{name} are {tuple(tensor.shape)} and embeddings {tuple(embeddings.shape)};"
                " give one for each point, (B, P)"
            )
    embeddings, weights = autocast(embeddings, weights, dtype=torch.float32)
    check_alike(embeddings=embeddings, weights=weights)
    check_devices(embeddings=embeddings, labels=labels)
    no_gradient(weights=weights)
    if weights is None and variant == "norm":
        weights = partition_weights(labels, sources, embeddings.dtype)
    return torch.ops.partae.affinity_loss(embeddings, labels, weights, sources, variant, backend)[0]


def partition_weights(labels: Tensor, sources: int, dtype: torch.dtype) -> Tensor:
    """(B, P): 1 / sqrt(how many points of the item have the point's label), so that large sources weigh no more."""
    sizes = torch.stack([(labels == source).sum(1) for source in range(sources)], 1)
    known = labels.long().clamp(0, sources - 1)  # the kernel tells of one that is out of range
    return sizes.to(torch.promote_types(dtype, torch.float32)).rsqrt().gather(1, known).to(dtype)


@op("affinity_loss")
def _affinity_loss(
    embeddings: Tensor, labels: Tensor, weights: Tensor | None, sources: int, variant: str, backend: str
) -> tuple[Tensor, Tensor]:
    return kernels("affinity", backend, embeddings).affinity_loss(embeddings, labels, weights, sources, variant)


@_affinity_loss.register_fake
def _(embeddings, labels, weights, sources, variant, backend):
    return new_loss(embeddings), embeddings.new_empty(embeddings.shape)


returns_gradients(_affinity_loss, 0)
