"""Deep clustering: the affinities of embeddings against those of their labels, in low-rank form, with the gradient."""

import torch

PASSES = ("affinity_loss",)

# The gradient of a mean over a million points is below what float16 can hold.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
