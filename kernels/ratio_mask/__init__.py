"""Mask inference: the squared error of a softmax over sources as masks of the mixture, and its gradient."""

import torch

PASSES = ("ratio_mask_loss",)

# No float16: the gradient of a mean over a million points is below its range.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
