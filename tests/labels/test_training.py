"""What of labelled recordings is trained on as signal, what as noise, and what as neither."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.errors import UserError
from tests.calls import prepare

RATE = 16000
TONES = {"wren": (1, 2000.0), "robin": (4, 3000.0), "rain": (7, 4000.0)}  # second in which each sounds, and its Hz


@pytest.fixture
def recording(tmp_path):
    """Ten seconds of hiss, two channels, with a tone for a second for each label, in both channels."""
    t = np.arange(10 * RATE) / RATE
    samples = np.random.default_rng(0).normal(0.0, 0.01, (len(t), 2))
    for start, hertz in TONES.values():
        samples += (0.3 * np.sin(2 * np.pi * hertz * t) * ((t >= start) & (t < start + 1)))[:, None]
    files.write(tmp_path / "a.wav", samples.astype(np.float32), RATE)
    return tmp_path / "a.wav"


@pytest.fixture
def table(tmp_path):
    """(rows, columns) -> a table; by default all three labels."""

    def write(rows=None, columns="start,end,label"):
        rows = rows or [f"{start},{start + 1},{label}" for label, (start, _) in TONES.items()]
        (tmp_path / "a.csv").write_text("\n".join([columns, *rows]))
        return tmp_path / "a.csv"

    return write


def sounding(material, kind):
    """The labels whose tone is in what is signal, or noise, and the seconds of it."""
    magnitudes = np.concatenate(getattr(material, kind))
    found = set()
    for label, (_, hertz) in TONES.items():
        bin_ = int(np.argmin(np.abs(material.spectrogram.frequencies - hertz)))
        if magnitudes[:, bin_].max() > 20 * np.median(magnitudes[:, bin_]) or np.median(
            magnitudes[:, bin_]
        ) > 3 * np.median(magnitudes):
            found.add(label)
    return found, len(magnitudes) / material.spectrogram.frame_rate / 2  # of two channels


def prepared(recording, labels, **settings):
    return prepare([recording], labels=labels, system="stowell2015", **settings)


def test_all_labels_are_signal_unless_they_are_chosen(recording, table):
    material = prepared(recording, table())
    found, seconds = sounding(material, "signal")
    assert found == {*TONES} and seconds == pytest.approx(3.6, abs=0.05)
    found, seconds = sounding(material, "noise")
    assert found == set() and seconds == pytest.approx(6.4, abs=0.05)


def test_labels_that_are_not_asked_for_are_neither_signal_nor_noise(recording, table):
    material = prepared(recording, table(), signal_labels=["wren"], noise_labels=["rain"], guard=0.2)
    found, seconds = sounding(material, "signal")
    assert found == {"wren"} and seconds == pytest.approx(1.4, abs=0.05)
    found, seconds = sounding(material, "noise")
    assert found == {"rain"} and seconds == pytest.approx(10 - 2.8, abs=0.05)


def test_short_stretches_of_noise_are_left_out(recording, table):
    material = prepared(recording, table(), guard=0.0, min_noise=1.5)
    assert sounding(material, "noise")[1] == pytest.approx(6.0, abs=0.05)  # 2..4, 5..7 and 8..10 s, not 0..1
    assert sounding(material, "signal")[1] == pytest.approx(3.0, abs=0.05)


def test_a_label_of_one_channel_leaves_its_time_in_the_other_out(recording, table):
    rows = [f"{start},{start + 1},{label},1" for label, (start, _) in TONES.items()]
    material = prepared(recording, table(rows, "start,end,label,channel"), guard=0.0)
    found, seconds = sounding(material, "signal")
    assert found == {*TONES} and seconds == pytest.approx(1.5, abs=0.05)
    found, seconds = sounding(material, "noise")
    assert found == set() and seconds == pytest.approx(7.0, abs=0.05)


def test_the_band_is_of_the_labels_that_are_signal(recording, table):
    rows = [f"{start},{start + 1},{label},{hertz - 500},{hertz + 500}" for label, (start, hertz) in TONES.items()]
    path = table(rows, "start,end,label,low,high")
    assert prepared(recording, path).spectrogram.high == 4500.0
    chosen = prepared(recording, path, signal_labels=["wren"], noise_labels=["rain"]).spectrogram
    assert (chosen.low, chosen.high) == (1500.0, 2500.0)


def test_the_format_may_be_forced_and_the_refusal_names_the_line(recording, table):
    assert len(prepared(recording, table(), label_format="csv").noise) == 2
    with pytest.raises(UserError, match="line 1: 'start,end,label' found"):
        prepared(recording, table(), label_format="audacity")


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (None, {"signal_labels": ["wern"]}, "no event has the label 'wern'; the labels are 'rain', 'robin', 'wren'"),
        (None, {"guard": -1.0}, "guard is -1.0 s"),
        (None, {"guard": 5.0}, "the labels leave no stretch that is noise-only"),
        (None, {"noise_labels": ["wren", "robin", "rain"]}, "all is noise-only or unknown"),
        (["1,2,wren,3"], {}, "a label is of channel 3 and the recording has 2"),
        (["1,12,wren,1"], {}, "a label ends at 12.000 s and the recording at 10.000 s"),
    ],
)
def test_what_cannot_be_is_refused(recording, table, rows, settings, message):
    columns = "start,end,label,channel" if rows else "start,end,label"
    with pytest.raises(UserError, match=message):
        prepared(recording, table(rows, columns), **settings)


def test_labels_cannot_be_chosen_where_there_are_none(recording):
    with pytest.raises(UserError, match="no event has the label 'a'; the labels are none at all"):
        prepare([recording], noise=[recording], system="stowell2015", signal_labels=["a"])
