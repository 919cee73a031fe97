"""The experiment of Stowell & Turner 2015, section 4: a partitioned against a denoising autoencoder, in two noises."""

from .experiment import run

__all__ = ["run"]
