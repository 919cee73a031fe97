"""A step of each optimiser, against the reference."""

from typing import Any

import torch

from ..kernels.optimiser import EVERY_RULE
from ..reference.optimisers import OPTIMISERS
from .cases import Case, array, error, tensors, twice

# None of them a default, and such that a step is not small beside the weights that it changes.
OPTIONS = {
    "adadelta": {"learning_rate": 0.05, "rho": 0.9, "epsilon": 0.3, "weight_decay": 0.4},
    "adam": {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3},
    "sgd": {"learning_rate": 1e-4, "momentum": 0.7, "weight_decay": 2.0},
    "nesterov": {"learning_rate": 1e-4, "momentum": 0.8, "weight_decay": 3.0},
    "nadam": {
        "learning_rate": 0.03,
        "beta1": 0.8,
        "beta2": 0.9,
        "epsilon": 1e-3,
        "weight_decay": 0.2,
        "momentum_decay": 0.3,
    },
    "clipped_sgd": {"learning_rate": 0.01, "momentum": 0.7, "weight_decay": 2.0, "clip": 0.6},
}
STEP = 3


def adadelta(case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float) -> dict[str, float]:
    return _check("adadelta", case, implementation, dtype, device)


def adam(case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float) -> dict[str, float]:
    return _check("adam", case, implementation, dtype, device)


def sgd(case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float) -> dict[str, float]:
    return _check("sgd", case, implementation, dtype, device)


def nesterov(case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float) -> dict[str, float]:
    return _check("nesterov", case, implementation, dtype, device)


def nadam(case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float) -> dict[str, float]:
    return _check("nadam", case, implementation, dtype, device)


def clipped_sgd(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, _: float
) -> dict[str, float]:
    return _check("clipped_sgd", case, implementation, dtype, device)


def _check(rule: str, case: Case, implementation: Any, dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    t = tensors(case, dtype, device)
    weight, gradient = t.w_dec.contiguous(), t.w_dec.flip(2).square() - 0.5
    names = EVERY_RULE[rule].state
    state = tuple(t.w_dec.flip(axis).square().contiguous() for axis in range(len(names)))

    def run() -> tuple[torch.Tensor, ...]:
        changed = weight.clone(), *(part.clone() for part in state)
        getattr(implementation, rule)(changed[0], gradient, changed[1:], STEP, OPTIONS[rule])
        return changed

    (new_weight, *new_state), bits = twice(run)
    before = {name: array(part) for name, part in zip(names, state, strict=True)}
    truth, after = OPTIMISERS[rule](array(weight), array(gradient), before, STEP, **OPTIONS[rule])
    errors = {name: error(part, after[name]) for name, part in zip(names, new_state, strict=True)}
    return {"weight": error(new_weight, truth), **errors, "bits": bits}
