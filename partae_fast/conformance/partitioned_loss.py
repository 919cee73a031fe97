"""The partitioned loss and both its gradients, against the reference."""

from collections.abc import Sequence

import torch

from ..reference import partitioned_loss as reference
from . import cases
from .cases import Case, tensors
from .comparison import Output, array
from .examination import Call, examined
from .tolerances import loss_terms

TINY, LARGER, BEYOND, random_cases = cases.TINY + cases.NUMBERS, cases.LARGER, cases.BEYOND, cases.random_cases
UNINTERPRETED = cases.UNINTERPRETED


@examined
def partitioned_loss(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    # Latents of both signs, and reconstructions of about the target's magnitude.
    values, reconstruction = t.grad_values, t.x
    inputs = reconstruction, t.target, values, t.noise_only, t.foreground
    r, target, v, y, c = (array(tensor) for tensor in inputs)
    loss, grad_r, grad_v = reference.partitioned_loss(r, target, v, y, c, case.penalty)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    outputs = (
        Output("loss", loss, wide),
        Output("reconstruction", grad_r, dtype, each=case.kind == "graded"),
        Output("values", grad_v, dtype, each=case.kind == "graded"),
    )
    return [Call((*inputs, case.penalty), outputs)]


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"partitioned_loss": loss_terms}
