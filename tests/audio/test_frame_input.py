"""Inputs of frame models, and spectra from their outputs."""

import itertools

import numpy as np
import pytest
import torch

from partae_fast.audio.frame_input import KINDS, SPECTRA, FrameInput
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError

EVERY = [FrameInput(kind, 16, spectrum, 2) for kind, spectrum in itertools.product(KINDS, SPECTRA)]
every_input = pytest.mark.parametrize(
    "frame_input", EVERY, ids=lambda frame_input: f"{frame_input.kind}, {frame_input.spectrum}"
)


def random_spectra(frame_input, seed=0):
    """Return spectra of 5 frames of two recordings."""
    spectra = torch.fft.rfft(torch.randn(2, 5, frame_input.n_fft, generator=torch.Generator().manual_seed(seed)))
    if frame_input.spectrum == "without-nyquist" and frame_input.kind != "time":
        spectra[..., -1] = 0
    return spectra


@every_input
def test_unchanged_inputs_give_the_original_spectra(frame_input):
    spectra = random_spectra(frame_input)
    x = frame_input.of_spectra(spectra)
    assert x.shape == (10, frame_input.inputs)
    torch.testing.assert_close(frame_input.to_spectra(frame_input.middle(x), spectra), spectra)


@every_input
def test_inputs_of_samples_equal_inputs_of_spectra(frame_input):
    """Training takes inputs from samples, denoising from a spectrogram."""
    spectrogram = Spectrogram(rate=16000, n_fft=16, hop=8, low=0.0, high=8000.0)
    audio = torch.randn(64, generator=torch.Generator().manual_seed(1))
    spectra = torch.from_numpy(spectrogram.spectra(audio.numpy()))[None]
    frame = 2  # far enough from the start for all of its context
    start = (frame - frame_input.reach) * frame_input.hop
    samples = audio[None, start : start + frame_input.span]
    inputs = frame_input.of_samples(samples)
    torch.testing.assert_close(inputs[0], frame_input.of_spectra(spectra)[frame], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(frame_input.target_of(samples), frame_input.middle(inputs))


def test_context_beyond_the_ends_is_silence():
    frame_input = FrameInput("context", 4, context=1)
    spectra = torch.arange(1.0, 10.0).view(1, 3, 3).to(torch.complex64)
    assert frame_input.of_spectra(spectra).tolist() == [
        [0, 0, 0, 1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
        [4, 5, 6, 7, 8, 9, 0, 0, 0],
    ]


def test_two_sided_spectra_are_the_full_fft_and_mirrored_bins_are_averaged():
    frame = np.random.default_rng(0).standard_normal(16)
    frame_input = FrameInput(n_fft=16, spectrum="two-sided")
    spectra = torch.from_numpy(np.fft.rfft(frame))[None, None]
    np.testing.assert_allclose(frame_input.of_spectra(spectra)[0], np.abs(np.fft.fft(frame)))
    magnitudes = torch.rand(1, 16, dtype=torch.float64)
    expected = np.fft.ifft(magnitudes[0].numpy() * np.exp(1j * np.angle(np.fft.fft(frame)))).real
    result = np.fft.irfft(frame_input.to_spectra(magnitudes, spectra)[0, 0].numpy(), 16)
    np.testing.assert_allclose(result, expected)


def test_magnitudes_get_the_phase_of_the_recording_and_negative_ones_the_opposite():
    frame_input, spectra = FrameInput(n_fft=4), torch.tensor([[[3j, 0.0, -2.0]]], dtype=torch.complex64)
    assert frame_input.to_spectra(torch.tensor([[1.0, 2.0, -5.0]]), spectra).flatten().tolist() == [1j, 2, 5]


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
