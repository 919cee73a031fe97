"""Denoise many recordings into a folder, in this process, in several or on a cluster, with a journal."""
