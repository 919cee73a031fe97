"""Random mixtures: drawn by counter, at the ratios asked for, from every stretch; and what is refused."""

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


def test_a_batch_is_the_same_however_it_is_asked_for():
    whole, other = MixtureSampler(VOICES, NOISES, **SETTINGS), MixtureSampler(VOICES, NOISES, **SETTINGS)
    all_of_it = whole.batch_at(5)
    for found, part in zip(all_of_it, other.batch_at(5, range(10, 20)), strict=True):
        torch.testing.assert_close(part, found[10:20])
    assert not torch.equal(all_of_it[2], whole.batch_at(6)[2])
    assert whole.fingerprint() == other.fingerprint()
    louder = MixtureSampler({**VOICES, "ann": [2 * tone for tone in VOICES["ann"]]}, NOISES, **SETTINGS)
    assert louder.fingerprint() != whole.fingerprint()


def test_mixtures_stand_at_the_ratios_asked_for_and_sound_like_their_sources():
    sampler = MixtureSampler(VOICES, NOISES, **SETTINGS)
    sounds, sources = sampler.sounds_at(0)
    power = sounds.square().mean(2)
    ratio = 10 * (power[:, 0] / power[:, 1]).log10()
    assert -3.01 < ratio.min() < -1 and 6 < ratio.max() < 8.01
    torch.testing.assert_close(sounds.sum(1).square().mean(1), torch.ones(64))
    assert {tuple(row) for row in sources.tolist()} == {(0, 2), (0, 3), (1, 2), (1, 3)}
    loudest = torch.fft.rfft(sounds).abs().argmax(2) / 0.5  # in Hz
    kinds = [{50, 70}, {90}, {200, 300}, {400}]
    assert all(min(abs(at - f) for f in kinds[of]) <= 2 for at, of in zip(loudest.flatten(), sources.flatten()))  # noqa: B905


def test_spectra_are_those_of_the_one_spectrogram():
    sampler = MixtureSampler(VOICES, NOISES, **SETTINGS)
    mixture, parts, _ = sampler.batch_at(3)
    sounds, _ = sampler.sounds_at(3)
    spectrogram = Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    wanted = spectrogram.magnitude(sounds[7].sum(0).numpy())[: mixture.shape[1]]
    np.testing.assert_allclose(mixture[7], wanted, atol=1e-4)
    np.testing.assert_allclose(parts[7, ..., 1], spectrogram.magnitude(sounds[7, 1].numpy())[: len(wanted)], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voices": {}}, "no voice was given"),
        ({"noises": {"rain": [np.zeros(900)]}}, "noise rain: is silent"),
        ({"voices": {"ann": [np.ones(400)]}}, r"voice ann: has 0\.40 s and a mixture 0\.5"),
        ({"voices": {"ann": [np.full(900, np.nan)]}}, "NaN or infinite"),
        ({"snr": (5.0, -5.0)}, "least and the largest"),
        ({"snr": (float("nan"), 5.0)}, "least and the largest"),
        ({"seconds": 0.01}, "shorter than a window of 64"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_what_is_refused(changes, message):
    given = {"voices": VOICES, "noises": NOISES, **SETTINGS, **changes}
    with pytest.raises(UserError, match=message):
        MixtureSampler(given.pop("voices"), given.pop("noises"), **given)
