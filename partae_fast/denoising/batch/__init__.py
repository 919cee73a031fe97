"""Denoising of many recordings into a folder: the journal, the jobs, and the executors that carry them out."""
