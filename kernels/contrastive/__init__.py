"""Source-contrastive estimation: embeddings of points against the vectors of the mixture's sources, with gradients."""

import torch

PASSES = ("contrastive_loss",)

# No float16: the gradient of a mean over a million points is below its range.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
