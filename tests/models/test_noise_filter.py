"""The filter, alone and averaged with a network: it denoises, streams as it does the whole, and is kept on disk."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.denoising.denoise import chunking, denoise_blocks
from partae_fast.errors import UserError
from partae_fast.masking.mask import Mask
from partae_fast.models import ConvDenoisingAutoencoder, FilteredDenoisingAutoencoder, FilterModel
from partae_fast.models.noise_filter import LENGTHS, NOISE_COMPONENTS, NoiseFilter, window_weights

RATE = 8000


def hiss(seconds, seed, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def notes(seconds):
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 1500 * t) * (t % 0.5 < 0.2)).astype(np.float32)


def snr(reference, estimate):
    return 10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2))


SONG = notes(9.0)
MIXTURE = SONG + hiss(9.0, 1)
GRID = Spectrogram(rate=RATE, n_fft=128, hop=32, low=0.0, high=3000.0, gain=0.3)


@pytest.fixture(scope="module")
def noise_filter():
    made = NoiseFilter(32, RATE)
    made.learn([MIXTURE], [hiss(4.0, 2)])
    return made


def alone(noise_filter):
    model = FilterModel(GRID.bins, 32, RATE)
    model.filter, model.spectrogram = noise_filter, GRID
    return model


def averaged(noise_filter, share=0.5):
    network = ConvDenoisingAutoencoder(GRID.bins, latents=6, taps=3, pool=4, seed=1)
    network.mean.fill_(0.1)
    network.noise_mean_square.fill_(0.2)
    network.spectrogram, network.mask = GRID, Mask(exponent=1.0, background=0.0, noise=0.4, gate=1.5, smoothing=3)
    return FilteredDenoisingAutoencoder.of(network, noise_filter, share), network


def test_it_takes_noise_away_and_leaves_the_song(noise_filter):
    done = noise_filter.denoised(MIXTURE)
    assert done.shape == MIXTURE.shape and done.dtype == np.float32
    assert snr(SONG, done) > snr(SONG, MIXTURE) + 8
    assert not noise_filter.denoised(np.zeros(3000, np.float32)).any()
    # What is far louder than the noise passes; at its first sample the window has not risen.
    np.testing.assert_allclose(noise_filter.denoised(1000 * SONG)[64:1500], 1000 * SONG[64:1500], atol=1.0)


def test_a_stretch_from_a_block_on_gets_what_the_whole_gets(noise_filter):
    block, halo = noise_filter.block, noise_filter.halo
    assert halo % block == 0
    whole = noise_filter.denoised(MIXTURE)
    first = 4 * block
    assert len(MIXTURE) > first + block + halo > first - halo > 0
    part = noise_filter.denoised(MIXTURE[first - halo : first + block + halo])[halo : halo + block]
    np.testing.assert_allclose(part, whole[first : first + block], atol=1e-6)
    off = noise_filter.denoised(MIXTURE[first - halo + 40 : first + block + halo])[halo - 40 : halo - 40 + block]
    assert np.abs(off - whole[first : first + block]).max() > 1e-4  # which a stretch elsewhere does not


@pytest.mark.parametrize("kind", ["alone", "averaged"])
@pytest.mark.parametrize("chunk", [1, 300, 1024])
def test_streams_equal_the_whole_file(noise_filter, kind, chunk):
    model = alone(noise_filter) if kind == "alone" else averaged(noise_filter)[0]
    assert chunking(model) == (model.block, model.halo)
    stereo = np.stack([MIXTURE, MIXTURE[::-1]], axis=1)
    whole = pf.denoise(stereo, RATE, model)
    blocks = (stereo[i : i + 777] for i in range(0, len(stereo), 777))
    streamed = np.concatenate(list(denoise_blocks(blocks, RATE, 2, model, chunk=chunk)))
    np.testing.assert_allclose(streamed, whole, atol=1e-6 * np.abs(whole).max())
    rest = pf.denoise(stereo, RATE, model, part="noise")
    np.testing.assert_allclose(whole + rest, stereo, atol=1e-6)


def test_the_estimate_is_the_mean_of_both_in_the_band(noise_filter):
    model, network = averaged(noise_filter, 0.25)
    parts = [pf.denoise(MIXTURE, RATE, part) for part in (alone(noise_filter), network)]
    expected = 0.25 * parts[0] + 0.75 * parts[1]
    np.testing.assert_allclose(pf.denoise(MIXTURE, RATE, model), expected, atol=2e-6)
    assert np.abs(parts[0] - parts[1]).max() > 0.05
    for share, part in ((1.0, parts[0]), (0.0, parts[1])):
        only = pf.denoise(MIXTURE, RATE, averaged(noise_filter, share)[0])
        np.testing.assert_allclose(only, part, atol=2e-6)
    assert np.abs(np.fft.rfft(parts[0])[(3200 * 9) :]).max() < 1e-2 * np.abs(np.fft.rfft(parts[0])).max()


@pytest.mark.parametrize("kind", ["alone", "averaged"])
def test_it_is_kept_on_disk_and_in_a_state(noise_filter, kind, tmp_path):
    model = alone(noise_filter) if kind == "alone" else averaged(noise_filter)[0]
    pf.save(model, tmp_path / "m.safetensors")
    loaded = pf.load(tmp_path / "m.safetensors")
    assert type(loaded) is type(model) and loaded.config() == model.config()
    assert np.array_equal(pf.denoise(MIXTURE, RATE, loaded), pf.denoise(MIXTURE, RATE, model))
    other = type(model)(**model.config())
    other.load_state_dict(model.state_dict())
    assert np.array_equal(pf.denoise(MIXTURE, RATE, other), pf.denoise(MIXTURE, RATE, model))


def test_the_factorisation_separates_noise_that_changes():
    """A gain that knows the noise's mean only lets its loud moments through."""
    loud = np.repeat(1.0 + 2.0 * (np.arange(40) % 4 == 3), RATE // 4).astype(np.float32)[: len(SONG)]
    mixture, noise = SONG + loud * hiss(9.0, 1), np.resize(loud, 4 * RATE) * hiss(4.0, 2)
    made = NoiseFilter(32, RATE)
    made.learn([mixture], [noise])
    factorised = snr(SONG, made.denoised(mixture))
    for window in made.windows:
        getattr(made, f"dictionary_{window}")[:NOISE_COMPONENTS] = 0  # everything is signal
    assert factorised > snr(SONG, made.denoised(mixture)) + 0.3


def test_noise_only_audio_at_another_level_changes_little():
    quality = []
    for decibels in (-9, 0, 9):
        made = NoiseFilter(32, RATE)
        made.learn([MIXTURE], [hiss(4.0, 2) * np.float32(10 ** (decibels / 20))])
        quality.append(snr(SONG, made.denoised(MIXTURE)))
    assert max(quality) - min(quality) < 1


@pytest.mark.parametrize(
    ("hop", "rate", "low"), [(64, 22050, 80.0), (32, 8000, 0.0), (64, 250000, 5000.0), (64, 250, 8.0)]
)
def test_window_weights_add_up_to_one_and_windows_are_longer_at_low_frequencies(hop, rate, low):
    """The mean length, in octaves, is that of 46 ms / sqrt(f in kHz), within the lengths that there are."""
    weights = [window_weights(length, hop, rate, low) for length in LENGTHS]
    # The bins of the shortest window are among those of the others.
    common = np.array([w[:: len(w) // (LENGTHS[0] * hop // 2)] for w in weights])
    np.testing.assert_allclose(common.sum(axis=0), 1, atol=1e-5)
    frequency = np.maximum(np.arange(common.shape[1]) * rate / (LENGTHS[0] * hop), max(low, 1e-3))
    seconds = np.clip(0.046 / np.sqrt(frequency / 1000), LENGTHS[0] * hop / rate, LENGTHS[-1] * hop / rate)
    np.testing.assert_allclose(np.log2(LENGTHS) @ common, np.log2(seconds * rate / hop), atol=1e-4)
    assert set(NoiseFilter(hop, rate, low).windows) == {
        length * hop for length, w in zip(LENGTHS, weights, strict=True) if w.any()
    }


def test_low_notes_are_found_with_a_long_window():
    """Notes at 150 Hz gain 1.5 dB and more over the same filter with the windows of 2 kHz."""
    t = np.arange(9 * RATE) / RATE
    song = (0.05 * np.sin(2 * np.pi * 150 * t) * (t % 2 < 1)).astype(np.float32)
    mixture, quality = song + hiss(9.0, 1), []
    for low in (0.0, 2000.0):
        made = NoiseFilter(32, RATE, low)
        made.learn([mixture], [hiss(4.0, 2)])
        quality.append(snr(song, made.denoised(mixture)))
    assert quality[0] > quality[1] + 1.5


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="hop is 0"):
        NoiseFilter(0, RATE)
    with pytest.raises(UserError, match="rate is 0"):
        NoiseFilter(32, 0)
    with pytest.raises(UserError, match=r"low is 4000; it must be a frequency in Hz, from 0 to less than 4000"):
        NoiseFilter(32, RATE, 4000)
    with pytest.raises(UserError, match="share is 2"):
        FilteredDenoisingAutoencoder(8, share=2)
    with pytest.raises(UserError, match=r"the recordings last 0.02 s in all and a window 0.03 s"):
        NoiseFilter(32, RATE).learn([MIXTURE], [hiss(0.02, 0)])


def test_pauses_that_are_shorter_than_a_window_are_joined():
    """A window at low frequencies has 256 ms, and each pause 100 ms."""
    made = NoiseFilter(32, RATE)
    made.learn([MIXTURE], np.split(hiss(4.0, 2), 40))
    assert max(made.windows) == 2048
    assert snr(SONG, made.denoised(MIXTURE)) > snr(SONG, MIXTURE) + 8


def test_spectra_keep_their_device_and_shape(noise_filter):
    model = alone(noise_filter)
    spectra = torch.from_numpy(np.stack([GRID.stft(MIXTURE[:4000])] * 2))
    assert model.estimate(spectra).shape == spectra.shape and model.estimate(spectra).dtype == torch.complex64


def test_a_level_that_is_not_a_number_is_reported(noise_filter):
    model = alone(noise_filter)
    damaged = type(model)(**model.config())
    damaged.load_state_dict(model.state_dict())
    damaged.spectrogram = GRID
    next(iter(damaged.filter.buffers()))[3] = float("nan")
    with pytest.raises(UserError, match="NaN"):
        pf.denoise(MIXTURE, RATE, damaged)
