"""Squared error plus the masked penalty on foreground latents, with the gradients of both, in one pass."""

PASSES = ("partitioned_loss",)
ORDER = ("eager", "cpu", "cuda", "triton")  # "auto" prefers triton to cuda: no GPU has compared the two
