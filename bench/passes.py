"""Contests of one pass of a differentiable op: forward, backward or both."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .common import GRAPH, Check, Contest
from .timing import Work

COMPILED_OURS = "torch.compile of "  # prefix of the name of a version that is partae's op in compiled code
FORWARD, BACKWARD, BOTH = "forward", "backward", "both"
STEP = "step"  # a whole training step
PASSES = (FORWARD, BACKWARD, BOTH)
Function = Callable[[SimpleNamespace], tuple[Tensor, ...]]  # takes the inputs by name


class Pass:
    """A call of one pass of a version; `rewind` runs the forward pass that a backward pass needs."""

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
        backward_only = self.op_pass == BACKWARD
        outputs = self.outputs if backward_only and self.outputs else self.forward()
        return *outputs, *torch.autograd.grad(outputs[0], self.leaves, self.grad, retain_graph=backward_only)

    def results(self) -> tuple[Tensor, ...]:
        self.rewind()
        return self()


class Captured:
    """A call that is captured in a CUDA graph when it is first made, and replayed afterwards."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.graph, self.outputs = call, None, None

    def __call__(self) -> Any:
        if self.graph is None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self.call()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.outputs = self.call()
            self.graph = graph
        self.graph.replay()
        return self.outputs


def with_graphs(calls: dict[str, Callable[[], Any]], op_pass: str, device: str) -> dict[str, Callable[[], Any]]:
    """Return the calls and, on a GPU, each call captured in a graph, except for backward passes."""
    if device != "cuda" or op_pass == BACKWARD:
        return calls
    return calls | {GRAPH + name: Captured(call) for name, call in calls.items()}


def with_compiled(functions: dict[str, Callable[..., Any]], device: str) -> dict[str, Callable[..., Any]]:
    """Return partae's functions and, on a GPU, each compiled: around a kernel it leaves out checks and dispatch."""
    if device != "cuda":
        return functions
    return functions | {COMPILED_OURS + name: torch.compile(function) for name, function in functions.items()}


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

    The functions take the inputs by name and return the outputs. The first output is differentiated, and `grad` is its
    gradient. `leaves` names the inputs whose gradients are computed, or is a function that names them for a version.
    `truth` gets copies of the inputs and, unless the pass is forward, of `grad`.
    """
    ours = with_compiled(ours, device)
    leaves_of = leaves if callable(leaves) else lambda version: leaves
    with_grad = set() if op_pass == FORWARD else {name for version in [*ours, *peers] for name in leaves_of(version)}
    inputs = {name: t.detach().clone().requires_grad_() if name in with_grad else t for name, t in data.items()}
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
