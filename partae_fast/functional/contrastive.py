"""contrastive_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import (
    autocast,
    check_alike,
    check_devices,
    check_dimensions,
    check_integers,
    kernels,
    new_loss,
    returns_gradients,
)
from .custom_op import op


def contrastive_loss(
    embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor, backend: str = "auto"
) -> Tensor:
    """Compute the loss of source-contrastive estimation: points near the vector of their loudest source.

        V = tanh(e) / sqrt(|tanh(e)|^2 + 1e-12),   u_s = table[sources[b, s]], not scaled
        mean over b, t, f and s of  -log sigmoid(y <V, u_s>),   y = 1 where labels[b, t, f] is s, else -1

    Hetherly et al. 2018. Their program has y in {0, 1} in the model with masks, which removes the contrast, and an
    option that scales u to length 1: pass `torch.nn.functional.normalize(table, dim=1)` for that.

    Args:
        embeddings: (B, T, F, D) the output e of the linear layer, before tanh.
        table: (R, D) a vector for each training source, of the type of `embeddings`.
        sources: (B, S) int64 in [0, R), the rows of the table for the sources of each mixture.
        labels: (B, T, F) integers in [0, S), the loudest of the mixture's S sources at each point.
            A row or label out of range raises ValueError on the CPU; on a GPU, where a check would synchronize the
            stream, the loss is NaN.

    Returns:
        A scalar: float32, or float64 for float64 input; under autocast computed in float32. Gradients reach
        embeddings and table.

    >>> embeddings, table = torch.randn(2, 10, 5, 4), torch.randn(20, 4)
    >>> sources, labels = torch.tensor([[3, 17], [3, 0]]), torch.randint(2, (2, 10, 5))
    >>> contrastive_loss(embeddings, table, sources, labels).shape
    torch.Size([])
    """
    check_dimensions(
        embeddings=(embeddings, "B, T, F, D"),
        table=(table, "R, D"),
        sources=(sources, "B, S"),
        labels=(labels, "B, T, F"),
    )
    check_integers(sources=sources, labels=labels)
    if table.shape[1] != embeddings.shape[3]:
        raise ValueError(
            f"table has vectors of {table.shape[1]} numbers and embeddings {embeddings.shape[3]}; give both the same D"
        )
    if labels.shape != embeddings.shape[:3] or sources.shape[0] != embeddings.shape[0]:
        raise ValueError(
            f"embeddings are {tuple(embeddings.shape)}, labels {tuple(labels.shape)} and sources"
            f" {tuple(sources.shape)}; give a label for each point (B, T, F) and the sources of each item (B, S)"
        )
    embeddings, table = autocast(embeddings, table, dtype=torch.float32)
    check_alike(embeddings=embeddings, table=table)
    check_devices(embeddings=embeddings, sources=sources, labels=labels)
    return _contrastive_loss(embeddings, table, sources.long(), labels, backend)[0]


@op("contrastive_loss")
def _contrastive_loss(
    embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    implementation = kernels("contrastive", backend, embeddings)
    if sources.is_cpu and not 0 <= int(sources.min()) <= int(sources.max()) < len(table):
        raise ValueError(
            f"sources are {int(sources.min())} to {int(sources.max())} and the table has {len(table)} rows;"
            " give the rows of the sources in each mixture"
        )
    return implementation.contrastive_loss(embeddings, table, sources, labels)


@_contrastive_loss.register_fake
def _(embeddings, table, sources, labels, backend):
    return new_loss(embeddings), embeddings.new_empty(embeddings.shape), table.new_empty(table.shape)


returns_gradients(_contrastive_loss, 0, 1)
