"""Audio arrays and tensors: accepted types and shapes, errors, and the warning about unscaled integers."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.audio.arrays import MOST_CHANNELS, columns_of, float_array, shaped_like
from partae_fast.errors import UserError
from tests.calls import fit


@pytest.mark.parametrize("shape", [(7,), (7, 2), (0,), (0, 2), (1,), (1, 1), (2, 2), (MOST_CHANNELS, MOST_CHANNELS)])
@pytest.mark.parametrize(
    "convert",
    [
        lambda audio: audio,
        lambda audio: audio.astype(np.float16),
        lambda audio: torch.from_numpy(audio).double(),
        lambda audio: torch.from_numpy(audio).bfloat16(),
        lambda audio: torch.from_numpy(audio).requires_grad_(),
    ],
)
def test_arrays_and_tensors_become_columns_and_are_converted_back(shape, convert):
    audio = convert(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    columns = columns_of(audio, "denoise")
    assert columns.shape == (shape if len(shape) == 2 else (*shape, 1)) and np.issubdtype(columns.dtype, np.floating)
    back = shaped_like(columns.astype(np.float32), audio)
    assert tuple(back.shape) == shape and type(back) is type(audio)
    if isinstance(audio, torch.Tensor):
        assert torch.equal(back, audio.detach()) and (back.dtype, back.device) == (audio.dtype, audio.device)
        assert not back.requires_grad


@pytest.mark.parametrize("shape", [(2, 44100), (1, 2), (1, 44100), (44100, 65), (63, 64), (0, 65), (5, 0)])
def test_channels_before_samples_are_refused_with_transpose(shape):
    for audio in (np.zeros(shape, np.float32), torch.zeros(shape)):
        with pytest.raises(UserError, match=r"denoise: audio has shape .*\(samples, channels\).*transpose") as error:
            columns_of(audio, "denoise")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(), (1, 2, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match=r"must have shape \(samples,\) or \(samples, channels\): pass the recordings"):
        columns_of(np.zeros(shape, np.float32), "denoise")


@pytest.mark.parametrize(
    "audio", [np.zeros(9, np.int16), torch.zeros(9, dtype=torch.int16), np.zeros(9, bool), np.zeros(9, complex)]
)
def test_integers_are_refused_with_their_full_scale(audio):
    with pytest.raises(UserError, match=r"audio is .* it must be floating-point .* 32768 for int16"):
        float_array(audio, "denoise")


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ([0.1, 0.2], r"audio is a list; give a NumPy array or a PyTorch tensor .* np\.asarray"),
        (None, "audio is a NoneType"),
        ("a.wav", r"audio is the path 'a\.wav'; read it first: audio, rate = soundfile\.read\(path\)"),
        (Path("a.wav"), r"audio is the path 'a\.wav'"),
    ],
)
def test_audio_that_is_not_an_array_raises_type_error(audio, message):
    with pytest.raises(TypeError, match=message):
        float_array(audio, "denoise")


@pytest.mark.parametrize(("peak", "warns"), [(100.0, False), (-101.0, True), (32767.0, True), (np.nan, False)])
def test_unscaled_integers_log_one_warning(peak, warns, caplog):
    audio = np.zeros((50, 2), np.float32)
    audio[3, 1] = peak
    with caplog.at_level(logging.WARNING, "partae_fast"):
        columns_of(audio, "denoise")
    expected = f"denoise: the peak is {abs(peak):g} and full scale is 1"
    assert [expected in line for line in caplog.messages] == [True] * warns


def test_every_public_function_with_audio_checks_it():
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 3000)).astype(np.float32)
    model = pf.ConvPartitionedAutoencoder(bins=33, latents=2, taps=3, pool=4)
    separator = pf.FeedForwardSeparator(["a", "b"], bins=33)
    model.spectrogram = separator.spectrogram = pf.Spectrogram(rate=8000, n_fft=64, hop=32, low=0.0, high=4000.0)
    calls = [
        lambda audio: pf.denoise(audio, 8000, model),
        lambda audio: pf.separate(audio, 8000, separator),
        lambda audio: fit([(audio, 8000)], noise=[(audio, 8000)], steps=1),
    ]
    for call in calls:
        with pytest.raises(UserError, match="transpose"):
            call(audio)
        with pytest.raises(TypeError, match="is a list"):
            call(audio[0].tolist())
        with pytest.raises(UserError, match="32768 for int16"):
            call(torch.zeros(3000, dtype=torch.int16))
    for transform in (model.spectrogram.magnitude, model.spectrogram.stft):
        with pytest.raises(UserError, match="pass one channel"):
            transform(audio)
        with pytest.raises(TypeError, match="is a list"):
            transform(audio[0].tolist())
        assert np.array_equal(transform(torch.from_numpy(audio[0]).requires_grad_()), transform(audio[0]))
