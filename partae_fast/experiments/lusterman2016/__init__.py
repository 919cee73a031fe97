"""The experiments of Lusterman 2016: dense, partitioned and Curro autoencoders that denoise chords."""

from .experiment import run

__all__ = ["run"]
