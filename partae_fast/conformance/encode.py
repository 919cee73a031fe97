"""encode and its gradients, against the reference."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..reference import encode as reference
from .cases import WRONG, Case, array, error, tensors, twice


def _truth(case: Case, t: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    return reference.encode(array(t.x), array(t.w_enc), case.pool, array(t.mean), array(t.std), case.leak)


def _leak(case: Case, function: Callable) -> dict[str, float] | None:
    """What to tell a function of the case's leak; None where it is a candidate that has no such argument."""
    if not case.leak:
        return {}
    return {"leak": case.leak} if "leak" in inspect.signature(function).parameters else None


def encode(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    leak = _leak(case, implementation.encode)
    if leak is None:
        return {}
    t = tensors(case, dtype, device)
    (values, positions), bits = twice(lambda: implementation.encode(t.x, t.w_enc, case.pool, t.mean, t.std, **leak))
    truth, _ = _truth(case, t)
    if values.dtype != dtype or positions.dtype != torch.int32 or positions.shape != truth.shape:
        return {"types": WRONG}
    return {
        "values": error(values, truth),
        "positions": _misplacement(case, t, positions, truth, tolerance),
        "bits": bits,
    }


def _misplacement(
    case: Case, t: SimpleNamespace, positions: torch.Tensor, truth: np.ndarray, tolerance: float
) -> float:
    """0 where every position is one whose activation is the window's maximum, or nearer to it than the tolerance."""
    found = array(positions)
    windows = np.arange(truth.shape[1])[None, :, None]
    if (found < windows * case.pool).any() or (found >= np.minimum((windows + 1) * case.pool, case.frames)).any():
        return WRONG
    _, expected = _truth(case, t)
    chosen = reference.values_at(array(t.x), array(t.w_enc), found, array(t.mean), array(t.std), case.leak)
    defined = ~np.isnan(truth)
    scale = np.sqrt(np.mean(truth[defined] ** 2)) if defined.any() else 0.0
    near = np.abs(chosen - truth) <= tolerance * scale
    # Sums of small integers are exact in every type, so that a tie must go to the first, and so must silence.
    exact = case.kind == "ties" or (case.kind == "negative" and not case.leak)
    right = (found == expected) | (near & (not exact))
    return 0.0 if right[defined].all() else WRONG


def encode_backward(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    leak = _leak(case, implementation.encode_backward)
    if case.kind == "nan" or leak is None:
        return {}
    t = tensors(case, dtype, device)
    values, positions = _truth(case, t)
    given = torch.tensor(values).to(dtype).to(device), torch.tensor(positions).to(device)
    truth_x, truth_w = reference.encode_backward(
        array(t.grad_values),
        array(t.x),
        array(t.w_enc),
        array(given[0]),
        positions,
        case.pool,
        array(t.mean),
        array(t.std),
        case.leak,
    )

    def run(need_x: bool = True, need_w: bool = True):
        return implementation.encode_backward(
            t.grad_values, t.x, t.w_enc, *given, case.pool, t.mean, t.std, need_x, need_w, **leak
        )

    (grad_x, grad_w), bits = twice(run)
    only_x, only_w = run(need_w=False), run(need_x=False)
    unwanted = only_x[1] is not None or only_w[0] is not None
    return {
        "x": error(grad_x, truth_x),
        "w_enc": error(grad_w, truth_w),
        "x alone": error(only_x[0], truth_x),
        "w_enc alone": error(only_w[1], truth_w),
        "unwanted": WRONG if unwanted else 0.0,
        "bits": bits,
    }
