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
    """Compute the loss of deep clustering in low-rank form, without a (P, P) matrix of affinities.

    With V = tanh(e) / sqrt(|tanh(e)|^2 + 1e-12), (P, D), Y the labels as one-hot rows, (P, S), W the diagonal matrix
    of the weights, and |.| the Frobenius norm, an item's loss is

        "squared"   (|V'WV|^2 - 2 |V'WY|^2 + |Y'WY|^2) / (sum of weights)^2
                    = sum_ij w_i w_j (<V_i, V_j> - <Y_i, Y_j>)^2 / (sum of weights)^2     (Hershey et al. 2016, eq. 1)
        "norm"      |V'WV| - 2 |V'WY| + |Y'WY|

    "norm" is the loss in the program of Hetherly et al. 2018: its norms are not squared and it is not divided. It can
    be below 0. Its weights, the default here, are 1 / sqrt(number of points of the item with the point's label). The
    weights of "squared" are 1, so that (sum of weights)^2 is P^2.

    Args:
        embeddings: (B, P, D) the output e of the linear layer at each time-frequency point, before tanh.
        labels: (B, P) integers in [0, sources), the loudest source at each point. A label out of range raises
            ValueError on the CPU; on a GPU, where a check would synchronize the stream, the loss is NaN.
        weights: (B, P) >= 0, of the type of `embeddings`; points of weight 0 are ignored.
        variant: "squared" or "norm".
        sources: S, the number of sources.

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
    return _affinity_loss(embeddings, labels, weights, sources, variant, backend)[0]


def partition_weights(labels: Tensor, sources: int, dtype: torch.dtype) -> Tensor:
    """Return 1 / sqrt(number of points of the item with the point's label), (B, P): sources then weigh alike."""
    sizes = torch.stack([(labels == source).sum(1) for source in range(sources)], 1)
    clamped = labels.long().clamp(0, sources - 1)  # the kernel reports labels out of range
    return sizes.to(torch.promote_types(dtype, torch.float32)).rsqrt().gather(1, clamped).to(dtype)


@op("affinity_loss")
def _affinity_loss(
    embeddings: Tensor, labels: Tensor, weights: Tensor | None, sources: int, variant: str, backend: str
) -> tuple[Tensor, Tensor]:
    return kernels("affinity", backend, embeddings).affinity_loss(embeddings, labels, weights, sources, variant)


@_affinity_loss.register_fake
def _(embeddings, labels, weights, sources, variant, backend):
    return new_loss(embeddings), embeddings.new_empty(embeddings.shape)


returns_gradients(_affinity_loss, 0)
