"""Many training steps in one call: draw, mix, normalise, encode, pool, decode, loss, gradients and optimizer."""

import torch

from .optimizer import RULES
from .training_run import Crops, TrainingRun, fresh_state

PASSES = ("train_steps",)
# No types of 16 bits: a step changes a weight by less than their resolution.
TYPES = (torch.float32, torch.float64)

__all__ = ["RULES", "Crops", "TrainingRun", "fresh_state"]
