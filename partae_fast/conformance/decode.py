"""decode and its gradients, against the reference."""

from typing import Any

import torch

from ..reference import decode as reference
from ..reference import encode as reference_encode
from .cases import WRONG, Case, array, error, tensors, twice


def _latents(case: Case, t: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What encode would hand on, as the type under test holds it."""
    normal = array(t.mean), array(t.std)
    values, positions = reference_encode.encode(array(t.x), array(t.w_enc), case.pool, *normal, case.leak)
    return torch.tensor(values).to(dtype).to(device), torch.tensor(positions).to(device)


def decode(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    values, positions = _latents(case, t, dtype, device)
    (result,), bits = twice(lambda: (implementation.decode(values, positions, t.w_dec, case.frames),))
    truth = reference.decode(array(values), array(positions), array(t.w_dec), case.frames)
    return {"types": 0.0 if result.dtype == dtype else WRONG, "reconstruction": error(result, truth), "bits": bits}


def decode_backward(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    values, positions = _latents(case, t, dtype, device)
    truth_values, truth_w = reference.decode_backward(
        array(t.grad_reconstruction), array(values), array(positions), array(t.w_dec)
    )

    def run(need_values: bool = True, need_w: bool = True):
        return implementation.decode_backward(t.grad_reconstruction, values, positions, t.w_dec, need_values, need_w)

    (grad_values, grad_w), bits = twice(run)
    only_values, only_w = run(need_w=False), run(need_values=False)
    unwanted = only_values[1] is not None or only_w[0] is not None
    return {
        "values": error(grad_values, truth_values),
        "w_dec": error(grad_w, truth_w),
        "values alone": error(only_values[0], truth_values),
        "w_dec alone": error(only_w[1], truth_w),
        "unwanted": WRONG if unwanted else 0.0,
        "bits": bits,
    }
