"""The experiment of Hetherly et al. 2018: speech denoising by embeddings, masks, DAE-30 and sparse NMF."""

from .experiment import run

__all__ = ["run"]
