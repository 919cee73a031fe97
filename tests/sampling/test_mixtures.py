"""Random mixtures: their determinism, ratios, sources and spectra, and errors."""

import numpy as np
import pytest
import torch

from partae_fast.audio import Spectrogram
from partae_fast.errors import UserError
from partae_fast.sampling.mixtures import MixtureSampler

RATE = 1000


def tones(*frequencies, seconds=1.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return [np.sin(2 * np.pi * frequency * time).astype(np.float32) for frequency in frequencies]


VOICES = {"ann": tones(50, 70), "bob": tones(90, seconds=1.5)}
NOISES = {"rain": tones(200, 300), "wind": tones(400)}
SETTINGS = {"rate": RATE, "seconds": 0.5, "n_fft": 64, "hop": 16, "batch": 64, "snr": (-3.0, 8.0), "seed": 11}


def test_some_items_of_a_batch_equal_those_of_the_whole_batch():
    first, second = MixtureSampler(VOICES, NOISES, **SETTINGS), MixtureSampler(VOICES, NOISES, **SETTINGS)
    batch = first.batch_at(5)
    for whole, items in zip(batch, second.batch_at(5, range(10, 20)), strict=True):
        torch.testing.assert_close(items, whole[10:20])
    assert not torch.equal(batch[2], first.batch_at(6)[2])
    assert first.fingerprint() == second.fingerprint()
    louder = MixtureSampler({**VOICES, "ann": [2 * tone for tone in VOICES["ann"]]}, NOISES, **SETTINGS)
    assert louder.fingerprint() != first.fingerprint()


def test_mixtures_have_ratios_within_snr_and_the_frequencies_of_their_sources():
    sampler = MixtureSampler(VOICES, NOISES, **SETTINGS)
    sounds, sources = sampler.sounds_at(0)
    power = sounds.square().mean(2)
    ratio = 10 * (power[:, 0] / power[:, 1]).log10()
    assert -3.01 < ratio.min() < -1 and 6 < ratio.max() < 8.01
    torch.testing.assert_close(sounds.sum(1).square().mean(1), torch.ones(64))
    assert {tuple(row) for row in sources.tolist()} == {(0, 2), (0, 3), (1, 2), (1, 3)}
    loudest = torch.fft.rfft(sounds).abs().argmax(2) / 0.5  # in Hz
    frequencies = [{50, 70}, {90}, {200, 300}, {400}]  # of each source
    for frequency, source in zip(loudest.flatten(), sources.flatten(), strict=True):
        assert min(abs(frequency - f) for f in frequencies[source]) <= 2


def test_magnitudes_equal_those_of_a_spectrogram():
    sampler = MixtureSampler(VOICES, NOISES, **SETTINGS)
    mixture, parts, _ = sampler.batch_at(3)
    sounds, _ = sampler.sounds_at(3)
    spectrogram = Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    expected = spectrogram.magnitude(sounds[7].sum(0).numpy())[: mixture.shape[1]]
    np.testing.assert_allclose(mixture[7], expected, atol=1e-4)
    expected = spectrogram.magnitude(sounds[7, 1].numpy())[: mixture.shape[1]]
    np.testing.assert_allclose(parts[7, ..., 1], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voices": {}}, "there is no voice; pass recordings"),
        ({"noises": {"rain": [np.zeros(900)]}}, "noise rain: is silent"),
        ({"voices": {"ann": [np.ones(400)]}}, r"voice ann: has 0\.40 s, but a mixture has 0\.5 s"),
        ({"voices": {"ann": [np.full(900, np.nan)]}}, "NaN or infinite"),
        ({"snr": (5.0, -5.0)}, "smallest and the largest"),
        ({"snr": (float("nan"), 5.0)}, "smallest and the largest"),
        ({"seconds": 0.01}, "at least as long as a window, 64 samples"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_invalid_arguments_are_refused(changes, message):
    arguments = {"voices": VOICES, "noises": NOISES, **SETTINGS, **changes}
    with pytest.raises(UserError, match=message):
        MixtureSampler(**arguments)
