"""The experiment of Stowell & Turner 2015, section 4: partitioned and denoising autoencoders in two kinds of noise."""

from .experiment import run
from .models import REDUCTIONS

__all__ = ["REDUCTIONS", "run"]
