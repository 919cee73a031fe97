"""encode and its gradients, against the reference."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..reference import encode as reference
from . import cases
from .cases import Case, tensors
from .comparison import WRONG, Output, array
from .examination import Call, examined
from .tolerances import pool_windows

TINY, LARGER, BEYOND, random_cases = cases.TINY + cases.NUMBERS, cases.LARGER, cases.BEYOND, cases.random_cases
UNINTERPRETED = (*cases.UNINTERPRETED, *cases.OF_LOSSES)


def _arguments(case: Case, t: SimpleNamespace) -> tuple:
    """Return the reference's arguments, from x to negative_slope."""
    return array(t.x), array(t.w_enc), case.pool, array(t.mean), array(t.std), case.negative_slope


@examined
def encode(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    values, positions = reference.encode(*_arguments(case, t))
    activations = reference.activations(array(t.x), array(t.w_enc), array(t.mean), array(t.std), case.negative_slope)
    outputs = (
        Output("values", values, dtype, each=case.kind == "graded"),
        Output(
            "positions",
            positions,
            torch.int32,
            compare=lambda result: _misplacement(case, result, activations, values, positions, tolerance),
        ),
    )
    return [
        Call(
            (t.x, t.w_enc, case.pool, t.mean, t.std),
            outputs,
            {"negative_slope": case.negative_slope} if case.negative_slope else {},
        )
    ]


def _misplacement(
    case: Case, result: Tensor, activations: np.ndarray, values: np.ndarray, positions: np.ndarray, tolerance: float
) -> float:
    """Return 0 if the activation at every position is the maximum of its window, to within the tolerance.

    In a window with a NaN the position must be that of a NaN.
    """
    frames = array(result)
    windows = np.arange(values.shape[1])[None, :, None]
    if (frames < windows * case.pool).any() or (frames >= np.minimum((windows + 1) * case.pool, case.frames)).any():
        return WRONG
    chosen = np.take_along_axis(activations, frames.astype(np.int64), axis=1)
    defined = np.isfinite(values)
    if (
        not np.array_equal(np.isnan(chosen), np.isnan(values))
        or (chosen == np.inf)[values == np.inf].sum() != (values == np.inf).sum()
    ):
        return WRONG
    axes = (1, 2) if case.kind == "graded" else None
    scale = np.sqrt(np.mean(np.where(defined, values, 0.0) ** 2, axis=axes, keepdims=True))
    near = np.abs(np.where(defined, chosen - values, 0.0)) <= tolerance * scale
    # Sums of small integers are exact in every type: the first of equal maxima must win, also in a window of zeros.
    exact = case.kind == "ties" or (case.kind == "negative" and not case.negative_slope)
    right = (frames == positions) | (near & (not exact))
    return 0.0 if right[defined].all() else WRONG


@examined
def encode_backward(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    t.x.nan_to_num_(nan=torch.nan, posinf=3.0, neginf=-3.0)  # infinity times 0 depends on which products are skipped
    values, positions = reference.encode(*_arguments(case, t))
    values_in = cases.placed(torch.tensor(values).to(dtype).to(device), case.kind)
    positions_in = cases.placed(torch.tensor(positions).to(device), case.kind)
    above = array(t.grad_values)
    pooled = array(values_in), positions, case.pool
    x, w_enc, _, mean, std, negative_slope = _arguments(case, t)
    truth = _gradients(above, x, w_enc, *pooled, mean, std, negative_slope)

    def outputs(need_x: bool, need_w: bool) -> tuple[Output, ...]:
        return tuple(
            Output(
                name,
                gradient if need else None,
                dtype,
                free,
                each=case.kind == "graded" and name == "x",
                endless=case.kind == "infinite above",
            )
            for name, need, (gradient, free) in zip(("x", "w_enc"), (need_x, need_w), truth, strict=True)
        )

    def call(need_x: bool, need_w: bool, name: str) -> Call:
        arguments = t.grad_values, t.x, t.w_enc, values_in, positions_in, case.pool, t.mean, t.std, need_x, need_w
        return Call(
            arguments,
            outputs(need_x, need_w),
            {"negative_slope": case.negative_slope} if case.negative_slope else {},
            name,
        )

    return [call(True, True, ""), call(True, False, "x alone: "), call(False, True, "w_enc alone: ")]


def _gradients(
    above: np.ndarray,
    x: np.ndarray,
    w_enc: np.ndarray,
    values: np.ndarray,
    positions: np.ndarray,
    pool: int,
    mean: np.ndarray | None,
    std: np.ndarray | None,
    negative_slope: float,
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the gradients of x and filters, and masks of elements that may be NaN although they need not.

    A NaN, or infinity, spreads to its products with a gradient that is not 0. A NaN value passes its gradient. Products
    with a gradient that the pool made 0 are NaN in dense arithmetic and skipped in sparse arithmetic; on a GPU a NaN
    may spread to everything in reach of its window, which is the whole item here.
    """
    dense = reference.encode_backward(above, x, w_enc, values, positions, pool, mean, std, negative_slope)
    bad_above, bad_x, bad_w = ((~np.isfinite(part)).astype(float) for part in (above, x, w_enc))
    if not any(bad.any() for bad in (bad_above, bad_x, bad_w)):
        return [(gradient, None) for gradient in dense]
    passing = np.where(np.isnan(values), 1.0, values)
    clean_above, clean_x, clean_w = (np.where(np.isfinite(part), part, 0.0) for part in (above, x, w_enc))
    sparse = reference.encode_backward(
        clean_above, clean_x, clean_w, passing, positions, pool, mean, std, negative_slope
    )
    alive = (passing > 0) | (negative_slope > 0)
    places = np.ones(alive.shape), positions, pool
    some, ones = (alive & (above != 0)).astype(float), np.ones_like(w_enc)
    from_above = reference.encode_backward(alive * bad_above, np.ones_like(x), ones, *places)
    _, from_x = reference.encode_backward(some, bad_x, ones, *places)
    from_w, _ = reference.encode_backward(some, np.ones_like(x), bad_w, *places)
    reached = from_above[0] + from_w > 0, from_above[1] + from_x > 0
    odd = bad_above.any((1, 2), keepdims=True), np.zeros(1, bool)
    return [
        (np.where(r, np.nan, s), ~np.isfinite(d) | o) for d, s, r, o in zip(dense, sparse, reached, odd, strict=True)
    ]


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {
    "encode": lambda case: case.taps * case.bins,
    "encode_backward": lambda case: max(case.taps * case.latents, pool_windows(case)),
}
