"""Calls of one pass of a differentiable op, forward, backward or both, and the contests that they make."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .common import GRAPH, Check, Contest
from .timing import Work

FORWARD, BACKWARD, BOTH = "forward", "backward", "both"
STEP = "step"  # a whole training step
PASSES = (FORWARD, BACKWARD, BOTH)
Function = Callable[[SimpleNamespace], tuple[Tensor, ...]]  # of the inputs by name


class Pass:
    """A call of one pass of a version. The forward pass that a backward pass needs is run by `rewind`, untimed."""

    def __init__(
        self, op_pass: str, forward: Callable[[], tuple[Tensor, ...]], leaves: Sequence[Tensor], grad: Tensor | None
    ) -> None:
        self.op_pass, self.forward, self.leaves, self.grad = op_pass, forward, leaves, grad
        self.outputs: tuple[Tensor, ...] = ()

    def rewind(self) -> None:
        if self.op_pass == BACKWARD:
            self.outputs = self.forward()

    def __call__(self) -> tuple[Tensor, ...]:
        if self.op_pass == FORWARD:
            return self.forward()
        again = self.op_pass == BACKWARD
        outputs = self.outputs if again and self.outputs else self.forward()
        return *outputs, *torch.autograd.grad(outputs[0], self.leaves, self.grad, retain_graph=again)

    def results(self) -> tuple[Tensor, ...]:
        self.rewind()
        return self()


class Captured:
    """A call that is captured in a CUDA graph when it is first used, and replayed from then on."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.graph, self.outputs = call, None, None

    def __call__(self) -> Any:
        if self.graph is None:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.call()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.outputs = self.call()
            self.graph = graph
        self.graph.replay()
        return self.outputs


def with_graphs(calls: dict[str, Callable[[], Any]], op_pass: str, device: str) -> dict[str, Callable[[], Any]]:
    """Return the calls, and on a GPU each of them captured too; a backward pass alone cannot be."""
    if device != "cuda" or op_pass == BACKWARD:
        return calls
    return calls | {GRAPH + name: Captured(call) for name, call in calls.items()}


def contest(
    op: str,
    op_pass: str,
    device: str,
    data: dict[str, Tensor],
    ours: dict[str, Function],
    peers: dict[str, Function],
    grad: Tensor,
    work: Work,
    truth: Callable[[SimpleNamespace], Check],
    leaves: Callable[[str], Sequence[str]] | Sequence[str],
    **fields: Any,
) -> Contest:
    """Return the contest of a pass of a differentiable op.

    The functions take the inputs by name and return the outputs, of which the first is differentiated: `grad` is its
    gradient. `leaves` names the inputs that gradients reach, or says it of a version. `truth` gets the inputs, and
    `grad` among them unless the pass is forward.
    """
    leaves_of = leaves if callable(leaves) else lambda version: leaves
    reached = set() if op_pass == FORWARD else {name for version in [*ours, *peers] for name in leaves_of(version)}
    inputs = {name: t.detach().clone().requires_grad_() if name in reached else t for name, t in data.items()}
    tensors = SimpleNamespace(**inputs)

    def calls(functions: dict[str, Function]) -> dict[str, Callable[[], Any]]:
        return with_graphs(
            {
                name: Pass(op_pass, lambda f=f: f(tensors), [inputs[leaf] for leaf in leaves_of(name)], grad)
                for name, f in functions.items()
            },
            op_pass,
            device,
        )

    checked = inputs if op_pass == FORWARD else {**inputs, "grad": grad}
    return Contest(op, op_pass, checked, calls(ours), calls(peers), work, truth, **fields)
