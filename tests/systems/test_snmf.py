"""The training frames of sparse NMF: loud frames of each source, at the same level."""

import numpy as np
import pytest

from partae_fast.systems.snmf import Settings, _frames, loud_frames

RATE = 1000


def test_quiet_frames_are_left_out():
    magnitudes = np.full((10, 12), 0.01, np.float32)
    magnitudes[2:7, 8] = [1.0, 1.1, 0.9, 1.0, 1.2]
    magnitudes[8, 3] = 5.0  # below the lowest bin that counts
    magnitudes[9] = 0.0
    assert np.flatnonzero(loud_frames(magnitudes)).tolist() == [2, 3, 4, 5, 6]
    assert loud_frames(np.ones((3, 12), np.float32)).all() and not loud_frames(np.zeros((3, 12), np.float32)).any()


@pytest.mark.parametrize(("trim", "frames"), [(True, 0), (False, 0), (False, 10)])
def test_sources_have_equal_levels_and_shares(trim, frames):
    time = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 300 * time) * (time < 1)
    hiss = np.random.default_rng(0).normal(0, 0.001, len(time))
    sounds = {name: [(level * (tone + hiss)).astype(np.float32)] for name, level in (("a", 1.0), ("b", 7.0))}
    settings = Settings(rate=RATE, n_fft=64, hop=32, frames=frames, trim=trim)
    all_frames = _frames(sounds, settings)
    first, second = np.split(all_frames, 2)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-5)
    assert len(first) == (5 if frames else pytest.approx(31 if trim else 63, abs=2))
