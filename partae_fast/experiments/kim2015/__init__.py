"""The experiment of Kim & Smaragdis 2015: denoising autoencoders that adapt to each mixture, compared with NMF."""

from .experiment import run

__all__ = ["run"]
