"""Tests of `fit`: defaults, band, rate, labels, levels and refused input."""

import logging
from dataclasses import asdict

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.labels import Event
from partae_fast.masking.mask import Mask
from partae_fast.models.storage import load, save
from partae_fast.systems.field import Settings as FieldSettings
from partae_fast.systems.stowell2015 import Settings as PaperSettings
from partae_fast.training.material import Source
from partae_fast.training.spectrograms import AskedSpectrogram, spectrogram_for
from tests.calls import fit

RATE = 22050
PAPER = PaperSettings()


def hiss(seconds, seed=0, rate=RATE, level=0.05):
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * rate)).astype(np.float32)


def song(seconds, seed=0, rate=RATE):
    """Return hiss with a 3 kHz tone in the first half of every second."""
    t = np.arange(round(seconds * rate)) / rate
    return (hiss(seconds, seed, rate) + 0.2 * np.sin(2 * np.pi * 3000.0 * t) * (t % 1 < 0.5)).astype(np.float32)


def quick(recordings, noise=None, labels=None, **settings):
    """Train system stowell2015 for two steps, on a back-end without compiling."""
    defaults = {"system": "stowell2015", "steps": 2, "backend": "eager", "device": "cpu"}
    return fit(recordings, noise, labels, **defaults | settings)


@pytest.fixture
def written(tmp_path):
    """Return write(name, samples, rate), which writes a file and returns its path."""

    def write(name, samples, rate=RATE):
        files.write(tmp_path / name, samples, rate, subtype="FLOAT")
        return tmp_path / name

    return write


@pytest.fixture
def label_file(tmp_path):
    """Return write(*lines), which writes a label track and returns its path."""

    def write(*lines, name="labels.txt"):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
        return tmp_path / name

    return write


def test_default_settings():
    """The settings of bench/results/quality/field.md and docs/quality.md."""
    field = FieldSettings()
    assert asdict(field) == {
        **dict.fromkeys(("low", "high", "rate", "n_fft", "hop", "bins")),
        "level": 0.2,
        "frames": 128,
        "latents": 64,
        "taps": 5,
        "pool": 4,
        "background": 0.25,
        "penalty": 100.0,
        "noise_only": 0.5,
        "batch": 8,
        "filter_share": 0.75,
    }
    assert asdict(field.usual) == {"rate": 22050, "n_fft": 256, "hop": 64, "low": 80.0, "high": 11025.0}
    assert (field.optimizer, field.learning_rate, field.steps, field.match_noise) == ("adam", 2e-3, 2200, True)
    assert field.mask == Mask(exponent=1.0, background=0.0, noise=0.4, gate=1.5, smoothing=3)
    assert field.stages(2200) == [600, 800, 800]


def test_stowell2015_has_the_settings_of_the_paper():
    assert asdict(PAPER) == {
        **dict.fromkeys(("low", "high", "rate", "n_fft", "hop", "bins")),
        "level": 0.2,
        "frames": 512,
        "latents": 32,
        "taps": 9,
        "pool": 16,
        "background": 0.25,
        "penalty": 0.75,
        "noise_only": 0.25,
        "batch": 16,
    }
    assert asdict(PAPER.usual) == {"rate": 22050, "n_fft": 128, "hop": 64, "low": 1700.0, "high": 7200.0}
    assert (PAPER.optimizer, PAPER.learning_rate, PAPER.steps) == ("adadelta", None, 4000)
    model = quick([(song(4), RATE)], [(hiss(4), RATE)])
    shape = {"bins": 32, "latents": 32, "taps": 9, "pool": 16, "background": 0.25}
    assert model.config() == {**shape, "seed": 0, "negative_slope": 0.0, "rectified_output": False}
    assert model.spectrogram.bins == 32
    assert model.mask == Mask(exponent=2.0)


def test_fitted_model_can_be_saved(tmp_path):
    model = quick([(song(4), RATE)], [(hiss(4), RATE)], steps=40)
    assert len(model.history.loss) == 40
    assert np.mean(model.history.loss[-5:]) < np.mean(model.history.loss[:5])
    assert (model.noise_mean_square > 0).all()
    save(model, tmp_path / "m")
    assert load(tmp_path / "m").spectrogram == model.spectrogram


def test_files_and_arrays_are_equivalent(written):
    one = quick([written("a.wav", song(4))], [written("b.wav", hiss(4))])
    other = quick([(song(4), RATE)], [(hiss(4), RATE)])
    assert one.history.loss == other.history.loss


@pytest.mark.parametrize("factor", [0.001, 30.0])
def test_level_of_the_recordings_does_not_matter(factor):
    plain = quick([(song(4), RATE)], [(hiss(4), RATE)], steps=5)
    other = quick([(song(4) * np.float32(factor), RATE)], [(hiss(4) * np.float32(factor), RATE)], steps=5)
    assert other.spectrogram.gain == pytest.approx(plain.spectrogram.gain / factor, rel=1e-5)
    np.testing.assert_allclose(other.history.loss, plain.history.loss, rtol=1e-3)
    magnitudes = plain.spectrogram.magnitude(song(4))
    assert np.sqrt(np.mean(magnitudes.astype(float) ** 2)) == pytest.approx(PAPER.level, rel=1e-4)


def test_rates_are_resampled_and_channels_are_separate_recordings():
    stereo = np.stack([song(4), song(4, seed=5)], axis=1)
    model = quick([(stereo, RATE), (song(4, rate=48000), 48000)], [(hiss(4, rate=32000), 32000)])
    separate = quick(
        [(stereo[:, 0], RATE), (stereo[:, 1], RATE), (song(4, rate=48000), 48000)], [(hiss(4, rate=32000), 32000)]
    )
    assert model.history.loss == separate.history.loss


def test_silent_channel_is_left_out(caplog):
    silent = np.stack([song(4), np.zeros_like(song(4))], axis=1)
    model = quick([(silent, RATE)], [(hiss(4), RATE)])
    assert "1 of 2 channels are silent: left out" in caplog.text
    assert model.history.loss == quick([(song(4), RATE)], [(hiss(4), RATE)]).history.loss


def test_run_is_resumed_from_its_checkpoint(tmp_path):
    inputs = ([(song(4), RATE)], [(hiss(4), RATE)])
    whole = quick(*inputs, steps=6)
    quick(*inputs, steps=4, checkpoint=tmp_path / "c")
    with pytest.raises(UserError, match="a checkpoint exists"):
        quick(*inputs, steps=6, checkpoint=tmp_path / "c")
    again = quick(*inputs, steps=6, checkpoint=tmp_path / "c", resume=True)
    assert again.history.loss == whole.history.loss
    assert len(quick(*inputs, steps=6, checkpoint=tmp_path / "c", resume=True).history.loss) == 6
    with pytest.raises(UserError, match="the recordings, their labels or their band differ"):
        quick([(song(5), RATE)], inputs[1], checkpoint=tmp_path / "c", resume=True)


# Sources (rate, events or None), requested settings, and the expected rate, n_fft, hop, low and high.
CALLS = [Event(1.0, 2.0, "", 2091.0, 13970.0)]
LOW_CALLS = [Event(1.0, 2.0, "", 500.0, 3000.0)]
PLAIN = [Event(1.0, 2.0)]
NARROW = [Event(1.0, 2.0, "", 2000.0, 2900.0)]
INFRASOUND = [Event(1.0, 2.0, "", 18.0, 28.0)]
GRIDS = [
    ([(44100, None)], {}, (22050, 128, 64, 1700.0, 7200.0)),
    ([(44100, PLAIN)], {}, (22050, 128, 64, 1700.0, 7200.0)),
    ([(44100, LOW_CALLS)], {}, (22050, 128, 64, 500.0, 3000.0)),
    ([(44100, CALLS)], {}, (44100, 256, 128, 2091.0, 13970.0)),
    ([(96000, CALLS)], {}, (44100, 256, 128, 2091.0, 13970.0)),
    ([(32000, CALLS)], {}, (32000, 256, 128, 2091.0, 13970.0)),
    ([(24000, CALLS)], {}, (24000, 128, 64, 2091.0, 12000.0)),
    ([(44100, CALLS), (24000, None)], {}, (24000, 128, 64, 2091.0, 12000.0)),
    ([(8000, None)], {}, (22050, 128, 64, 1700.0, 4000.0)),
    ([(44100, CALLS)], {"low": 3000.0, "high": 9000.0}, (22050, 128, 64, 3000.0, 9000.0)),
    ([(44100, None)], {"high": 15000.0}, (44100, 256, 128, 1700.0, 15000.0)),
    ([(44100, CALLS)], {"rate": 22050}, (22050, 128, 64, 2091.0, 11025.0)),
    ([(44100, None)], {"rate": 11025, "high": 5000.0}, (11025, 64, 32, 1700.0, 5000.0)),
    ([(44100, None)], {"n_fft": 512}, (22050, 512, 256, 1700.0, 7200.0)),
    ([(44100, None)], {"hop": 32}, (22050, 64, 32, 1700.0, 7200.0)),
    ([(44100, None)], {"n_fft": 512, "hop": 64}, (22050, 512, 64, 1700.0, 7200.0)),
    ([(44100, NARROW)], {}, (11025, 128, 64, 2000.0, 2900.0)),
    ([(44100, INFRASOUND)], {}, (86, 128, 64, 18.0, 28.0)),
    ([(44100, None)], {"low": 2000.0, "high": 2900.0}, (11025, 128, 64, 2000.0, 2900.0)),
    ([(2000, None)], {}, (5512, 128, 64, 425.0, 1000.0)),
]


@pytest.mark.parametrize(("sources", "asked", "expected"), GRIDS)
def test_band_and_rate_follow_the_material(sources, asked, expected):
    material = [Source(f"recording {i}", "", rate, events) for i, (rate, events) in enumerate(sources)]
    grid = spectrogram_for(material, PAPER.usual, AskedSpectrogram(**asked))
    assert (grid.rate, grid.n_fft, grid.hop, grid.low, grid.high) == expected


@pytest.mark.parametrize(
    ("rate", "low", "spacing"), [(8000, 80.0, 86.13), (4000, 40.0, 43.07), (1000, 10.0, 10.77), (250, 2.5, 2.69)]
)
def test_the_default_band_follows_the_rate_downwards(rate, low, spacing):
    grid = spectrogram_for([Source("a", "", rate)], FieldSettings.usual, AskedSpectrogram())
    assert (grid.low, grid.high, grid.n_fft, grid.hop) == (low, rate / 2, 256, 64) and grid.bins >= 31
    assert grid.rate / grid.n_fft == pytest.approx(spacing, rel=0.01)


def test_calls_of_18_to_28_hz_at_250_hz_are_kept():
    """The default band had one bin here, and nothing was said."""
    t = np.arange(250 * 120) / 250
    noise = hiss(120, 1, 250)
    calls = 0.2 * np.sin(2 * np.pi * 23 * t) * (t % 20 < 6)
    model = fit([(noise + calls, 250)], [(hiss(120, 2, 250), 250)], system="filter")
    signal = pf.denoise((noise + calls).astype(np.float32), 250, model)
    inside = np.flatnonzero(t % 20 < 6)
    assert np.mean(signal[inside] * calls[inside]) > 0.8 * np.mean(calls[inside] ** 2)
    assert np.std(signal[t % 20 > 8]) < 0.5 * np.std(noise)


@pytest.mark.parametrize(
    ("sources", "asked", "message"),
    [
        ([(44100, PLAIN)], {"low": 5000.0, "high": 5020.0}, "the band from 5000 to 5020 Hz has 4 bins, 5.38 Hz apart"),
        ([(44100, [Event(1.0, 2.0, "", 3000.0, 3000.0)])], {}, "no bin lies from 3000 to 3000 Hz"),
        ([(44100, PLAIN)], {"bins": 7}, "has 7 bins, 172 Hz apart, and a model needs 8; choose a wider band with low"),
        ([(44100, PLAIN)], {"rate": 22050, "n_fft": 24, "hop": 12}, "has 6 bins"),
    ],
)
def test_a_band_of_few_bins_is_refused(sources, asked, message):
    material = [Source("a", "", rate, events) for rate, events in sources]
    with pytest.raises(UserError, match=message):
        spectrogram_for(material, PAPER.usual, AskedSpectrogram(**asked))


@pytest.mark.parametrize(
    ("rates", "labels", "message"),
    [
        (
            [22050, 8000, 44100],
            None,
            "the band of all recordings ends at 4000 Hz instead of 11025 Hz because of recording 1 at 8000 Hz, and "
            "sound above it will be removed: leave that out, or keep the band with low and high (--low, --high)",
        ),
        (
            [44100, 8000, 8000, 8000],
            None,
            "the band of all recordings ends at 4000 Hz instead of 11025 Hz because of recording 1 and 2 more at 8000",
        ),
        ([44100, 24000], CALLS, "ends at 12000 Hz instead of 13970 Hz because of recording 1 at 24000 Hz"),
        ([16000, 8000], None, "ends at 4000 Hz instead of 8000 Hz because of recording 1 at 8000 Hz"),
        ([22000, 22000], None, "the band would end at 11025 Hz and is cut at half the rate, 11000 Hz"),
        ([22050, 22000], None, "the band would end at 11025 Hz and is cut at half the rate, 11000 Hz"),
    ],
)
def test_recordings_that_cut_the_band_of_all_are_named(caplog, rates, labels, message):
    sources = [Source(f"recording {i}", "", rate, None if i else labels) for i, rate in enumerate(rates)]
    spectrogram_for(sources, FieldSettings.usual, AskedSpectrogram())
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and message in warnings[0]


def test_a_band_that_the_caller_keeps_names_the_recordings_that_are_silent_in_it(caplog):
    sources = [Source("new.wav", "", 44100), Source("old.wav", "", 8000)]
    grid = spectrogram_for(sources, FieldSettings.usual, AskedSpectrogram(high=11025.0))
    assert grid.high == 11025.0
    assert "the band ends at 11025 Hz, and old.wav at 8000 Hz ends at 4000" in caplog.text


@pytest.mark.parametrize(("bins", "rate"), [(40, 22050), (70, 44100)])
def test_bins_set_the_upper_end_of_the_band(bins, rate):
    grid = spectrogram_for([Source("a", "", 48000)], PAPER.usual, AskedSpectrogram(bins=bins))
    assert (grid.bins, grid.rate) == (bins, rate)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"low": 9000.0}, "high"),
        ({"low": -1.0}, "low"),
        ({"bins": 31, "high": 7200.0}, "holds 32 bins"),
        ({"rate": 0}, "rate"),
        ({"rate": -5}, "rate"),
        ({"n_fft": 100, "hop": 33}, "hop"),
        ({"high": 30000.0}, "high"),
        ({"bins": 0}, "bins"),
    ],
)
def test_invalid_spectrogram_is_refused(asked, message):
    with pytest.raises(UserError, match=message):
        quick([(song(1), RATE)], [(hiss(1), RATE)], **asked)


def test_labels_separate_signal_and_noise(written, label_file):
    """Time between events is noise-only, and the rest is signal."""
    audio = np.concatenate([hiss(1.5), song(2), hiss(1.5, seed=1)])
    track = label_file("1.5\t3.5\tsong")
    model = quick([written("a.wav", audio)], labels=track)
    from_array = quick([(audio, RATE)], labels=track)
    assert model.history.loss == from_array.history.loss
    # The 3 kHz tone is in the signal only.
    tone = int(np.argmin(np.abs(model.spectrogram.frequencies - 3000.0)))
    assert model.mean[tone] > 3 * model.mean.median()
    assert model.noise_mean_square[tone] < 3 * model.noise_mean_square.median()


def test_recording_that_is_not_listed_is_signal(written, label_file):
    listed, other = written("a.wav", hiss(3)), written("b.wav", song(3))
    model = quick([listed, other], labels=label_file(name="a.txt"))
    tone = int(np.argmin(np.abs(model.spectrogram.frequencies - 3000.0)))
    assert model.mean[tone] > 3 * model.mean.median()
    assert model.noise_mean_square[tone] < 3 * model.noise_mean_square.median()


def test_labels_and_noise_together(written, label_file):
    audio = np.concatenate([hiss(2), song(2)])
    model = quick([written("a.wav", audio)], [(hiss(3, seed=4), RATE)], label_file("2\t4\tsong"))
    assert len(model.history.loss) == 2


def test_short_recordings_shorten_the_crops(caplog):
    with caplog.at_level(logging.WARNING, "partae_fast"):
        quick([(song(4), RATE)], [(hiss(1.0), RATE)])
    assert "noise-only audio lasts 346 frames at most: crops have 336 frames instead of 512" in caplog.text


def test_shortest_recording_has_eight_pools():
    samples = 127 * 64  # 128 frames, 8 pools
    quick([(song(1)[:samples], RATE)], [(hiss(1), RATE)])
    with pytest.raises(UserError, match=r"may have signal lasts 0.37 s at most \(127 frames\) .* 0.37 s \(128"):
        quick([(song(1)[: samples - 64], RATE)], [(hiss(1), RATE)])


def broken(index, value):
    samples = song(2)
    samples[index] = value
    return samples


WRONG = [
    (([],), "model stowell2015 needs noisy recordings"),
    (("a.wav",), "a single recording; give a list"),
    (([("nothing.wav")], [(hiss(2), RATE)]), "nothing.wav: no such file"),
    (([(song(2), RATE)],), "there is no noise"),
    (([(song(2), RATE)], []), "there is no noise"),
    (([(np.zeros(RATE, np.float32), RATE)], [(hiss(2), RATE)]), "recording 0: every sample is 0"),
    (([(song(2), RATE)], [(np.zeros(RATE, np.float32), RATE)]), "noise recording 0: every sample is 0"),
    (([(broken(100, np.nan), RATE)], [(hiss(2), RATE)]), "recording 0: the sample at 0.005 s is nan"),
    (([(song(2), RATE)], [(broken(0, -np.inf), RATE)]), "noise recording 0: the sample at 0.000 s is -inf"),
    (([(np.zeros(RATE, np.int16), RATE)], [(hiss(2), RATE)]), "recording 0: audio is int16"),
    (([(np.zeros((0, 2), np.float32), RATE)], [(hiss(2), RATE)]), "has no samples"),
    (
        ([(np.full(2 * RATE, 0.5, np.float32), RATE)], [(hiss(2), RATE)]),
        "recording 0: is silent from 1700 to 7200 Hz",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_invalid_input_is_refused_with_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        quick(*arguments)
    assert "\n" not in str(error.value)


def test_invalid_labels_are_refused(written, label_file):
    recording = written("a.wav", song(3))
    with pytest.raises(UserError, match="the labels leave no stretch that is noise-only"):
        quick([recording], labels=label_file("0\t3\tall"))
    with pytest.raises(UserError, match="all labelled time is noise-only"):
        quick([recording], labels=label_file())
    with pytest.raises(UserError, match=r"a label ends at 9\.000 s and the recording at 3\.000 s"):
        quick([recording], labels=label_file("1\t9\tlate"))
    with pytest.raises(UserError, match="no such file"):
        quick([recording], labels=recording.parent / "none.txt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"system": "mystery"}, "model 'mystery' is not known; choose one of field, adaptive-dae"),
        ({"device": "abacus"}, "device 'abacus' is not known"),
        ({"steps": -1}, "steps is -1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        quick([(song(2), RATE)], [(hiss(2), RATE)], **settings)


def test_field_recording_with_labels(shared_data):
    track = shared_data("field/spinetail.audacity.txt")
    model = quick([shared_data("field/spinetail.flac")], labels=track)
    assert (model.spectrogram.rate, model.spectrogram.n_fft, model.spectrogram.hop) == (44100, 256, 128)
    assert model.spectrogram.low == pytest.approx(2091.25, abs=0.01)
    assert model.spectrogram.high == pytest.approx(13969.58, abs=0.01)


def test_keywords_of_version_0_1_still_work_and_warn():
    """`preset` is still accepted; other keywords are deprecated."""
    arguments = [(song(4), RATE)], [(hiss(4), RATE)]
    options = pf.TrainingOptions(steps=2, backend="eager", device="cpu", seed=3)
    expected = pf.fit(*arguments, preset="stowell2015", settings={"low": 2000.0, "penalty": 2.0}, options=options)
    with pytest.warns(DeprecationWarning, match="low, penalty, steps, backend, device, seed"):
        older = pf.fit(
            *arguments, preset="stowell2015", low=2000.0, penalty=2.0, steps=2, backend="eager", device="cpu", seed=3
        )
    assert older.history == expected.history and older.w_enc.equal(expected.w_enc)
    with pytest.warns(DeprecationWarning, match="fit_system is deprecated"):
        system = pf.fit_system("stowell2015", recordings=arguments[0], noise=arguments[1], steps=2, backend="eager")
    assert len(system.history.loss) == 2
    with pytest.raises(TypeError, match="fit has no argument 'stepps'"):
        pf.fit(*arguments, stepps=2)
