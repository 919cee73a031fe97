"""Unpool and transposed temporal convolution from the pooled latents; the unpooled tensor never exists."""

PASSES = ("decode", "decode_backward")
