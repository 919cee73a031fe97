"""Squared error of a label-weighted signal half plus a noise half, with the gradients of both, in one pass."""

PASSES = ("curro_loss",)
