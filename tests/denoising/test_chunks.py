"""Chunks of a stream, and the queue of samples."""

import numpy as np
import pytest

from partae_fast.audio import Spectrogram
from partae_fast.denoising.chunks import ALL_FRAMES, CHUNK, ChunkProcessor, SampleQueue


class Identity(ChunkProcessor):
    """Processor that returns its input."""

    def sums(self, samples, before, count):
        spectrogram = self.spectrogram
        spectra = [spectrogram.spectra(channel)[before : before + count] for channel in samples.T]
        total = np.stack([spectrogram.overlap_add(channel)[0] for channel in spectra], axis=1)
        return total, spectrogram.weight(count)[:, None], count


@pytest.mark.parametrize("length", [0, 1, 63, 1000, 5003])
@pytest.mark.parametrize("size", [7, 500, 6000])
@pytest.mark.parametrize(("chunk", "pool", "halo"), [(1, 1, 0), (10, 4, 8), (4096, 16, 32)])
def test_an_identity_reconstructs_the_stream(length, size, chunk, pool, halo):
    audio = np.random.default_rng(0).uniform(-1, 1, (length, 2)).astype(np.float32)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    processor = Identity(Spectrogram(n_fft=64, hop=16, low=0.0, high=None), 2, 2, chunk, pool, halo)
    output = np.concatenate([np.zeros((0, 2), np.float32), *processor.process(blocks)])
    assert output.shape == audio.shape
    np.testing.assert_allclose(output, audio, rtol=0, atol=2e-6)


def test_chunks_are_whole_pools_and_shorter_for_many_channels():
    spectrogram = Spectrogram()
    assert Identity(spectrogram, 4, 4, 1000, 16, 0).chunk == 1008
    assert Identity(spectrogram, 8, 8, 1000, 16, 0).chunk == 512
    assert Identity(spectrogram, 64, 64, 1000, 16, 0).chunk == 256


def test_chunks_of_long_windows_are_shorter():
    """The spectra of 4096 windows of 2^18 samples would take 4.3 GB."""
    spectrogram = Spectrogram(n_fft=2**18, hop=2**16, low=0.0, high=None)
    assert Identity(spectrogram, 1, 1, CHUNK, 4, 0).chunk == 256
    assert Identity(spectrogram, 1, 1, ALL_FRAMES, 4, 0).chunk == ALL_FRAMES
    assert Identity(Spectrogram(n_fft=2048, hop=512), 1, 1, CHUNK, 4, 0).chunk == CHUNK


def test_samples_are_taken_in_the_order_of_the_blocks():
    queue = SampleQueue(1)
    queue.push(np.arange(3.0, dtype=np.float32)[:, None])
    queue.push(np.arange(3.0, 7.0, dtype=np.float32)[:, None])
    assert len(queue) == 7
    assert queue.take(2).ravel().tolist() == [0, 1]
    assert queue.take(3).ravel().tolist() == [2, 3, 4]
    assert queue.take(0).shape == (0, 1) and len(queue) == 2
