"""Unpool and transposed temporal convolution from the pooled latents; the unpooled tensor never exists."""
