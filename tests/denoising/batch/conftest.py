"""A folder with recordings for the tests of batches."""

from pathlib import Path

import pytest

from .common import model_file, recording


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with a model, m, and four recordings in june/."""
    monkeypatch.chdir(tmp_path)
    model_file("m")
    for seed, name in enumerate(("a.wav", "b.flac", "night/c.wav", "night/late/d.wav")):
        recording(Path("june") / name, seed)
    return tmp_path
