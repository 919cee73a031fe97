"""upsample_conv2d and its gradients, against the reference, on the cases of conv2d_pool."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..reference import upsample_conv2d as reference
from . import conv2d_pool as conv2d
from .cases import WRONG, array, error, twice
from .conv2d_pool import Case, against_differences, gradient_errors, tensors

# Interpreted, each place that is written costs: the other small cases are left to the back-ends that need no patience.
INTERPRETED = (
    *("no factors", "frames by three, bins by five", "bins by five", "by two", "not contiguous"),
    *("nothing positive", "exact ties", "NaN at one place", "no rectifier"),
)
TINY = [case for case in conv2d.TINY if case.name in INTERPRETED]
# Up-sampled, the paper's largest maps would make the reference slow: here they are what they are after their pool.
LARGER = [
    replace(case, bins=min(case.bins, 205), frames=min(case.frames, 5)) if case.bins > 205 else case
    for case in [*(case for case in conv2d.TINY if case not in TINY), *conv2d.LARGER]
    if case.name != "long windows"
]


def upsample_conv2d(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    t = tensors(case, dtype, device)
    (out,), bits = twice(lambda: (implementation.upsample_conv2d(t.x, t.weight, t.bias, case.factors, case.relu),))
    truth = reference.upsample_conv2d(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)
    return {"types": 0.0 if out.dtype == dtype else WRONG, "out": error(out, truth), "bits": bits}


def upsample_conv2d_backward(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    out = reference.upsample_conv2d(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)
    grad_out, held = t.draw(out.shape), torch.tensor(out).to(dtype).to(device)
    truth = reference.upsample_conv2d_backward(
        array(grad_out), array(t.x), array(t.weight), array(held), case.factors, case.relu
    )
    return gradient_errors(
        lambda *needed: implementation.upsample_conv2d_backward(
            grad_out, t.x, t.weight, held, case.factors, case.relu, *needed
        ),
        truth,
    )


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """(case, quantity, relative error) of the reference: the map against loops, gradients against differences."""
    for case in TINY:
        if case.kind in ("nan", "ties"):  # a difference across a tie has no gradient to agree with
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        given, rest = (array(t.x), array(t.weight), array(t.bias)), (case.factors, case.relu)
        out = reference.upsample_conv2d(*given, *rest)
        if op_pass == "upsample_conv2d":
            u = np.kron(given[0], np.ones((1, *case.factors, 1)))
            yield case.name, "out", error(torch.tensor(out), conv2d.loops_convolve(u, *given[1:], case.relu))
            continue
        g = array(t.draw(out.shape))
        found = reference.upsample_conv2d_backward(g, *given[:2], out, *rest)
        yield from against_differences(
            case.name, found, given, lambda *a, g=g, rest=rest: np.sum(g * reference.upsample_conv2d(*a, *rest))
        )
