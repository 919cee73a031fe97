"""Squared error plus the masked penalty on foreground latents, and the gradient to both, in one pass."""

PASSES = ("partitioned_loss",)
