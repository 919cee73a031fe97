"""Mask inference: a softmax over sources as a mask of the mixture, its squared error, and the gradient."""
