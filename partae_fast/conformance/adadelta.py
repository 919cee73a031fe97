"""A step of adadelta, against the reference."""

from typing import Any

import torch

from ..reference import optimisers as reference
from .cases import Case, array, error, tensors, twice

LEARNING_RATE, RHO, EPSILON = 0.7, 0.9, 1e-4  # none of them a default


def adadelta(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    t = tensors(case, dtype, device)
    weight, gradient = t.w_dec.contiguous(), t.w_dec.flip(2).square() - 0.5
    square, delta = t.w_dec.square().contiguous(), t.w_dec.flip(1).square().contiguous()

    def run() -> tuple[torch.Tensor, ...]:
        changed = weight.clone(), square.clone(), delta.clone()
        implementation.adadelta(changed[0], gradient, *changed[1:], LEARNING_RATE, RHO, EPSILON)
        return changed

    (new_weight, new_square, new_delta), bits = twice(run)
    state = {"square": array(square), "delta": array(delta)}
    truth, state = reference.adadelta(array(weight), array(gradient), state, LEARNING_RATE, RHO, EPSILON)
    return {
        "weight": error(new_weight, truth),
        "square": error(new_square, state["square"]),
        "delta": error(new_delta, state["delta"]),
        "bits": bits,
    }
