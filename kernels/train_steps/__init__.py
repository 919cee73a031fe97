"""Whole training steps, many in one call: draw, mix, normalise, encode, pool, decode, loss, gradients, optimiser."""

from .run import Crops, Run, fresh_state

__all__ = ["Crops", "Run", "fresh_state"]
