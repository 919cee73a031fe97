"""Mask inference: a softmax over sources as a mask of the mixture, its squared error, and the gradient."""

import torch

PASSES = ("ratio_mask_loss",)

# The gradient of a mean over a million points is below what float16 can hold.
TYPES = (torch.float32, torch.float64, torch.bfloat16)
