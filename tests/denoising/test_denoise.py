"""Denoising of arrays and streams: the stated rule, the same in chunks as in one piece, and the odd inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.audio.resample import resample
from partae_fast.denoising import Mask, denoise, separate
from partae_fast.denoising.denoise import denoise_blocks
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


def rule(audio, rate, model, floor):
    """The rule at the head of the module, word for word, the whole recording at once."""
    spectrogram, out = model.spectrogram, np.empty_like(audio)
    for channel in range(audio.shape[1]):
        x = audio[:, channel]
        there = resample(x, rate, spectrogram.rate)
        stft = spectrogram.stft(there)
        gain = np.zeros(stft.shape, np.float32)
        if len(stft):
            with torch.no_grad():
                signal, noise = model.separate(torch.from_numpy(spectrogram.magnitude(there))[None])
            band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
            gain[:, band] = model.mask.gain(signal[0].numpy(), noise[0].numpy())
        changed = spectrogram.istft((np.maximum(gain, floor) - floor) * stft, len(there))
        back = np.zeros_like(x)
        there_and_back = resample(changed, spectrogram.rate, rate)[: len(x)]
        back[: len(there_and_back)] = there_and_back
        out[:, channel] = floor * x + back
    return out


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_rule(rate, length):
    model, audio = Stub(), noise(length, min(length, 2))
    for reduction, floor in ((None, 0.0), (20.0, 0.1)):
        found = denoise(audio, rate, model, reduction=reduction)
        assert (found.dtype, found.shape) == (np.float32, audio.shape)
        np.testing.assert_allclose(found, rule(audio, rate, model, floor), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        Stub(Spectrogram(n_fft=64, hop=8, low=0.0, high=None), pool=4, taps=8),
        Stub(pool=1, taps=1),
        Stub(pool=3, taps=12),
        Stub(pool=64, taps=5),
    ],
    ids=["overlap 8", "no reach", "taps over pool", "pool over taps"],
)
@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 6000),
    size=st.integers(50, 3000),
    chunk=st.integers(10, 200),
    channels=st.integers(1, 2),
    rate=st.sampled_from(RATES),
)
def test_chunks_change_nothing(model, length, size, chunk, channels, rate):
    audio = noise(length, channels)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    chunked = np.concatenate(list(denoise_blocks(blocks, rate, channels, model, reduction=30, chunk=chunk)))
    assert chunked.shape == audio.shape
    np.testing.assert_allclose(chunked, rule(audio, rate, model, 10 ** (-30 / 20)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("chunk", [50, 160, 4096])
def test_chunks_change_nothing_with_the_real_model(real, rate, chunk):
    audio = noise(30_011, 2)
    expected = rule(audio, rate, real, 0.0)
    assert np.abs(expected).max() > 0.01
    found = np.concatenate(list(denoise_blocks([audio], rate, 2, real, chunk=chunk)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("reduction", [None, 12.0])
def test_signal_and_noise_add_up_to_the_input(rate, reduction):
    model, audio = Stub(), noise(5003, 2)
    parts = [denoise(audio, rate, model, part, reduction) for part in ("signal", "noise")]
    assert np.abs(parts[0]).max() > 0.01
    assert np.abs(parts[1]).max() > 0.01
    np.testing.assert_allclose(parts[0] + parts[1], audio, rtol=0, atol=1e-7)


def test_each_channel_is_denoised_on_its_own():
    model, audio = Stub(), noise(5000, 3)
    together = denoise(audio, 44100, model)
    for channel in range(3):
        alone = denoise(audio[:, channel], 44100, model)
        assert alone.shape == (5000,)
        np.testing.assert_allclose(together[:, channel], alone, rtol=0, atol=1e-6)


def tone(frequency, rate=44100, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def middle(audio):
    return audio[len(audio) // 4 : -len(audio) // 4]


@pytest.mark.parametrize("frequency", [0, 300, 10_000, 15_000])
@pytest.mark.parametrize(("reduction", "floor"), [(None, 0.0), (20.0, 0.1), (6.0, 10**-0.3)])
def test_what_the_model_cannot_see_is_attenuated_by_the_reduction(frequency, reduction, floor):
    audio = tone(frequency) if frequency else np.ones(22_050, np.float32)
    found = denoise(audio, 44100, Fixed(Spectrogram()), reduction=reduction)
    np.testing.assert_allclose(middle(found), floor * middle(audio), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("signal", "noise", "reduction", "gain"),
    [(1, 0, None, 1), (0, 1, None, 0), (3, 1, None, 0.9), (0, 1, 20, 0.1), (1, 1, 20, 0.5), (1, 9, 20, 0.1)],
)
def test_what_it_sees_gets_its_gain_and_no_less_than_the_reduction(signal, noise, reduction, gain):
    found = denoise(tone(4000), 44100, Fixed(Spectrogram(), signal, noise), reduction=reduction)
    np.testing.assert_allclose(middle(found), gain * middle(tone(4000)), rtol=0, atol=2e-3)


def test_no_reduction_at_all_changes_nothing():
    audio = noise(5000, 2)
    np.testing.assert_allclose(denoise(audio, 44100, Stub(), reduction=0), audio, rtol=0, atol=1e-7)


def test_the_exponent_of_the_models_mask_is_used():
    model = Fixed(Spectrogram(), 3, 1)
    model.mask = Mask(1.0)
    np.testing.assert_allclose(middle(denoise(tone(4000), 44100, model)), 0.75 * middle(tone(4000)), rtol=0, atol=2e-3)


def test_the_gain_of_the_spectrogram_reaches_the_model_and_not_the_audio():
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
def test_silence_and_nothing_stay_what_they_are(real, part, shape):
    for rate in (22050, 44100):
        found = denoise(np.zeros(shape, np.float32), rate, real, part)
        np.testing.assert_array_equal(found, np.zeros(shape, np.float32))


def test_double_precision_strides_and_tensors_are_taken():
    model, audio = Stub(), noise(3000, 2)
    expected = denoise(audio[:, 1].copy(), 22050, model)
    for same in (audio[:, 1], audio[:, 1].astype(np.float64), torch.from_numpy(audio)[:, 1]):
        np.testing.assert_array_equal(denoise(same, 22050, model), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_tensor_comes_back_as_a_tensor_of_its_type(dtype):
    model, audio = Stub(), torch.from_numpy(noise(3000, 2)).to(dtype).requires_grad_()
    done = denoise(audio, 22050, model)
    assert isinstance(done, torch.Tensor) and done.dtype == dtype and not done.requires_grad
    expected = torch.from_numpy(denoise(audio.detach().float().numpy(), 22050, model))
    assert torch.equal(done, expected.to(dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_tensor_on_a_gpu_comes_back_there():
    audio = torch.from_numpy(noise(3000, 2))
    done = denoise(audio.cuda(), 22050, Stub())
    assert done.is_cuda and torch.equal(done.cpu(), denoise(audio, 22050, Stub()))


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_denoises_in_each_type_as_its_copy_in_float32(kind):
    use = separate if issubclass(kind, SourceSeparator) else denoise
    audio = noise(900)[:, 0]
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        model = small_with_settings(kind).to(dtype)
        done = use(audio, RATE, model)
        assert all(tensor.dtype == dtype for tensor in tensors_of(model).values())
        np.testing.assert_equal(done, use(audio, RATE, model.float()))


@pytest.mark.parametrize("wrapped", [torch.compile, torch.nn.DataParallel])
def test_wrapped_models_denoise_and_separate(real, wrapped):
    audio = noise(900)[:, 0]
    np.testing.assert_array_equal(denoise(audio, 22050, wrapped(real)), denoise(audio, 22050, real))
    separator = small_with_settings(FeedForwardSeparator)
    np.testing.assert_equal(separate(audio, RATE, wrapped(separator)), separate(audio, RATE, separator))


@pytest.mark.parametrize("use", [denoise, separate])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("m.safetensors", r"model is the path 'm\.safetensors'; load it first: pf\.load\('m\.safetensors'\)"),
        (Path("m.safetensors"), "model is the path 'm"),
    ],
)
def test_a_path_in_place_of_a_model_is_refused(use, model, message):
    with pytest.raises(TypeError, match=message):
        use(noise(10), 22050, model)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(2, 2), Stub])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TypeError, match=r"denoise: model is a .*; give a trained model, as pf\.load"):
        denoise(noise(10), 22050, model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 2205, 99_999])
def test_samples_that_are_not_finite_are_refused_with_the_time_of_the_first(value, where):
    audio = noise(100_000, 2)
    audio[where:, 1] = value
    with pytest.raises(UserError, match=f"the sample at {where / 22050:.3f} s is {value}"):
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
def test_what_makes_no_sense_is_refused(change, message):
    call = {"audio": np.zeros(10, np.float32), "rate": 22050, "model": Stub(), **change}
    with pytest.raises(UserError, match=message):
        denoise(**call)


def test_a_model_without_spectrogram_is_refused():
    model = Stub()
    model.spectrogram = None
    with pytest.raises(UserError, match=r"set model\.spectrogram"):
        denoise(noise(10), 22050, model)


def test_a_model_that_gives_nan_is_refused():
    with pytest.raises(UserError, match="the model reconstructs NaN"):
        denoise(noise(1000), 22050, Fixed(Spectrogram(), signal=float("nan")))


def test_settings_are_checked_before_the_stream_is_touched():
    def untouched():
        raise AssertionError("read from")
        yield

    with pytest.raises(UserError, match="part is"):
        denoise_blocks(untouched(), 22050, 1, Stub(), part="music")


def test_memory_is_bounded():
    """A stream without end gives its first second while no more than some chunks of it were read."""
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1000
            yield noise(1000)

    given = 0
    for block in denoise_blocks(endless(), 44100, 1, Stub(), chunk=64):
        given += len(block)
        assert read - given < 30_000
        if given > 100_000:
            break


class Halving(torch.nn.Module):
    """Estimates half of each bin below a frequency, an eighth turn later, and nothing above it."""

    def __init__(self):
        super().__init__()
        self.spectrogram, self.mask = Spectrogram(rate=16000, n_fft=64, hop=16, low=0, high=None), None
        self.pool = self.taps = 1

    def estimate(self, spectra):
        return torch.where(torch.arange(33) < 16, 0.5j * spectra, 0)


def test_what_a_model_estimates_is_taken_as_it_is():
    model, audio = Halving(), noise(4000)[:, 0]
    spectrogram = model.spectrogram
    spectra = spectrogram.stft(audio)
    wanted = spectrogram.istft(model.estimate(torch.from_numpy(spectra)).numpy(), len(audio))
    found = denoise(audio, 16000, model)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found + denoise(audio, 16000, model, "noise"), audio, atol=1e-6)
    floored = np.where(np.arange(33) < 16, 0.5j * spectra, 0.1 * spectra)
    np.testing.assert_allclose(
        denoise(audio, 16000, model, reduction=20.0), spectrogram.istft(floored, len(audio)), atol=1e-6
    )
