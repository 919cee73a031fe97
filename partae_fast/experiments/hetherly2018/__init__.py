"""The experiment of Hetherly et al. 2018: embeddings, masks, DAE-30 and sparse NMF take noise from voices."""

from .experiment import run

__all__ = ["run"]
