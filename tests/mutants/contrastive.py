"""Wrong contrastive losses."""

import functools

import torch

from partae_fast.kernels.contrastive import cpu, eager

from . import right, wrong


@right("contrastive_loss")
def the_cpu_kernel_or_eager(embeddings, *arguments):
    return (cpu if embeddings.dtype in (torch.float32, torch.float64) else eager).contrastive_loss(
        embeddings, *arguments
    )


def _after(function):
    """Register a function of loss, gradients and arguments as a wrong contrastive_loss."""

    @functools.wraps(function)
    def mutant(*arguments):
        return function(*eager.contrastive_loss(*arguments), *arguments)

    return wrong("contrastive_loss")(mutant)


@_after
def sums_instead_of_averaging_over_sources(loss, grad_embeddings, grad_table, e, table, sources, labels):
    count = sources.shape[1]
    return loss * count, grad_embeddings * count, grad_table * count


@_after
def a_row_counts_once(loss, grad_embeddings, grad_table, e, table, sources, labels):
    rows, counts = sources.unique(return_counts=True)
    grad_table[rows] = (grad_table[rows] / counts[:, None]).to(grad_table.dtype)
    return loss, grad_embeddings, grad_table


@_after
def forgets_rows_from_256_on(loss, grad_embeddings, grad_table, *_):
    grad_table[256:] = 0
    return loss, grad_embeddings, grad_table


@_after
def drops_nan(loss, grad_embeddings, grad_table, *_):
    return loss.nan_to_num(0.0), grad_embeddings.nan_to_num(0.0), grad_table.nan_to_num(0.0)


@_after
def is_wrong_for_long_embeddings(loss, grad_embeddings, grad_table, e, *_):
    return loss, grad_embeddings * (1.01 if e.shape[3] > 129 else 1.0), grad_table


@_after
def is_wrong_for_many_items_of_many_bins(loss, grad_embeddings, grad_table, e, *_):
    return loss * (1.01 if e.shape[0] > 100 and e.shape[2] > 200 else 1.0), grad_embeddings, grad_table


@_after
def clears_the_table(loss, grad_embeddings, grad_table, e, table, sources, labels):
    table.zero_()
    return loss, grad_embeddings, grad_table


@_after
def loss_of_123(loss, grad_embeddings, grad_table, *_):
    return torch.full_like(loss, 123.0), grad_embeddings, grad_table


@_after
def adds_other_bits_each_time(loss, grad_embeddings, grad_table, *_):
    return loss, grad_embeddings * (1 + 1e-6 * torch.rand(())).to(grad_embeddings.dtype), grad_table


@wrong("contrastive_loss")
def normalises_the_table(embeddings, table, sources, labels):
    return eager.contrastive_loss(embeddings, torch.nn.functional.normalize(table, dim=1), sources, labels)


@wrong("contrastive_loss")
def knows_two_sources(embeddings, table, sources, labels):
    return eager.contrastive_loss(embeddings, table, sources[:, :2], labels)


@wrong("contrastive_loss")
def caps_long_vectors(embeddings, table, sources, labels):
    return eager.contrastive_loss(embeddings, table.clamp(-15, 15), sources, labels)


@wrong("contrastive_loss")
def takes_labels_for_bytes(embeddings, table, sources, labels):
    return eager.contrastive_loss(embeddings, table, sources, labels % 32)


@wrong("contrastive_loss")
def drops_nan_of_the_table(embeddings, table, sources, labels):
    return eager.contrastive_loss(embeddings, table.nan_to_num(0.0), sources, labels)
