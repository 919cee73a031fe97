"""Unpooling and transposed temporal convolution of pooled latents; the unpooled tensor is never built."""

PASSES = ("decode", "decode_backward")
ORDER = ("eager", "cpu", "cuda", "triton")  # "auto" prefers triton to cuda: no GPU has compared the two
