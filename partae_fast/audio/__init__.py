"""Audio files, resampling and spectrograms."""

from .spectrogram import Spectrogram

__all__ = ["Spectrogram"]
