"""The experiment of Grais & Plumbley 2017: source separation by convolutional and feed-forward networks."""

from .experiment import run

__all__ = ["run"]
