"""The differentiable ops, a file each: argument checks, choice of back-end, and autograd around the kernels.

Shapes (B items, N frames, H bins, K latents, M taps, P frames in a pool):

    x (B, N, H)    w_enc (M, H, K)    w_dec (M, K, H)    values, positions (B, ceil(N/P), K)

Each op is a `torch.library` op, so models that use it work under `torch.compile(fullgraph=True)` and `torch.export`
with dynamic batch and frames (frames > pool: `Dim("frames", min=17)`). All take `backend`: "auto" for the fastest that
can run the tensors, or a name from `pf.backends()`, which runs or raises BackendUnavailable.

The ops have first derivatives in reverse mode with respect to every floating-point input except data (mean, std,
labels, masks, weights, mixtures), by `backward`, `torch.func.grad`, `vjp`, `jacrev` and under `vmap`. Data that
requires a gradient, a forward-mode derivative and a second derivative raise. Under autocast the ops cast their inputs
as PyTorch's ops do.
"""

from .affinity import affinity_loss
from .contrastive import contrastive_loss
from .conv2d_pool import conv2d_pool
from .curro_loss import curro_loss
from .decode import decode
from .dense import dense
from .encode import encode
from .partitioned_loss import partitioned_loss
from .ratio_mask import ratio_mask_loss
from .upsample_conv2d import upsample_conv2d

__all__ = [
    "affinity_loss",
    "contrastive_loss",
    "conv2d_pool",
    "curro_loss",
    "decode",
    "dense",
    "encode",
    "partitioned_loss",
    "ratio_mask_loss",
    "upsample_conv2d",
]
