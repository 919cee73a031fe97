"""Temporal convolution, ReLU and max-pool with its argmax, in one pass; backward at the pooled positions only."""

PASSES = ("encode", "encode_backward")
ORDER = ("eager", "cpu", "cuda", "triton")  # "auto" prefers triton to cuda: no GPU has compared the two
