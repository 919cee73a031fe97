"""Denoise and separate audio in memory, in streams and in files with a trained model."""

from ..masking.mask import Mask
from .denoise import denoise
from .separate import separate

__all__ = ["Mask", "denoise", "separate"]
