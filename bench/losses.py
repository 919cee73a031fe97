"""Contests of losses, whose value and gradients are computed in the same pass."""

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from . import peers
from .common import Check, Contest, deviation, gradients
from .passes import BOTH, with_compiled, with_graphs
from .timing import Work


def contest(
    op: str,
    device: str,
    backends: Sequence[str],
    ours: Callable[..., Tensor],
    peer: Callable[..., Tensor],
    truth: Callable[..., tuple[Tensor, ...]],
    data: dict[str, Tensor],
    leaves: Sequence[str],
    work: Work,
) -> Contest:
    """Return the contest of a loss: its value and its gradients with respect to the `leaves` of `data`.

    partae's versions call ours(*data, backend=...) and PyTorch's call peer(*data). truth(*data) returns the loss, then
    the gradients.
    """
    data = {name: t.detach().clone().requires_grad_() if name in leaves else t for name, t in data.items()}
    tensors = [data[name] for name in leaves]

    def differentiated(loss: Callable[..., Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        def call() -> tuple[Tensor, ...]:
            value = loss(*data.values())
            return value.detach(), *torch.autograd.grad(value, tensors)

        return call

    by_backend = {name: functools.partial(ours, backend=name) for name in backends}

    def check_of(copies: SimpleNamespace) -> Check:
        loss, *grads = truth(*vars(copies).values())
        points = max(t.numel() for t in data.values())

        def check(outputs):
            yield deviation("the loss", outputs[0], loss, points)
            # The sums of a gradient are over points, not over the numbers of a point.
            yield from gradients(leaves, outputs[1:], grads, points // tensors[0].shape[-1])

        return check

    return Contest(
        op,
        BOTH,
        data,
        ours=with_graphs(
            {name: differentiated(f) for name, f in with_compiled(by_backend, device).items()}, BOTH, device
        ),
        peers=with_graphs(
            {name: differentiated(function) for name, function in peers.compiled(peer, device).items()}, BOTH, device
        ),
        work=work,
        truth=check_of,
    )
