"""contrastive_loss in plain PyTorch, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast
from .._eager.embeddings import through_unit_vectors, unit_vectors
from ..embeddings import check_labels


def contrastive_loss(
    embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    count = sources.shape[1]
    if labels.is_cpu:
        check_labels(labels, count)
    e, rows = upcast(embeddings, table)
    vectors = rows[sources]  # (B, S, D)
    squashed, units, inverse = unit_vectors(e)
    products = torch.einsum("btfd,bsd->btfs", units, vectors)
    sign = torch.where(labels[..., None] == torch.arange(count, device=labels.device), 1.0, -1.0).to(e.dtype)
    loss = -F.logsigmoid(sign * products).mean()
    slope = -sign * (-sign * products).sigmoid() / products.numel()
    grad_units = torch.einsum("btfs,bsd->btfd", slope, vectors)
    grad_embeddings = through_unit_vectors(grad_units, squashed, units, inverse)
    grad_vectors = torch.einsum("btfs,btfd->bsd", slope, units).flatten(0, 1)
    # The gradient of F.embedding adds in a fixed order, on a GPU too.
    grad_table = torch.ops.aten.embedding_dense_backward(grad_vectors, sources.flatten(), len(table), -1, False)
    return loss, grad_embeddings.to(embeddings.dtype).contiguous(), grad_table.to(table.dtype).contiguous()
