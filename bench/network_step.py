"""Contests of training steps of networks: forward pass, loss, backward pass and optimizer.

A step is made on a batch that is already in memory. partae's version is its model with its optimizer. A peer is the
same model with the ops of `network_ops.py`, eager or compiled, and torch.optim's optimizer in its fastest form.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from partae_fast import functional
from partae_fast.kernels import OPS, backends, resolve
from partae_fast.training.optimizers import OPTIMIZERS, Optimizer

from . import peers
from .common import LOSS_GATES, Check, Contest, Deviation, deviation
from .maps import CHANNELS_FIRST
from .network_ops import Ops, ops_of, replaced
from .passes import STEP
from .timing import Work

# Steps whose losses are checked. Those after the first have the gate of training steps: where a gradient is 0 but for
# rounding, Adam's first updates are as large as elsewhere, and of either sign.
STEPS = 3
# Largest error of a network's gradients. Of the 131,072 outputs of a layer, four may lie so close to the kink of their
# activation that rounding selects the other slope, which changes a gradient by sqrt(4 / 131,072).
KINKS = 5.5e-3


@dataclass(frozen=True)
class Network:
    """A network and how it is trained.

    `model` returns a new model with the same initial weights each time. `inputs` are the tensors of a batch, by name,
    in the order in which the model takes them. Gradients of the parameters in `unchecked` are not compared: they are 0
    but for rounding.
    """

    model: Callable[[], Any]
    inputs: dict[str, Tensor]
    work: float  # additions and multiplications of a step's products
    optimizer: str
    learning_rate: float
    options: dict[str, float] = field(default_factory=dict)
    penalty: float = 0.0
    unchecked: tuple[str, ...] = ()


class _Training:
    """A training run of a network on one batch; `rewind` restarts it from the initial weights.

    The checked steps drop no units, because versions draw the dropped units in different ways.
    """

    def __init__(
        self, network: Network, model: Any, batch: Sequence[Tensor], backend: str, ops: Ops, loss: Callable[..., Tensor]
    ) -> None:
        self.network, self.model, self.batch, self.backend, self.loss = network, model, tuple(batch), backend, loss
        self.ops, self.checked_ops = ops, {**ops, "dense": _without_dropout(ops.get("dense", functional.dense))}
        self.parameters = dict(model.named_parameters())
        self.initial = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items() if _is_array(tensor)
        }
        self.names = [name for name in self.parameters if name not in network.unchecked]  # of compared gradients
        self.number = 0

    def rewind(self) -> None:
        self.number = 0
        state = self.model.state_dict()
        with torch.no_grad():
            for name, tensor in self.initial.items():
                state[name].copy_(tensor)
        self.restart_optimizer()

    def restart_optimizer(self) -> None:
        """Restore the initial state of the optimizer."""
        raise NotImplementedError

    def update(self) -> None:
        """Update the weights by their gradients."""
        raise NotImplementedError

    def __call__(self) -> Tensor:
        return self._step(self.ops)

    def _step(self, ops: Ops) -> Tensor:
        for parameter in self.parameters.values():
            parameter.grad = None
        with replaced(ops):
            loss = self.loss(self.model, self.batch, self.network.penalty, self.backend)
            loss.backward()
        self.update()
        self.number += 1
        return loss.detach()

    def results(self) -> tuple[Tensor, ...]:
        """Return the losses of the first STEPS steps and the gradients of the first step."""
        self.rewind()
        losses = [self._step(self.checked_ops)]
        gradients = [self._gradient(name) for name in self.names]
        losses += [self._step(self.checked_ops) for _ in range(STEPS - 1)]
        return torch.stack(losses), *gradients

    def _gradient(self, name: str) -> Tensor:
        gradient = self.parameters[name].grad
        assert gradient is not None, f"{name} has no gradient"
        return gradient.clone()


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _without_dropout(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function of a dense layer with dropout 0."""

    def dense(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, *args: Any, backend: str = "") -> Tensor:
        return function(x, weight, bias, activation, backend=args[-1] if args else backend)

    return dense


class _Ours(_Training):
    """partae's model with partae's optimizer."""

    def __init__(self, network: Network, model: Any, batch: Sequence[Tensor], backend: str) -> None:
        ops: Ops = {}
        if backend not in ("auto", *backends()):
            ops, backend = _with_candidate(backend), "auto"
        super().__init__(network, model, batch, backend, ops, _loss)
        options = {**network.options, "learning_rate": network.learning_rate}
        self.optimizer = Optimizer(network.optimizer, self.parameters, options)

    def restart_optimizer(self) -> None:
        for tensor in self.optimizer.tensors().values():
            tensor.zero_()

    def update(self) -> None:
        self.optimizer.step(self.number)


class _Peer(_Training):
    """The model with ops in plain PyTorch and torch.optim's optimizer; `options` are those of torch.compile."""

    def __init__(
        self, network: Network, model: Any, batch: Sequence[Tensor], version: str, options: dict[str, Any] | None
    ) -> None:
        loss = _loss if options is None else torch.compile(_loss, **options)
        super().__init__(network, model, batch, "", ops_of(version), loss)
        self.clip = network.options.get("clip")
        fused, self.optimizer = _torch_optimizer(network, list(self.parameters.values()))
        self._update: Callable[[], Any] = self.optimizer.step
        if options is not None and not fused:
            self._update = torch.compile(self.optimizer.step, **options)

    def restart_optimizer(self) -> None:
        for state in self.optimizer.state.values():
            for name, value in state.items():
                value.fill_(1.0 if name == "mu_product" else 0.0)

    def update(self) -> None:
        self._update()
        if self.clip is not None:
            with torch.no_grad():
                for parameter in self.parameters.values():
                    parameter.clamp_(-self.clip, self.clip)


def _loss(model: Any, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
    return model.training_loss(batch, penalty, backend)


def _torch_optimizer(network: Network, parameters: list[Tensor]) -> tuple[bool, torch.optim.Optimizer]:
    """Return whether torch.optim has the network's optimizer as one fused pass, and the optimizer."""
    options = {**OPTIMIZERS[network.optimizer].options, **network.options, "learning_rate": network.learning_rate}
    if network.optimizer == "clipped_sgd":
        return True, torch.optim.SGD(parameters, lr=options["learning_rate"], momentum=options["momentum"], fused=True)
    form: Any = {"adam": partial(torch.optim.Adam, fused=True), "nadam": torch.optim.NAdam}[network.optimizer]
    betas = (options["beta1"], options["beta2"])
    return network.optimizer == "adam", form(
        parameters, lr=options["learning_rate"], betas=betas, eps=options["epsilon"]
    )


def _with_candidate(name: str) -> Ops:
    """Return the ops for which a candidate of this name is registered, with the candidate as their back-end."""
    functions = {op: op if op in functional.__all__ else f"{op}_loss" for op in OPS}
    return {
        function: _at(getattr(functional, function), name) for op, function in functions.items() if _takes(op, name)
    }


def _takes(op: str, name: str) -> bool:
    """Return whether a candidate of this name is registered for the op."""
    try:
        return bool(resolve(op, name, torch.device("cpu"), torch.float32))
    except ValueError:
        return False


def _at(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Return the function of an op with this back-end, whatever back-end its caller gives."""
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments["backend"] = backend
        return function(*bound.args, **bound.kwargs)

    return call


def contest(name: str, network: Network, device: str, ours: Sequence[str], versions: Sequence[str]) -> Contest:
    """Return the contest of a network's training step: partae's back-ends and the peers `versions`."""
    inputs = {name: tensor.to(device) for name, tensor in network.inputs.items()}
    batch = list(inputs.values())

    def model() -> Any:
        return network.model().to(device)

    def options(version: str) -> dict[str, Any] | None:
        return peers.compiled_ways(device).get(version.removesuffix(CHANNELS_FIRST))

    def check_of(copies: SimpleNamespace) -> Check:
        truth = _Peer(network, model().double(), list(vars(copies).values()), CHANNELS_FIRST, None)
        losses, *gradients = truth.results()

        def check(outputs: Sequence[Tensor]) -> Iterator[Deviation]:
            yield deviation("the first loss", outputs[0][:1], losses[:1], terms)
            yield deviation("the later losses", outputs[0][1:], losses[1:], allowance=LOSS_GATES["float32"])
            for name, result, gradient in zip(truth.names, outputs[1:], gradients, strict=True):
                yield deviation(f"gradient of {name}", result, gradient, terms, KINKS)

        return check

    terms = max(tensor.numel() for tensor in inputs.values())  # more than in any sum of a layer or of its gradients
    weights = sum(parameter.numel() for parameter in network.model().parameters())
    moments = len(OPTIMIZERS[network.optimizer].state)
    return Contest(
        name,
        STEP,
        inputs,
        ours={name: _Ours(network, model(), batch, name) for name in ours},
        peers={name: _Peer(network, model(), batch, name, options(name)) for name in versions},
        work=Work(network.work, 4.0 * (1 + moments) * weights),
        truth=check_of,
        by_library=True,
        cold=False,
    )
