"""Fixtures: songs given as stems."""

from ..training.test_stems import tree  # noqa: F401 (fixture)
