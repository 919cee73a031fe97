"""Source-contrastive estimation: embeddings of points against the vectors of their mix's sources, with gradients."""

import torch

PASSES = ("contrastive_loss",)

# The gradient of a mean over a million points is below what float16 can hold.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
