"""How a loss is timed that returns its gradients in the same pass: value and gradients, ours and PyTorch's."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import peers
from .common import Contest, relative
from .timing import Work


def contest(
    op: str,
    device: str,
    backends: Sequence[str],
    ours: Callable[..., Tensor],
    peer: Callable[..., Tensor],
    data: Sequence[Tensor],
    wanted: int,
    work: Work,
    candidate: Callable[[], Any] | None = None,
) -> Contest:
    """Gradients to the first `wanted` of `data`, by ours(*data, backend=...) and by peer(*data).

    `candidate`, if any, returns what its pass does: the loss, then the gradients.
    """
    leaves = [tensor.requires_grad_() for tensor in data[:wanted]]

    def differentiated(loss: Callable[..., Tensor], **options: Any) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: torch.autograd.grad(loss(*data, **options), leaves)

    return Contest(
        f"{op} forward+backward",
        ours={name: differentiated(ours, backend=name) for name in backends},
        candidate=candidate and (lambda: candidate()[1:]),
        peers={name: differentiated(function) for name, function in peers.compiled(peer, device).items()},
        work=work,
        difference=relative,
    )
