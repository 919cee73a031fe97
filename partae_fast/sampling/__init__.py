"""Samplers of random training batches, which are the same on every back-end, and folders of corpora."""
