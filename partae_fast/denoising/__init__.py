"""From a trained model to cleaner audio: masks, streaming overlap-add, files."""

from ..masking.mask import Mask
from .denoise import denoise
from .separate import separate

__all__ = ["Mask", "denoise", "separate"]
