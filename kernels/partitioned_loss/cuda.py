"""partitioned_loss in CUDA C: `partitioned_loss.cuh` describes the kernels; this module launches them.

"auto" selects triton where both can run, as no GPU has compared the two.
"""

import torch
from torch import Tensor

from .._cuda.common import check_counts, cover, launch, round_up, structure, target_for

FILE = "partitioned_loss/partitioned_loss.cuh"
# struct Loss and struct LossSum of the kernels.
LOSS = structure(
    *("partials", "reconstruction", "target", "grad_reconstruction", "values", "grad_values"),
    *("noise_only", "foreground"),
    **dict.fromkeys(("numbers", "pooled"), "i8"),
    **dict.fromkeys(("numbers_each", "error_parts", "item_pooled", "latents"), "i4"),
    **dict.fromkeys(("penalty", "per_item"), "f4"),
)
LOSS_SUM = structure("loss", "partials", parts="i4")
PARTS_MAX = 2048  # of the errors: enough to fill a GPU, few enough for one block to add
NUMBERS_EACH = 8  # of a thread, at least


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    place = target_for("partitioned_loss", reconstruction)
    batch, windows, latents = values.shape
    check_counts(windows=batch * windows, **{"values of an item": windows * latents})
    reconstruction, target, values = reconstruction.contiguous(), target.contiguous(), values.contiguous()
    grad_reconstruction, grad_values = torch.empty_like(reconstruction), torch.empty_like(values)
    numbers, pooled = reconstruction.numel(), values.numel()
    numbers_each = round_up(max(cover(numbers, PARTS_MAX), NUMBERS_EACH * place.threads), place.threads)
    error_parts, penalty_parts = cover(numbers, numbers_each), cover(pooled, numbers_each)
    partials = torch.empty(error_parts + penalty_parts, dtype=torch.float64, device=values.device)
    loss = torch.empty((), dtype=torch.float32, device=values.device)
    macros, shared = {"THREADS": place.threads}, 8 * place.threads
    launch(
        place,
        FILE,
        "partitioned_loss",
        macros,
        blocks=len(partials),
        shared=shared,
        layout=LOSS,
        partials=partials,
        reconstruction=reconstruction,
        target=target,
        grad_reconstruction=grad_reconstruction,
        values=values,
        grad_values=grad_values,
        noise_only=noise_only.contiguous(),
        foreground=foreground.contiguous(),
        numbers=numbers,
        pooled=pooled,
        numbers_each=numbers_each,
        error_parts=error_parts,
        item_pooled=windows * latents,
        latents=latents,
        penalty=penalty,
        per_item=1.0 / batch,
    )
    sum_of = {"blocks": 1, "shared": shared, "layout": LOSS_SUM}
    launch(place, FILE, "partitioned_loss_sum", macros, **sum_of, loss=loss, partials=partials, parts=len(partials))
    return loss, grad_reconstruction, grad_values
