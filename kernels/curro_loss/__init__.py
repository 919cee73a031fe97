"""Squared error of a label-weighted signal half plus a noise half, and the gradient to each, in one pass."""

PASSES = ("curro_loss",)
