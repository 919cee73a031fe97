"""Audio in and out, resampling, and the one spectrogram definition."""

from .spectrogram import Spectrogram

__all__ = ["Spectrogram"]
