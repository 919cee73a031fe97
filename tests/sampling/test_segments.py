"""Tests of segments of songs: draws, order and fingerprints."""

import itertools

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.reference.philox import philox
from partae_fast.sampling.segments import SegmentSampler

RATE = 8000


@pytest.fixture
def excerpts():
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, (3, length)).astype(np.float32) for length in (500, 100, 731)]


@pytest.fixture
def spectrogram():
    return pf.Spectrogram(rate=RATE, n_fft=48, hop=12, low=0.0, high=RATE / 2, gain=3.0)


def test_segments_are_drawn_by_philox(excerpts, spectrogram):
    frames, batch, seed = 15, 6, 7
    sampler = SegmentSampler(excerpts, spectrogram, frames, batch, seed)
    tracks = [np.stack([spectrogram.magnitude(track) for track in excerpt]) for excerpt in excerpts]
    segments = [(m, n) for m in tracks for n in range(m.shape[1] - frames + 1)]
    assert len(segments) == sum(max(0, m.shape[1] - frames + 1) for m in tracks) and tracks[1].shape[1] < frames
    counters = np.array([[3, item, 0, 0] for item in range(batch)])
    words = philox(counters, np.array([seed, 0]))[:, 0].astype(object)
    mixture, stems = (part.numpy() for part in sampler.batch_at(3))
    assert mixture.shape == (batch, frames, 25) and stems.shape == (batch, 2, frames, 25)
    for item, word in enumerate(words):
        magnitudes, start = segments[int(word) * len(segments) >> 32]
        np.testing.assert_allclose(mixture[item], magnitudes[0, start : start + frames], atol=2e-5)
        np.testing.assert_allclose(stems[item], magnitudes[1:, start : start + frames], atol=2e-5)
    some = sampler.batch_at(3, range(2, 5))
    np.testing.assert_array_equal(some[0].numpy(), mixture[2:5])
    np.testing.assert_array_equal(some[1].numpy(), stems[2:5])


def test_in_order_yields_every_segment_once(excerpts, spectrogram):
    sampler = SegmentSampler(excerpts, spectrogram, 15, 2, 0)
    mixtures = [spectrogram.magnitude(excerpt[0]) for excerpt in excerpts]
    expected = [m[n * 15 : n * 15 + 15] for m in mixtures for n in range(len(m) // 15)]
    segments = list(itertools.chain.from_iterable(mixture.numpy() for mixture, _ in sampler.in_order()))
    assert len(segments) == sampler.segments == len(expected) > 2
    np.testing.assert_allclose(np.stack(segments), np.stack(expected), atol=2e-5)


def test_fingerprint_depends_on_audio_and_settings(excerpts, spectrogram):
    def fingerprint(excerpts, **changed):
        return SegmentSampler(excerpts, spectrogram, **{"frames": 3, "batch": 2, "seed": 0, **changed}).fingerprint()

    first = fingerprint(excerpts)
    assert first == fingerprint(excerpts)
    assert fingerprint(excerpts, seed=1) != first != fingerprint(excerpts[::-1])


def test_recordings_shorter_than_a_segment_are_refused(excerpts, spectrogram):
    with pytest.raises(pf.UserError, match="has 10 frames, but a segment has 15"):
        SegmentSampler(excerpts[1:2], spectrogram, 15, 2, 0)
