"""3x3 convolution, ReLU and 2-D max-pool with its argmax, in one pass; backward at the pooled positions only."""

PASSES = ("conv2d_pool", "conv2d_pool_backward")
