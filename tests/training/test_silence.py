"""Digital silence in noise-only audio: named, left out, and refused if it is all there is."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.systems.field import Settings
from partae_fast.training.material import Material
from partae_fast.training.silence import sounding_frames, sounding_stretches
from partae_fast.training.spectrograms import AskedSpectrogram, prepare

RATE = 22050
SPECTROGRAM = Spectrogram()  # windows of 128, 64 apart


def noise(seconds=2.0, seed=0, level=0.02, rate=RATE):
    return np.random.default_rng(seed).normal(0, level, round(seconds * rate)).astype(np.float32)


def with_gap(start=0.5, end=1.5, value=0.0, **options):
    samples = noise(**options)
    rate = options.get("rate", RATE)
    samples[round(start * rate) : round(end * rate)] = value
    return samples


@pytest.mark.parametrize("n_fft", [128, 1024])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_frames_that_silence_overlaps_are_left_out(value, n_fft):
    samples, spectrogram = with_gap(value=value), Spectrogram(n_fft=n_fft, hop=n_fft // 2)
    level = float(np.sqrt(np.square(samples).mean()))
    sounding = sounding_frames(spectrogram.magnitude(samples), level, spectrogram)
    centres = np.arange(len(sounding)) * spectrogram.hop
    start, end, hop = 0.5 * RATE, 1.5 * RATE, spectrogram.hop
    assert not sounding[(centres > start - hop) & (centres < end + hop)].any()
    assert sounding[(centres < start - 3 * hop) | (centres > end + 3 * hop)].all()


def test_quiet_noise_of_the_last_bit_is_sound():
    steps = np.random.default_rng(0).integers(-1, 2, RATE).astype(np.float32) / 2**15
    steps[:100] = 1  # one loud click
    assert sounding_frames(SPECTROGRAM.magnitude(steps), float(np.std(steps)), SPECTROGRAM).all()
    assert len(sounding_stretches(steps[200:], RATE)) == 1


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_stretches_between_silences_are_kept(value):
    first, second = sounding_stretches(with_gap(value=value), RATE)
    np.testing.assert_array_equal(first, noise()[: RATE // 2])
    np.testing.assert_array_equal(second, noise()[round(1.5 * RATE) :])
    assert sounding_stretches(np.zeros(RATE, np.float32), RATE) == []
    assert sounding_stretches(np.zeros(0, np.float32), RATE)[0].size == 0
    whole = noise()
    whole[1000:1100] = 0  # 4.5 ms
    assert sounding_stretches(whole, RATE)[0] is whole


def prepared(noise_samples, cache=None, rate=RATE, **changes):
    material = Material([(noise(seed=1), RATE)], noise=[(noise_samples, rate)], **changes)
    return prepare(material, Settings.usual, AskedSpectrogram(), 1.0, cache=cache)


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_silence_in_a_recording_of_noise_is_named_and_left_out(caplog, rate):
    complete = prepared(noise(rate=rate), rate=rate).noise[0]
    caplog.clear()
    (magnitudes,) = prepared(with_gap(rate=rate), rate=rate).noise
    assert magnitudes.any(axis=1).all()
    assert magnitudes.mean() == pytest.approx(complete.mean(), rel=0.05)
    assert len(magnitudes) / len(complete) == pytest.approx(0.5, abs=0.05)
    (message,) = [text for text in caplog.messages if "silence" in text]
    assert message == "noise recording 0: 1.02 of 2.01 s of noise-only audio are digital silence: left out"


def test_silence_in_files_of_the_cache_is_left_out(tmp_path, caplog):
    paths = [tmp_path / name for name in ("song.wav", "noise.wav")]
    for path, samples in zip(paths, (noise(seed=1), with_gap()), strict=True):
        pf.audio.files.write(path, samples, RATE, "FLOAT")
    material = Material([paths[0]], noise=[paths[1]])
    stored = prepare(material, Settings.usual, AskedSpectrogram(), 1.0, cache=tmp_path / "cache").noise[0]
    assert 0.45 < len(stored) * Settings.usual.hop / RATE / 2 < 0.55
    assert stored[:].any(axis=1).all()
    assert "noise.wav: 1.02 of 2.01 s of noise-only audio are digital silence" in caplog.text


def test_silence_between_labels_is_left_out(tmp_path, caplog):
    (tmp_path / "song.txt").write_text("0.1\t0.3\tcall\n")
    pf.audio.files.write(tmp_path / "song.wav", with_gap(), RATE, "FLOAT")
    material = Material([tmp_path / "song.wav"], labels=[tmp_path / "song.txt"])
    spectrograms = prepare(material, Settings.usual, AskedSpectrogram(), 1.0)
    assert spectrograms.noise[0].any(axis=1).all()
    _, stretches = Material([tmp_path / "song.wav"], labels=[tmp_path / "song.txt"]).weakly_labelled(RATE)
    assert [stretch.any() for stretch in stretches] == [True] * len(stretches)
    assert sum(map(len, stretches)) / RATE == pytest.approx(0.6, abs=0.05)
    assert caplog.text.count("are digital silence: left out") == 2


def fragment():
    """Return what AudioMoth writes at a full card: 32 samples among zeros."""
    samples = np.zeros(26_272, np.float32)
    samples[5000:5032] = noise()[:32]
    return samples


def test_fragments_between_silence_are_refused_as_noise():
    material = Material([(noise(seed=1), RATE)], noise=[(fragment(), RATE)])
    with pytest.raises(
        UserError, match=r"all noise-only audio is digital silence, or fragments .* give other recordings"
    ):
        prepare(material, Settings.usual, AskedSpectrogram(), 1.0)
    for read in (lambda: material.weakly_labelled(RATE), lambda: material.channels("noise", RATE)):
        with pytest.raises(UserError, match="all noise-only audio is digital silence"):
            read()


def test_a_warning_is_given_once_for_a_recording(caplog):
    material = Material([(noise(seed=1), RATE)], noise=[(with_gap(), RATE)])
    prepare(material, Settings.usual, AskedSpectrogram(), 1.0)
    material.weakly_labelled(RATE)
    assert caplog.text.count("digital silence") == 1


def test_audio_that_may_have_signal_keeps_its_silence():
    material = Material([(with_gap(), RATE)], noise=[(noise(), RATE)])
    whole = Material([(noise(), RATE)], noise=[(noise(), RATE)])
    lengths = [len(prepare(m, Settings.usual, AskedSpectrogram(), 1.0).signal[0]) for m in (material, whole)]
    assert lengths[0] == lengths[1]
