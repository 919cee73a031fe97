"""What a model of single frames is given, and the way back."""

import itertools

import numpy as np
import pytest
import torch

from partae_fast.audio.frame_input import KINDS, SPECTRA, FrameInput
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError

EVERY = [FrameInput(kind, 16, spectrum, 2) for kind, spectrum in itertools.product(KINDS, SPECTRA)]
every_input = pytest.mark.parametrize("given", EVERY, ids=lambda given: f"{given.kind}, {given.spectrum}")


def spectra(given, seed=0):
    """Of two recordings, 5 frames."""
    found = torch.fft.rfft(torch.randn(2, 5, given.n_fft, generator=torch.Generator().manual_seed(seed)))
    if given.spectrum == "without-nyquist" and given.kind != "time":
        found[..., -1] = 0
    return found


@every_input
def test_what_comes_out_as_it_went_in_is_the_spectrum_again(given):
    there = spectra(given)
    x = given.of_spectra(there)
    assert x.shape == (10, given.inputs)
    torch.testing.assert_close(given.to_spectra(given.middle(x), there), there)


@every_input
def test_training_sees_what_denoising_sees(given):
    """Frames of samples are those that the spectrogram has of the same recording."""
    spectrogram = Spectrogram(rate=16000, n_fft=16, hop=8, low=0.0, high=8000.0)
    audio = torch.randn(64, generator=torch.Generator().manual_seed(1))
    there = torch.from_numpy(spectrogram.spectra(audio.numpy()))[None]
    frame = 2  # its reach is within the recording
    before = (frame - given.reach) * given.hop
    found = given.of_samples(audio[None, before : before + given.span])
    torch.testing.assert_close(found[0], given.of_spectra(there)[frame], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given.target_of(audio[None, before : before + given.span]), given.middle(found))


def test_context_is_the_frames_around_and_silence_beyond():
    given = FrameInput("context", 4, context=1)
    there = torch.arange(1.0, 10.0).view(1, 3, 3).to(torch.complex64)
    assert given.of_spectra(there).tolist() == [
        [0, 0, 0, 1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
        [4, 5, 6, 7, 8, 9, 0, 0, 0],
    ]


def test_two_sided_is_the_whole_fft_and_its_mirrored_bins_are_averaged():
    frame = np.random.default_rng(0).standard_normal(16)
    given = FrameInput(n_fft=16, spectrum="two-sided")
    there = torch.from_numpy(np.fft.rfft(frame))[None, None]
    np.testing.assert_allclose(given.of_spectra(there)[0], np.abs(np.fft.fft(frame)))
    size = torch.rand(1, 16, dtype=torch.float64)
    whole = size[0].numpy() * np.exp(1j * np.angle(np.fft.fft(frame)))
    np.testing.assert_allclose(np.fft.irfft(given.to_spectra(size, there)[0, 0].numpy(), 16), np.fft.ifft(whole).real)


def test_magnitudes_take_the_phase_of_the_recording_and_below_0_the_opposite_one():
    given, there = FrameInput(n_fft=4), torch.tensor([[[3j, 0.0, -2.0]]], dtype=torch.complex64)
    assert given.to_spectra(torch.tensor([[1.0, 2.0, -5.0]]), there).flatten().tolist() == [1j, 2, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cepstrum"}, "input is 'cepstrum'; choose one of time, magnitude"),
        ({"spectrum": "half"}, "spectrum is 'half'; choose one of"),
        ({"n_fft": 7}, "n_fft is 7; it must be an even number"),
        ({"context": -1}, "context is -1; it must be a whole number of frames"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        FrameInput(**settings)
