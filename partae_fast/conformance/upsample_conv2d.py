"""upsample_conv2d and its gradients, against the reference, on the cases of conv2d_pool."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..reference import upsample_conv2d as reference
from . import conv2d_pool as conv2d
from .cases import placed
from .comparison import Output, array, error
from .conv2d_pool import Case, against_differences, gradient_calls, tensors, with_nan
from .examination import Call, examined
from .tolerances import points

# The interpreter is slow for each position that is written, so it skips these cases.
INTERPRETED = (
    *("no factors", "frames by three, bins by five", "bins by five", "by two", "not contiguous"),
    *("nothing positive", "exact ties", "NaN at one place", "no rectifier"),
    *("NaN from above", "NaN in one filter", "huge numbers", "offset in storage"),
)
TINY = [case for case in conv2d.TINY if case.name in INTERPRETED]
# The paper's largest maps, up-sampled, would make the reference slow: here they have their size after the pool.
LARGER = [
    replace(case, bins=min(case.bins, 205), frames=min(case.frames, 5)) if case.bins > 205 else case
    for case in [*(case for case in conv2d.TINY if case not in TINY), *conv2d.LARGER]
    if case.name not in ("long windows", "infinite")  # folded taps: infinity times a sum is not the sum of infinities
]
BEYOND = [
    replace(case, factors=(2, 1), frames=min(case.frames, 67), bins=min(case.bins, 521)) for case in conv2d.BEYOND
]


REPEATED = "by two"


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes, kinds and settings, which depend on the seed only."""
    return [
        case
        for case in conv2d.random_cases(seed, 2 * count)
        if case.batch * case.frames * case.bins * np.prod(case.factors) * case.channels * case.filters < 2e6
    ][:count]


@examined
def upsample_conv2d(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    out = reference.upsample_conv2d(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)
    return [
        Call((t.x, t.weight, t.bias, case.factors, case.relu), (Output("out", out, dtype, each=case.kind == "graded"),))
    ]


@examined
def upsample_conv2d_backward(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    out = reference.upsample_conv2d(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)
    grad_out, out_in = t.above(out.shape), placed(torch.tensor(out).to(dtype).to(device), case.kind)

    def gradients(above: np.ndarray, x: np.ndarray, weight: np.ndarray, out_in: np.ndarray) -> tuple[np.ndarray, ...]:
        return reference.upsample_conv2d_backward(above, x, weight, out_in, case.factors, case.relu)

    truth = with_nan(gradients, array(grad_out), array(t.x), array(t.weight), array(out_in), case.relu)
    return gradient_calls((grad_out, t.x, t.weight, out_in, case.factors, case.relu), truth, dtype, case.kind)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference: the map against loops, gradients against differences."""
    for case in TINY:
        if case.kind not in (
            "random",
            "not contiguous",
            "negative",
            "signed",
        ):  # finite differences across a tie are no gradient
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        arguments, rest = (array(t.x), array(t.weight), array(t.bias)), (case.factors, case.relu)
        out = reference.upsample_conv2d(*arguments, *rest)
        if op_pass == "upsample_conv2d":
            u = np.kron(arguments[0], np.ones((1, *case.factors, 1)))
            yield case.name, "out", error(torch.tensor(out), conv2d.loops_convolve(u, *arguments[1:], case.relu))
            continue
        g = array(t.above(out.shape))
        gradients = reference.upsample_conv2d_backward(g, *arguments[:2], out, *rest)
        yield from against_differences(
            case.name, gradients, arguments, lambda *a, g=g, rest=rest: np.sum(g * reference.upsample_conv2d(*a, *rest))
        )


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {
    "upsample_conv2d": lambda case: 9 * case.channels + 1,
    "upsample_conv2d_backward": lambda case: math.prod(case.factors) * max(9 * case.filters, points(case)),
}
