"""A step of each optimiser, against the reference."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels.optimiser import EVERY_RULE
from ..reference.optimisers import OPTIMISERS
from . import cases
from .cases import Case, generator
from .comparison import Output, array
from .examination import Call, Check
from .memory import offset, strided

_KINDS = ("random", "not contiguous", "offset", "nan above", "graded")
TINY = [case for case in cases.TINY + cases.NUMBERS if case.kind in _KINDS]
LARGER, BEYOND, random_cases = cases.LARGER, [case for case in cases.BEYOND if case.frames < 20_000], cases.random_cases

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
# Steps of early and of late training, by the parity of the case's frames: late ones are beyond 16 bits.
STEPS = (3, 65_538)


def _in_place(rule: Callable) -> Callable:
    """The rule as a function that changes no argument, and returns the weight and its state after a step."""

    def stepped(weight: Tensor, gradient: Tensor, *state_and_settings: Any) -> tuple[Tensor, ...]:
        *state, step, options = state_and_settings
        weight, state = weight.clone(), tuple(part.clone() for part in state)
        result = rule(weight, gradient, state, step, dict(options))
        if result is not None:
            raise ValueError("an optimiser's rule changes weight and state in place, and returns None")
        return weight, *state

    return stepped


def _check(rule: str) -> Check:
    def build(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
        rng, shape = generator(case.name, draw), (case.taps, case.latents, case.bins)
        names, step = EVERY_RULE[rule].state, STEPS[case.frames % 2]

        def tensor(numbers: np.ndarray) -> Tensor:
            return torch.tensor(numbers).to(dtype).to(device)

        gradient = rng.standard_normal(shape)
        if case.kind == "nan above":
            gradient[0, 0, 0] = np.nan
        if case.kind == "graded":  # of many scales, from 1e-8 to 1e8
            gradient *= 10.0 ** rng.uniform(-8, 8, shape)
        above = {"not contiguous": strided, "offset": offset}.get(case.kind, lambda t: t)(tensor(gradient))
        weight = tensor(rng.standard_normal(shape))
        state = tuple(tensor(rng.standard_normal(shape) ** 2) for _ in names)
        before = {name: array(part) for name, part in zip(names, state, strict=True)}
        learned, after = OPTIMISERS[rule](array(weight), array(above), before, step, **OPTIONS[rule])
        outputs = [Output("weight", learned, dtype), *(Output(name, after[name], dtype) for name in names)]
        return [Call((weight, above, *state, step, tuple(OPTIONS[rule].items())), tuple(outputs))]

    return Check(rule, build, _in_place)


adadelta, adam, sgd, nesterov, nadam, clipped_sgd = (_check(rule) for rule in EVERY_RULE)


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = dict.fromkeys(EVERY_RULE, lambda case: 1)
