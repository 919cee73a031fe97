"""Unpooling and transposed temporal convolution of pooled latents; the unpooled tensor is never built."""

PASSES = ("decode", "decode_backward")
