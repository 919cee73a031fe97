"""The experiment of Grais & Plumbley 2017: convolutional against feed-forward networks, at taking songs apart."""

from .experiment import run

__all__ = ["run"]
