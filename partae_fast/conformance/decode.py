"""decode and its gradients, against the reference."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..reference import decode as reference
from ..reference import encode as reference_encode
from . import cases
from .cases import Case, tensors
from .comparison import WRONG, Output, array
from .examination import Call, examined
from .tolerances import pool_windows

TINY, LARGER, BEYOND, random_cases = cases.TINY + cases.NUMBERS, cases.LARGER, cases.BEYOND, cases.random_cases
UNINTERPRETED = (*cases.UNINTERPRETED, *cases.OF_LOSSES)


def _latents(case: Case, t: SimpleNamespace, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the values and positions that encode would return, in the type under test."""
    normal = array(t.mean), array(t.std)
    values, positions = reference_encode.encode(array(t.x), array(t.w_enc), case.pool, *normal, case.negative_slope)
    if case.kind == "nan filters":  # else every value of a latent would be NaN
        values = np.nan_to_num(values, nan=1.0)
    return (
        cases.placed(torch.tensor(values).to(dtype).to(device), case.kind),
        cases.placed(torch.tensor(positions).to(device), case.kind),
    )


@examined
def decode(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    values, positions = _latents(case, t, dtype, device)
    v, p, w = array(values), array(positions), array(t.w_dec)
    truth, free = reference.decode(v, p, w, case.frames), None
    if not all(np.isfinite(part).all() for part in (v, w)):
        truth, free = _not_finite(v, p, w, case.frames, truth)
    output = Output("reconstruction", truth, dtype, free, case.kind == "graded")
    return [Call((values, positions, t.w_dec, case.frames), (output,))]


def _not_finite(
    v: np.ndarray, p: np.ndarray, w: np.ndarray, frames: int, dense: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reconstruction and a mask of elements that may be NaN although they need not.

    These are the elements in which dense arithmetic multiplies NaN or infinity with 0 only, and on a GPU all elements
    in reach of the window of a value that is not finite, which is the whole item here.
    """
    bad_v, bad_w = np.isnan(v), np.isnan(w)
    reached = reference.decode(bad_v.astype(float), p, np.ones_like(w), frames) > 0
    reached |= reference.decode(((v != 0) & ~bad_v).astype(float), p, bad_w.astype(float), frames) > 0
    w = np.where(bad_w, 0.0, w)
    endless = np.where(np.isinf(v), np.sign(v), 0.0)
    # Products of infinite values with positive and with negative filters, separately.
    parts = [reference.decode(endless, p, np.where(s * w > 0, s, 0.0), frames) for s in (1.0, -1.0)]
    up, down = (parts[0] > 0) | (parts[1] > 0), (parts[0] < 0) | (parts[1] < 0)
    truth = reference.decode(np.where(np.isfinite(v), v, 0.0), p, w, frames)
    truth = np.where(up, np.inf, np.where(down, -np.inf, truth))
    truth = np.where(reached | (up & down), np.nan, truth)
    return truth, np.isnan(dense) | ~np.isfinite(v).all((1, 2), keepdims=True)


@examined
def decode_backward(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    values, positions = _latents(case, t, dtype, device)
    above, v, p, w = array(t.grad_reconstruction), array(values), array(positions), array(t.w_dec)
    if case.kind == "infinite":
        v = np.where(np.isinf(v), 1.0, v)
        values.copy_(torch.tensor(v).to(dtype))
    truth = _gradients(above, v, p, w)

    def call(need_values: bool, need_w: bool, name: str) -> Call:
        needed = need_values, need_w
        outputs = tuple(
            Output(
                quantity,
                gradient if need else None,
                dtype,
                free,
                each=case.kind == "graded" and quantity == "values",
                endless=case.kind == "infinite above",
            )
            for quantity, need, (gradient, free) in zip(("values", "w_dec"), needed, truth, strict=True)
        )
        return Call((t.grad_reconstruction, values, positions, t.w_dec, *needed), outputs, {}, name)

    return [call(True, True, ""), call(True, False, "values alone: "), call(False, True, "w_dec alone: ")]


def _gradients(
    above: np.ndarray, v: np.ndarray, p: np.ndarray, w: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the gradients of values and filters, NaN if not finite, and masks of elements that may be NaN too."""
    dense = reference.decode_backward(above, v, p, w)
    bad_above, bad_v, bad_w = ((~np.isfinite(part)).astype(float) for part in (above, v, w))
    if not any(bad.any() for bad in (bad_above, bad_v, bad_w)):
        return [(gradient, None) for gradient in dense]
    clean_above, clean_v, clean_w = (np.where(np.isfinite(part), part, 0.0) for part in (above, v, w))
    sparse = reference.decode_backward(clean_above, clean_v, p, clean_w)
    some, ones = np.ones_like(above), np.ones_like(w)
    from_above = reference.decode_backward(bad_above, (v != 0).astype(float), p, ones)
    from_w, _ = reference.decode_backward(some, np.ones_like(v), p, bad_w)
    _, from_v = reference.decode_backward(some, bad_v, p, ones)
    reached = from_above[0] + from_w > 0, from_above[1] + from_v > 0
    return [(np.where(r, np.nan, s), ~np.isfinite(d) & ~r) for d, s, r in zip(dense, sparse, reached, strict=True)]


def refusals(function: Callable, dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Return WRONG if decode neither refuses a position outside its window nor makes it NaN."""
    values, positions = torch.ones(1, 4, 2, dtype=dtype, device=device), torch.tensor([0, 4, 8, 12], device=device)
    positions = positions.int()[None, :, None].repeat(1, 1, 2)
    w_dec, errors = torch.ones(3, 2, 5, dtype=dtype, device=device), {}
    for name, window, frame in (
        ("a window early", 2, 7),
        ("a window late", 1, 8),
        ("before the recording", 0, -1),
        ("behind the recording", 3, 14),
        ("far behind it", 3, 10**6),
    ):
        moved = positions.clone()
        moved[0, window, 1] = frame
        try:
            refused = bool(function(values, moved, w_dec, 14).isnan().any())
        except (ValueError, IndexError, RuntimeError):
            refused = True
        errors[f"position {name} refused"] = 0.0 if refused else WRONG
    return errors


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {
    "decode": lambda case: case.taps * case.latents,
    "decode_backward": lambda case: max(case.taps * case.bins, pool_windows(case)),
}
