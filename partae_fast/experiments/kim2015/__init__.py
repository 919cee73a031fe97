"""The experiment of Kim & Smaragdis 2015: denoising autoencoders that adapt to the mixture at hand, and NMF."""

from .experiment import run

__all__ = ["run"]
