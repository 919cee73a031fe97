"""Evaluation: scenes with a known clean song, other denoisers, scores, and diagnostics that need no clean audio."""
