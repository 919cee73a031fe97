"""How labels divide recordings into signal and noise for training."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.errors import UserError
from tests.calls import prepare

RATE = 16000
TONES = {"wren": (1, 2000.0), "robin": (4, 3000.0), "rain": (7, 4000.0)}  # start in seconds and frequency in Hz


@pytest.fixture
def recording(tmp_path):
    """Return ten seconds of noise in two channels, with a tone of one second in both for each label."""
    t = np.arange(10 * RATE) / RATE
    samples = np.random.default_rng(0).normal(0.0, 0.01, (len(t), 2))
    for start, hertz in TONES.values():
        samples += (0.3 * np.sin(2 * np.pi * hertz * t) * ((t >= start) & (t < start + 1)))[:, None]
    files.write(tmp_path / "a.wav", samples.astype(np.float32), RATE)
    return tmp_path / "a.wav"


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a table, by default with all three labels."""

    def write(rows=None, columns="start,end,label"):
        rows = rows or [f"{start},{start + 1},{label}" for label, (start, _) in TONES.items()]
        (tmp_path / "a.csv").write_text("\n".join([columns, *rows]))
        return tmp_path / "a.csv"

    return write


def audible_labels(material, kind):
    """Return the labels whose tone is in the signal or the noise of the material, and its duration in seconds."""
    magnitudes = np.concatenate(getattr(material, kind))
    labels = set()
    for label, (_, frequency) in TONES.items():
        column = magnitudes[:, int(np.argmin(np.abs(material.spectrogram.frequencies - frequency)))]
        if column.max() > 20 * np.median(column) or np.median(column) > 3 * np.median(magnitudes):
            labels.add(label)
    return labels, len(magnitudes) / material.spectrogram.frame_rate / 2  # of two channels


def prepared(recording, labels, **settings):
    return prepare([recording], labels=labels, system="stowell2015", **settings)


def test_all_labels_are_signal_by_default(recording, table):
    material = prepared(recording, table())
    labels, seconds = audible_labels(material, "signal")
    assert labels == {*TONES} and seconds == pytest.approx(3.6, abs=0.05)
    labels, seconds = audible_labels(material, "noise")
    assert labels == set() and seconds == pytest.approx(6.4, abs=0.05)


def test_labels_outside_signal_labels_are_neither_signal_nor_noise(recording, table):
    material = prepared(recording, table(), signal_labels=["wren"], noise_labels=["rain"], guard=0.2)
    labels, seconds = audible_labels(material, "signal")
    assert labels == {"wren"} and seconds == pytest.approx(1.4, abs=0.05)
    labels, seconds = audible_labels(material, "noise")
    assert labels == {"rain"} and seconds == pytest.approx(10 - 2.8, abs=0.05)


def test_short_noise_only_stretches_are_left_out(recording, table):
    material = prepared(recording, table(), guard=0.0, min_noise=1.5)
    assert audible_labels(material, "noise")[1] == pytest.approx(6.0, abs=0.05)  # 2..4, 5..7 and 8..10 s, not 0..1
    assert audible_labels(material, "signal")[1] == pytest.approx(3.0, abs=0.05)


def test_the_time_of_a_label_in_one_channel_is_left_out_in_the_other(recording, table):
    rows = [f"{start},{start + 1},{label},1" for label, (start, _) in TONES.items()]
    material = prepared(recording, table(rows, "start,end,label,channel"), guard=0.0)
    labels, seconds = audible_labels(material, "signal")
    assert labels == {*TONES} and seconds == pytest.approx(1.5, abs=0.05)
    labels, seconds = audible_labels(material, "noise")
    assert labels == set() and seconds == pytest.approx(7.0, abs=0.05)


def test_the_band_contains_the_signal_labels_only(recording, table):
    rows = [f"{start},{start + 1},{label},{hertz - 500},{hertz + 500}" for label, (start, hertz) in TONES.items()]
    path = table(rows, "start,end,label,low,high")
    assert prepared(recording, path).spectrogram.high == 4500.0
    spectrogram = prepared(recording, path, signal_labels=["wren"], noise_labels=["rain"]).spectrogram
    assert (spectrogram.low, spectrogram.high) == (1500.0, 2500.0)


def test_label_format_overrides_detection(recording, table):
    assert len(prepared(recording, table(), label_format="csv").noise) == 2
    with pytest.raises(UserError, match="line 1: the line has 'start,end,label'; it must have the form start<TAB>end"):
        prepared(recording, table(), label_format="audacity")


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (None, {"signal_labels": ["wern"]}, "no event has the label 'wern'; the labels are 'rain', 'robin', 'wren'"),
        (None, {"guard": -1.0}, "guard is -1.0 s"),
        (None, {"guard": 5.0}, "the labels leave no stretch that is noise-only"),
        (None, {"noise_labels": ["wren", "robin", "rain"]}, "all labelled time is noise-only or unknown"),
        (["1,2,wren,3"], {}, "a label is in channel 3, but the last channel of the recording is 2"),
        (["1,12,wren,1"], {}, "a label ends at 12.000 s and the recording at 10.000 s"),
    ],
)
def test_unusable_labels_are_refused(recording, table, rows, settings, message):
    columns = "start,end,label,channel" if rows else "start,end,label"
    with pytest.raises(UserError, match=message):
        prepared(recording, table(rows, columns), **settings)


def test_signal_labels_without_label_files_are_refused(recording):
    with pytest.raises(UserError, match="no event has the label 'a'; there are no labels"):
        prepare([recording], noise=[recording], system="stowell2015", signal_labels=["a"])
