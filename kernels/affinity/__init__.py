"""Deep clustering: the affinities of embeddings against those of their labels, in low-rank form, with the gradient."""

import torch

PASSES = ("affinity_loss",)

# No float16: the gradient of a mean over a million points is below its range.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
