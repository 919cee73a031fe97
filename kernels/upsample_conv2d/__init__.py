"""Nearest up-sampling and 3x3 convolution as one op; the up-sampled map is never built."""

PASSES = ("upsample_conv2d", "upsample_conv2d_backward")
