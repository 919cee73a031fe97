"""Synthetic recordings and scores."""

import numpy as np
import pytest

from partae_fast.audio import files

RATE = 16000


def song(seconds=3.0, pitch=2500.0, rate=RATE):
    """Return notes of 0.15 s, two per second, that rise by 1 kHz from `pitch`."""
    t = np.arange(round(seconds * rate)) / rate
    at = t % 0.5
    notes = np.sin(2 * np.pi * (pitch * at + 3300 * at**2)) * np.sin(np.pi * np.minimum(at / 0.15, 1))
    return (0.3 * notes).astype(np.float32)


def hiss(seconds, seed, rate=RATE):
    """Return white noise."""
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, samples, rate, "FLOAT", overwrite=True)


def score_rows(partae, gate, seeds=1):
    """Return rows in which partae and the gate have these SI-SDRs (scenes, levels)."""
    rows = []
    for i in range(len(partae)):
        for j, level in enumerate((-5.0, 0.0)):
            common = {"scene": f"s{i}", "level": level, "seconds": 2.0}
            for method, value in (("input", level), ("gate", gate[i][j])):
                rows.append({**common, "method": method, "seed": None, "si_sdr": value, "si_sdr_full": value})
            for seed in range(seeds):
                value = partae[i][j] + seed - (seeds - 1) / 2
                rows.append({**common, "method": "partae", "seed": seed, "si_sdr": value, "si_sdr_full": value - 1})
    return rows


@pytest.fixture
def folder(tmp_path):
    """Return a folder: clean/ has songs a and b, noise/ has wind and, at another rate, rain."""
    write(tmp_path / "clean" / "a.wav", song())
    write(tmp_path / "clean" / "b.wav", song(4.0, pitch=3000.0))
    write(tmp_path / "noise" / "wind.wav", hiss(6.0, 1))
    write(tmp_path / "noise" / "rain.wav", hiss(5.0, 2, 12000), 12000)
    return tmp_path
