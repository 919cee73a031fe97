"""The Triton kernels of embeddings in the interpreter: labels, rows and sizes out of range."""

import pytest
import torch

from partae_fast.kernels import BackendUnavailable
from partae_fast.kernels.affinity import triton as affinity
from partae_fast.kernels.contrastive import triton as contrastive

LABELS = torch.tensor([[[0, 1], [1, 0]]])
SOURCES = torch.tensor([[2, 0]])


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_label_out_of_range_makes_the_loss_nan(wrong):
    embeddings, table, labels = torch.rand(1, 2, 2, 3), torch.rand(4, 3), LABELS.clone()
    assert contrastive.contrastive_loss(embeddings, table, SOURCES, labels)[0].isfinite()
    assert affinity.affinity_loss(embeddings.flatten(1, 2), labels.flatten(1), None, 2, "norm")[0].isfinite()
    labels[0, 1, 1] = wrong
    assert contrastive.contrastive_loss(embeddings, table, SOURCES, labels)[0].isnan()
    assert affinity.affinity_loss(embeddings.flatten(1, 2), labels.flatten(1), None, 2, "norm")[0].isnan()


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_row_out_of_range_makes_the_loss_nan(wrong):
    sources = SOURCES.clone()
    sources[0, 1] = wrong
    loss, _, grad_table = contrastive.contrastive_loss(torch.rand(1, 2, 2, 3), torch.rand(4, 3), sources, LABELS)
    assert loss.isnan()
    assert grad_table[2].isfinite().all() and not grad_table[[0, 1, 3]].any()


def test_vectors_that_are_too_long_are_refused():
    with pytest.raises(BackendUnavailable, match="have 129 numbers and triton takes at most 128"):
        contrastive.contrastive_loss(torch.rand(1, 2, 2, 129), torch.rand(4, 129), SOURCES, LABELS)
