"""Code that the plain PyTorch implementations share: the type of sums, checks of labels, convolutions of maps."""
