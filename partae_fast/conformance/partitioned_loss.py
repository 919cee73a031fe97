"""The partitioned loss and both its gradients, against the reference."""

from typing import Any

import torch

from ..reference import partitioned_loss as reference
from .cases import WRONG, Case, array, error, tensors, twice


def partitioned_loss(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    values = t.grad_values.abs()  # any latents will do
    inputs = (t.grad_reconstruction, t.target, values, t.noise_only, t.foreground)
    (loss, grad_r, grad_v), bits = twice(lambda: implementation.partitioned_loss(*inputs, t.penalty))
    r, target, latents, noise_only, foreground = (array(tensor) for tensor in inputs)
    truth, truth_r, truth_v = reference.partitioned_loss(r, target, latents, noise_only, foreground, t.penalty)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    right = loss.dtype == wide and grad_r.dtype == dtype and grad_v.dtype == dtype
    return {
        "types": 0.0 if right else WRONG,
        "loss": error(loss, truth),
        "reconstruction": error(grad_r, truth_r),
        "values": error(grad_v, truth_v),
        "bits": bits,
    }
