"""From a trained model to cleaner audio: masks, streaming overlap-add, files."""

from .denoise import denoise
from .mask import Mask
from .separate import separate

__all__ = ["Mask", "denoise", "separate"]
