# pyright: reportCallIssue=false
"""CPU kernels of AdaDelta and NAdam, which torch.optim computes by many passes over memory, with temporary tensors.

AdaDelta is that of whole training steps. NAdam's formula is that of Dozat 2016, as in torch.optim.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..kernels._cpu.jit import kernel
from ..kernels._cpu.threads import next_unit, spread
from ..kernels.train_steps.cpu import RULE_NUMBERS, step_slice

UNIT = 1 << 14  # weights in a unit of work: with their state, 256 KB of float32
OPERATIONS = 10  # of an update of a weight, about
ADADELTA = RULE_NUMBERS["adadelta"]


@kernel
def _adadelta(counters, weight, gradient, square, delta, settings):
    unit = next_unit(counters, -1)
    while unit >= 0:
        step_slice(
            ADADELTA, weight, gradient, (square, delta), settings, unit * UNIT, min(weight.size, (unit + 1) * UNIT)
        )
        unit = next_unit(counters, unit)


@kernel
def _nadam(counters, weight, gradient, mean, square, numbers):
    gradient_rate, mean_rate, decay, kept1, added1, kept2, added2, correction, small = numbers
    unit = next_unit(counters, -1)
    while unit >= 0:
        begin = np.uint64(unit * UNIT)
        for i in range(begin, np.uint64(min(weight.size, (unit + 1) * UNIT))):
            g = gradient[i] + decay * weight[i]
            m = kept1 * mean[i] + added1 * g
            s = kept2 * square[i] + added2 * g * g
            mean[i], square[i] = m, s
            weight[i] -= (gradient_rate * g + mean_rate * m) / (np.sqrt(s * correction) + small)
        unit = next_unit(counters, unit)


RULES = {"adadelta": _adadelta, "nadam": _nadam}


def update(rule: str, weight: Tensor, state: Sequence[Tensor], numbers: Sequence[float]) -> None:
    """Update a parameter and its state, in place, by its gradient.

    Args:
        rule: one of `RULES`.
        weight: contiguous, float32 or float64, on the CPU, with a gradient.
        state: tensors of the rule, contiguous, of the same type.
        numbers: of the rule's kernel.
    """
    assert weight.grad is not None, "the parameter has no gradient"
    arrays = [tensor.detach().contiguous().view(-1).numpy() for tensor in (weight, weight.grad, *state)]
    typed = tuple(arrays[0].dtype.type(number) for number in numbers)
    spread(RULES[rule], -(-weight.numel() // UNIT), OPERATIONS * weight.numel(), *arrays, typed)
