"""Recordings and tables for the tests of labels."""

import numpy as np
import pytest

from partae_fast.audio import files

RATE = 8000


@pytest.fixture
def recordings(tmp_path):
    """Return a.wav with two channels, and b.wav and c.wav with one; each has 10 s."""
    for name, channels in (("a.wav", 2), ("b.wav", 1), ("c.wav", 1)):
        files.write(tmp_path / name, np.zeros((10 * RATE, channels), np.float32), RATE, "PCM_U8")
    return [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]


@pytest.fixture
def table(tmp_path):
    """Return a function that writes rows to a CSV file."""

    def write(*rows, name="t.csv"):
        (tmp_path / name).write_text("\n".join(["file,start,end,label,channel", *rows]))
        return tmp_path / name

    return write
