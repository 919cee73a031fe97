"""Denoising of arrays and streams: the formula, chunks, gains, types and errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.audio.resample import resample
from partae_fast.denoising import Mask, denoise, separate
from partae_fast.denoising.denoise import denoise_blocks, edges_of
from partae_fast.errors import UserError
from partae_fast.models import FeedForwardSeparator
from partae_fast.models.separation import SourceSeparator
from partae_fast.models.state import tensors_of

from ..models.small import CLASSES, RATE, small_with_settings
from .models import Fixed, Stub

RATES = [22050, 44100, 16000, 48000]
LENGTHS = [1, 7, 63, 64, 65, 127, 1000, 1024, 30_011]


def noise(length, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (length, channels)).astype(np.float32)


def reference(audio, rate, model, floor):
    """Return the formula of the module, computed for the whole recording at once."""
    spectrogram, edges = model.spectrogram, edges_of(model, rate)
    extended = np.concatenate([np.zeros((0, audio.shape[1]), np.float32), *edges.extend([audio])])
    out = np.empty_like(extended)
    for channel in range(audio.shape[1]):
        x = extended[:, channel]
        at_model_rate = resample(x, rate, spectrogram.rate)
        stft = spectrogram.stft(at_model_rate)
        gain = np.zeros(stft.shape, np.float32)
        if len(stft):
            with torch.no_grad():
                signal, noise = model.separate(torch.from_numpy(spectrogram.magnitude(at_model_rate))[None])
            band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
            gain[:, band] = model.mask.gain(signal[0].numpy(), noise[0].numpy())
        masked = spectrogram.istft((np.maximum(gain, floor) - floor) * stft, len(at_model_rate))
        resampled = resample(masked, spectrogram.rate, rate)[: len(x)]
        out[:, channel] = floor * x
        out[: len(resampled), channel] += resampled
    return next(edges.cut([out]))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("length", LENGTHS)
def test_denoising_agrees_with_the_formula(rate, length):
    # Short audio is mirrored many times and so periodic, with many equal maxima in a pool.
    model, audio = Stub(pool=16 if length > 127 else 1), noise(length, min(length, 2))
    for reduction, floor in ((None, 0.0), (20.0, 0.1)):
        denoised = denoise(audio, rate, model, reduction=reduction)
        assert (denoised.dtype, denoised.shape) == (np.float32, audio.shape)
        np.testing.assert_allclose(denoised, reference(audio, rate, model, floor), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        Stub(Spectrogram(n_fft=64, hop=8, low=0.0, high=None), pool=4, taps=8),
        Stub(pool=1, taps=1),
        Stub(pool=3, taps=12),
        Stub(pool=64, taps=5),
    ],
    ids=["overlap 8", "one tap", "more taps than pool", "fewer taps than pool"],
)
@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 6000),
    size=st.integers(50, 3000),
    chunk=st.integers(10, 200),
    channels=st.integers(1, 2),
    rate=st.sampled_from(RATES),
)
def test_chunks_agree_with_the_formula(model, length, size, chunk, channels, rate):
    # Two frames that mirror one another are equal, and in a pool the first maximum wins. Of short audio, and where an
    # end is half a hop from a frame, rounding would decide which one that is.
    length = length if model.pool == 1 else 5007 + 64 * (length % 60)
    audio = noise(length, channels)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    chunked = np.concatenate(list(denoise_blocks(blocks, rate, channels, model, reduction=30, chunk=chunk)))
    assert chunked.shape == audio.shape
    np.testing.assert_allclose(chunked, reference(audio, rate, model, 10 ** (-30 / 20)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("chunk", [50, 160, 4096])
def test_chunks_of_a_partitioned_autoencoder_agree_with_the_formula(untrained, rate, chunk):
    audio = noise(30_011, 2)
    expected = reference(audio, rate, untrained, 0.0)
    assert np.abs(expected).max() > 0.01
    denoised = np.concatenate(list(denoise_blocks([audio], rate, 2, untrained, chunk=chunk)))
    np.testing.assert_allclose(denoised, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("reduction", [None, 12.0])
def test_signal_and_noise_sum_to_the_input(rate, reduction):
    model, audio = Stub(), noise(5003, 2)
    parts = [denoise(audio, rate, model, part, reduction) for part in ("signal", "noise")]
    assert np.abs(parts[0]).max() > 0.01
    assert np.abs(parts[1]).max() > 0.01
    np.testing.assert_allclose(parts[0] + parts[1], audio, rtol=0, atol=1e-7)


def test_each_channel_is_denoised_separately():
    model, audio = Stub(), noise(5000, 3)
    together = denoise(audio, 44100, model)
    for channel in range(3):
        separate_channel = denoise(audio[:, channel], 44100, model)
        assert separate_channel.shape == (5000,)
        np.testing.assert_allclose(together[:, channel], separate_channel, rtol=0, atol=1e-6)


def tone(frequency, rate=44100, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def middle(audio):
    return audio[len(audio) // 4 : -len(audio) // 4]


@pytest.mark.parametrize("frequency", [0, 300, 10_000, 15_000])
@pytest.mark.parametrize(("reduction", "floor"), [(None, 0.0), (20.0, 0.1), (6.0, 10**-0.3)])
def test_frequencies_outside_the_band_are_attenuated_by_the_reduction(frequency, reduction, floor):
    audio = tone(frequency) if frequency else np.ones(22_050, np.float32)
    denoised = denoise(audio, 44100, Fixed(Spectrogram()), reduction=reduction)
    np.testing.assert_allclose(middle(denoised), floor * middle(audio), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("signal", "noise", "reduction", "gain"),
    [(1, 0, None, 1), (0, 1, None, 0), (3, 1, None, 0.9), (0, 1, 20, 0.1), (1, 1, 20, 0.5), (1, 9, 20, 0.1)],
)
def test_frequencies_in_the_band_get_the_gain_limited_by_the_reduction(signal, noise, reduction, gain):
    denoised = denoise(tone(4000), 44100, Fixed(Spectrogram(), signal, noise), reduction=reduction)
    np.testing.assert_allclose(middle(denoised), gain * middle(tone(4000)), rtol=0, atol=2e-3)


def test_a_reduction_of_0_changes_nothing():
    audio = noise(5000, 2)
    np.testing.assert_allclose(denoise(audio, 44100, Stub(), reduction=0), audio, rtol=0, atol=1e-7)


def test_the_mask_of_the_model_is_used():
    model = Fixed(Spectrogram(), 3, 1)
    model.mask = Mask(1.0)
    np.testing.assert_allclose(middle(denoise(tone(4000), 44100, model)), 0.75 * middle(tone(4000)), rtol=0, atol=2e-3)


def test_the_gain_of_the_spectrogram_affects_the_model_but_not_the_audio():
    class Threshold(Fixed):
        def separate(self, x):
            return (x > 1).float(), (x <= 1).float()

    loud, quiet = tone(4000), 1e-3 * tone(4000)
    model = Threshold(Spectrogram(gain=1.0))
    assert np.abs(middle(denoise(quiet, 44100, model))).max() < 1e-5
    model.spectrogram = Spectrogram(gain=1000.0)
    np.testing.assert_allclose(middle(denoise(quiet, 44100, model)), middle(quiet), rtol=0, atol=1e-4)
    np.testing.assert_allclose(middle(denoise(loud, 44100, model)), middle(loud), rtol=0, atol=1e-2)


@pytest.mark.parametrize("part", ["signal", "noise"])
@pytest.mark.parametrize("shape", [(0,), (0, 2), (10_000,), (10_000, 2)])
def test_silence_and_empty_arrays_are_unchanged(untrained, part, shape):
    for rate in (22050, 44100):
        denoised = denoise(np.zeros(shape, np.float32), rate, untrained, part)
        np.testing.assert_array_equal(denoised, np.zeros(shape, np.float32))


def test_float64_strided_arrays_and_tensors_give_the_same_result():
    model, audio = Stub(), noise(3000, 2)
    expected = denoise(audio[:, 1].copy(), 22050, model)
    for converted in (audio[:, 1], audio[:, 1].astype(np.float64), torch.from_numpy(audio)[:, 1]):
        np.testing.assert_array_equal(denoise(converted, 22050, model), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_tensor_gives_a_tensor_of_its_type(dtype):
    model, audio = Stub(), torch.from_numpy(noise(3000, 2)).to(dtype).requires_grad_()
    denoised = denoise(audio, 22050, model)
    assert isinstance(denoised, torch.Tensor) and denoised.dtype == dtype and not denoised.requires_grad
    expected = torch.from_numpy(denoise(audio.detach().float().numpy(), 22050, model))
    assert torch.equal(denoised, expected.to(dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_tensor_on_a_gpu_gives_a_tensor_on_it():
    audio = torch.from_numpy(noise(3000, 2))
    denoised = denoise(audio.cuda(), 22050, Stub())
    assert denoised.is_cuda and torch.equal(denoised.cpu(), denoise(audio, 22050, Stub()))


@pytest.mark.parametrize("kind", CLASSES)
def test_models_of_other_types_give_the_result_of_float32(kind):
    process = separate if issubclass(kind, SourceSeparator) else denoise
    audio = noise(900)[:, 0]
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        model = small_with_settings(kind).to(dtype)
        result = process(audio, RATE, model)
        assert all(tensor.dtype == dtype for tensor in tensors_of(model).values())
        np.testing.assert_equal(result, process(audio, RATE, model.float()))


@pytest.mark.parametrize("wrapped", [torch.compile, torch.nn.DataParallel])
def test_wrapped_models_denoise_and_separate(untrained, wrapped):
    audio = noise(900)[:, 0]
    np.testing.assert_array_equal(denoise(audio, 22050, wrapped(untrained)), denoise(audio, 22050, untrained))
    separator = small_with_settings(FeedForwardSeparator)
    np.testing.assert_equal(separate(audio, RATE, wrapped(separator)), separate(audio, RATE, separator))


@pytest.mark.parametrize("process", [denoise, separate])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("m.safetensors", r"model is the path 'm\.safetensors'; load it first: pf\.load\('m\.safetensors'\)"),
        (Path("m.safetensors"), "model is the path 'm"),
    ],
)
def test_a_path_as_model_is_refused(process, model, message):
    with pytest.raises(TypeError, match=message):
        process(noise(10), 22050, model)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(2, 2), Stub])
def test_other_objects_as_model_are_refused(model):
    with pytest.raises(TypeError, match=r"denoise: model is a .*; pass a trained model, as pf\.load"):
        denoise(noise(10), 22050, model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 2205, 99_999])
def test_samples_that_are_not_finite_are_refused_with_the_time_of_the_first(value, index):
    audio = noise(100_000, 2)
    audio[index:, 1] = value
    with pytest.raises(UserError, match=f"the sample at {index / 22050:.3f} s is {value}"):
        denoise(audio, 22050, Stub())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": np.zeros(10, np.int16)}, "must be floating-point"),
        ({"audio": np.zeros((2, 3, 4), np.float32)}, r"shape \(2, 3, 4\)"),
        ({"audio": np.float32(1)}, r"shape \(\)"),
        ({"rate": 0}, "rate is 0 Hz"),
        ({"rate": 22050.5}, "rate is 22050.5 Hz"),
        ({"part": "music"}, "part is 'music'; it must be signal or noise"),
        ({"reduction": -1.0}, "reduction is -1.0 dB"),
        ({"reduction": np.nan}, "reduction is nan dB"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    arguments = {"audio": np.zeros(10, np.float32), "rate": 22050, "model": Stub(), **change}
    with pytest.raises(UserError, match=message):
        denoise(**arguments)


def test_a_model_without_spectrogram_is_refused():
    model = Stub()
    model.spectrogram = None
    with pytest.raises(UserError, match=r"set model\.spectrogram"):
        denoise(noise(10), 22050, model)


def test_a_reconstruction_of_nan_is_refused():
    with pytest.raises(UserError, match="the model reconstructs NaN"):
        denoise(noise(1000), 22050, Fixed(Spectrogram(), signal=float("nan")))


def test_arguments_are_checked_before_the_stream_is_read():
    def unread():
        raise AssertionError("the stream was read")
        yield

    with pytest.raises(UserError, match="part is"):
        denoise_blocks(unread(), 22050, 1, Stub(), part="music")


def test_an_endless_stream_is_denoised_with_bounded_memory():
    samples_in = 0

    def endless():
        nonlocal samples_in
        while True:
            samples_in += 1000
            yield noise(1000)

    samples_out = 0
    for block in denoise_blocks(endless(), 44100, 1, Stub(), chunk=64):
        samples_out += len(block)
        assert samples_in - samples_out < 30_000
        if samples_out > 100_000:
            break


class HalfBand(torch.nn.Module):
    """Model that estimates 0.5j times the spectrum in the lower half of the bins, and 0 in the upper half."""

    def __init__(self):
        super().__init__()
        self.spectrogram, self.mask = Spectrogram(rate=16000, n_fft=64, hop=16, low=0, high=None), None
        self.pool = self.taps = 1

    def estimate(self, spectra):
        return torch.where(torch.arange(33) < 16, 0.5j * spectra, 0)


def test_estimated_spectra_replace_the_masked_ones():
    model, audio = HalfBand(), noise(4000)[:, 0]
    spectrogram, inside = model.spectrogram, slice(64, -64)  # beyond the ends the audio is continued
    spectra = spectrogram.stft(audio)
    expected = spectrogram.istft(model.estimate(torch.from_numpy(spectra)).numpy(), len(audio))
    denoised = denoise(audio, 16000, model)
    np.testing.assert_allclose(denoised[inside], expected[inside], atol=1e-6)
    np.testing.assert_allclose(denoised + denoise(audio, 16000, model, "noise"), audio, atol=1e-6)
    floored = np.where(np.arange(33) < 16, 0.5j * spectra, 0.1 * spectra)
    limited = denoise(audio, 16000, model, reduction=20.0)
    np.testing.assert_allclose(limited[inside], spectrogram.istft(floored, len(audio))[inside], atol=1e-6)
