"""The optimizers of training: torch.optim's, or in one pass on the CPU, by partae's names for options and state."""

import contextlib
import functools
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..kernels import backends
from ..kernels.train_steps.optimizer import RULES, Rule, settings_at

# Those of whole-step launches, Nesterov Adam, and SGD that clamps weights to [-clip, clip] after each step.
OPTIMIZERS = RULES | {
    "nadam": Rule(RULES["adam"].state, {**RULES["adam"].options, "learning_rate": 2e-3, "momentum_decay": 4e-3}),
    "clipped_sgd": Rule(RULES["sgd"].state, {**RULES["sgd"].options, "clip": 1.0}),
}
# torch.optim's names of the state tensors, in the order of a rule's.
_TORCH_STATE = {
    "adadelta": ("square_avg", "acc_delta"),
    "adam": ("exp_avg", "exp_avg_sq"),
    "nadam": ("exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
    "nesterov": ("momentum_buffer",),
    "clipped_sgd": ("momentum_buffer",),
}
# On the CPU torch.optim starts OpenMP's threads for a few thousand weights. They then spin on the cores that the next
# step's kernels need, so fewer weights than these are updated by one thread.
_WEIGHTS_FOR_THREADS = 1 << 18


_SLOW = ("adadelta", "nadam")  # torch.optim makes many passes over memory; `updates_cpu` makes one


class Optimizer:
    """The steps of an optimizer over named parameters, by partae's numbering of steps.

    They are torch.optim's. AdaDelta and NAdam, for which torch.optim has no fused form, are kernels of partae on a CPU,
    which agree with it but for rounding.

    Attributes:
        name: one of `OPTIMIZERS`.
        options: the optimizer's options by name, defaults included. Every optimizer has weight_decay, >= 0: this times
            a parameter is added to its gradient; no reported loss includes it.
        state: the state tensors of each parameter, in the order of `OPTIMIZERS[name].state`, zeros before the first
            step. torch.optim holds the same tensors, so a run may alternate between steps of this class and
            whole-step launches.
        factors: factors of the learning rate, by prefix of the names of the parameters that they apply to; the prefixes
            are fixed at the first step. Whole-step launches have none.

    Raises UserError for an unknown optimizer or option, and for an option out of range.
    """

    def __init__(self, name: str, parameters: dict[str, Tensor], options: dict[str, float]) -> None:
        if name not in OPTIMIZERS:
            raise UserError(f"optimizer {name!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
        unknown = sorted(set(options) - set(OPTIMIZERS[name].options))
        if unknown:
            raise UserError(f"{name} has no option {unknown[0]!r}; it has {', '.join(OPTIMIZERS[name].options)}")
        self.name, self.parameters = name, parameters
        self.options = {**OPTIMIZERS[name].options, **options}
        for option in ("weight_decay", "epsilon", "momentum", "momentum_decay"):
            if not 0 <= self.options.get(option, 0.0) < inf:
                raise UserError(f"{option} is {self.options[option]}; it must be 0 or more")
        for option in ("rho", "beta1", "beta2"):
            if not 0 <= self.options.get(option, 0.0) < 1:
                raise UserError(f"{option} is {self.options[option]}; it must be from 0 up to, not including, 1")
        if not self.options.get("clip", 1.0) > 0:
            raise UserError(f"clip is {self.options['clip']}; it must be above 0; weights are clamped to [-clip, clip]")
        count = len(OPTIMIZERS[name].state)
        self.state = {n: tuple(torch.zeros_like(p) for _ in range(count)) for n, p in parameters.items()}
        self._optimizer: torch.optim.Optimizer | None = None  # made at the first step: it imports torch._dynamo
        self.factors: dict[str, float] = {}
        self._next_step = -1  # the step that torch.optim's own counters stand at
        weights = sum(p.numel() for p in parameters.values())
        on_cpu = all(p.device.type == "cpu" for p in parameters.values())
        self._threads = _one_thread if on_cpu and weights < _WEIGHTS_FOR_THREADS else contextlib.nullcontext
        types = {p.dtype for p in parameters.values()}
        contiguous = all(p.is_contiguous() for p in parameters.values())
        suitable = on_cpu and contiguous and types <= {torch.float32, torch.float64}
        self._in_one_pass = name in _SLOW and suitable and backends()["cpu"].available

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.options["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.options["learning_rate"] = value
        if self._optimizer:
            for group in self._optimizer.param_groups:
                group["lr"] = value * self.factors.get(group["prefix"], 1.0)

    def step(self, number: int) -> None:
        """Update every parameter that has a gradient; steps are numbered from 0."""
        if self._in_one_pass:
            self._update(number)
            return
        if self._optimizer is None:
            self._optimizer = self._make()
        if number != self._next_step:
            self._count(self.parameters, number)
        with self._threads():
            self._optimizer.step()
            if "clip" in self.options:
                self._clip(self.options["clip"])
        without_gradient = {n: p for n, p in self.parameters.items() if p.grad is None}
        self._count(without_gradient, number + 1)  # torch.optim counts the steps of each parameter
        self._next_step = number + 1

    def _update(self, number: int) -> None:
        from . import updates_cpu  # imported here because importing Numba is slow

        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                rate = self.learning_rate * self.factors.get(self._prefix(name), 1.0)
                numbers = _numbers(self.name, self.options, rate, number)
                updates_cpu.update(self.name, parameter, self.state[name], numbers)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state tensors by PARAMETER.NAME."""
        names = OPTIMIZERS[self.name].state
        return {f"{p}.{n}": t for p, state in self.state.items() for n, t in zip(names, state, strict=True)}

    def _make(self) -> torch.optim.Optimizer:
        options, parameters = self.options, self._groups()
        common: dict[str, Any] = {"lr": options["learning_rate"], "weight_decay": options["weight_decay"]}
        optimizer: torch.optim.Optimizer
        if self.name == "adadelta":
            optimizer = torch.optim.Adadelta(parameters, rho=options["rho"], eps=options["epsilon"], **common)
        elif self.name in ("adam", "nadam"):
            common |= {"betas": (options["beta1"], options["beta2"]), "eps": options["epsilon"]}
            if self.name == "adam":
                optimizer = torch.optim.Adam(parameters, fused=True, **common)
            else:
                optimizer = torch.optim.NAdam(parameters, momentum_decay=options["momentum_decay"], **common)
        else:
            momentum = options["momentum"]
            nesterov = self.name == "nesterov" and momentum > 0  # without momentum it is plain SGD
            optimizer = torch.optim.SGD(parameters, momentum=momentum, nesterov=nesterov, fused=True, **common)
        for name, parameter in self.parameters.items():
            optimizer.state[parameter] = dict(zip(_TORCH_STATE[self.name], self.state[name], strict=True))
            if _TORCH_STATE[self.name] != ("momentum_buffer",):
                device = parameter.device if self.name == "adam" else "cpu"  # of fused Adam's counter
                optimizer.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=device)
            if self.name == "nadam":
                optimizer.state[parameter]["mu_product"] = torch.ones(())
        return optimizer

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters by the prefix of their factor, with their learning rates, for torch.optim."""
        groups: dict[str, list[Tensor]] = {}
        for name, parameter in self.parameters.items():
            groups.setdefault(self._prefix(name), []).append(parameter)
        return [
            {"params": group, "prefix": prefix, "lr": self.learning_rate * self.factors.get(prefix, 1.0)}
            for prefix, group in groups.items()
        ]

    def _prefix(self, name: str) -> str:
        """Return the prefix of `factors` that a parameter has; "" if it has none."""
        return next((prefix for prefix in self.factors if name.startswith(prefix)), "")

    def _count(self, parameters: dict[str, Tensor], number: int) -> None:
        """Set torch.optim's counters of these parameters to step `number`."""
        assert self._optimizer
        for parameter in parameters.values():
            state = self._optimizer.state[parameter]
            if "step" in state:
                state["step"].fill_(number)
            if "mu_product" in state:
                state["mu_product"].fill_(_momenta(self.options["beta1"], self.options["momentum_decay"], number))

    def _clip(self, bound: float) -> None:
        with torch.no_grad():
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.clamp_(-bound, bound)


def _numbers(name: str, options: dict[str, float], rate: float, step: int) -> tuple[float, ...]:
    """Return the numbers of a kernel of `updates_cpu` at step number `step`, from 0."""
    if name == "adadelta":
        return settings_at(name, step, {**options, "learning_rate": rate})
    beta1, beta2, momentum_decay = options["beta1"], options["beta2"], options["momentum_decay"]
    now, following = (_momentum(beta1, momentum_decay, step + n) for n in (1, 2))
    product = _momenta(beta1, momentum_decay, step + 1)
    rates = rate * (1 - now) / (1 - product), rate * following / (1 - product * following)
    return (
        *rates,
        options["weight_decay"],
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        1 / (1 - beta2 ** (step + 1)),
        options["epsilon"],
    )


def _momentum(beta1: float, decay: float, step: int) -> float:
    """Return NAdam's momentum at a step, counted from 1 (Dozat 2016)."""
    return beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))


@functools.lru_cache(maxsize=16)  # every parameter needs that of the same step
def _momenta(beta1: float, decay: float, steps: int) -> float:
    """Return the product of NAdam's momenta over the first `steps` steps, rounded as torch.optim rounds it."""
    product = np.float32(1.0)
    for step in range(1, steps + 1):
        product *= np.float32(_momentum(beta1, decay, step))
        if product < 2**-64:  # 1 - product is 1 from here on
            break
    return float(product)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch's CPU operations in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
