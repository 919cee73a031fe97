"""The summary of label files before training."""

import pytest

from partae_fast.labels import Rules
from partae_fast.labels.summary import summarise


def seconds_by_state(summary):
    """Return the title, whether it is listed, and the seconds of signal, noise-only and unknown, of each recording."""
    return [
        [recording.title.rpartition("/")[2], recording.listed, *map(float, recording.seconds().values())]
        for recording in summary.recordings
    ]


def test_each_recording_has_its_seconds_by_state(recordings, table):
    path = table("b.wav,1,2,wren,", "b.wav,1.5,3,wren,", "b.wav,6,7,rain,", "b.wav,8,8.5,robin,", "a.wav,,,,")
    rules = Rules(0.0, signal_labels=["wren"], noise_labels=["rain"])
    summary = summarise([path], recordings, rules)
    assert seconds_by_state(summary) == [
        ["a.wav", True, 0.0, 10.0, 0.0],
        ["b.wav", True, 2.0, 7.5, 0.5],
        ["c.wav", False, 0.0, 0.0, 10.0],
    ]
    assert [(label.label, label.events, label.seconds, label.counts_as) for label in summary.labels] == [
        ("wren", 2, 2.0, "signal"),
        ("rain", 1, 1.0, "noise"),
        ("robin", 1, 0.5, "unknown"),
    ]
    assert [warning[:31] for warning in summary.warnings] == [
        "1 of 3 recordings is not listed",
        "events overlap; their time is c",
    ]


def test_channels_are_separate_if_labels_have_channels(recordings, table):
    summary = summarise([table("a.wav,1,2,wren,1", "a.wav,4,6,wren,2", "a.wav,8,9,wren,")], recordings[:1], Rules(0.0))
    assert seconds_by_state(summary) == [
        ["a.wav, channel 1", True, 2.0, 6.0, 2.0],
        ["a.wav, channel 2", True, 3.0, 6.0, 1.0],
    ]
    assert [len(recording.events) for recording in summary.recordings] == [2, 2]
    assert summary.labels[0].seconds == 4.0


@pytest.mark.parametrize(
    ("rows", "rules", "warning"),
    [
        (["b.wav,0,12,x,", "b.wav,11,13.5,x,"], {}, "2 labels pass its end at 10.000 s, the last ends at 13.500 s"),
        (["b.wav,1,2,x,2"], {}, "a label is in channel 2, but its last channel is 1; training refuses this"),
        (["b.wav,0,10,x,", "c.wav,0,4,x,"], {}, "1 of 3 recordings is without noise-only time"),
        (["b.wav,0,10,x,"], {}, "there is no noise-only time; label more closely"),
        (["b.wav,5,5.1,x,"], {"min_noise": 9.0}, "there is no noise-only time; label more closely"),
        (["b.wav,1,2,x,"], {"noise_labels": ["x"]}, "no time has signal"),
        (["b.wav,1,2,x,", "b.wav,1.9,3,y,"], {}, "events overlap; their time is counted once"),
        (["b.wav,1,2,x,"], {}, "2 of 3 recordings are not listed, so unknown and never used as noise"),
    ],
)
def test_likely_mistakes_give_a_warning(recordings, table, rows, rules, warning):
    warnings = summarise([table(*rows)], recordings, Rules(**rules)).warnings
    assert any(warning in line for line in warnings), warnings


def test_correct_labels_give_no_warning(recordings, table):
    path = table("a.wav,1,2,x,1", "a.wav,1,2,x,2", "b.wav,1,2,x,", "b.wav,2,3,x,", "c.wav,,,,")
    assert summarise([path], recordings).warnings == []


def test_a_recording_that_cannot_be_read_is_left_out(recordings, table):
    recordings[2].write_bytes(b"RIFF")
    summary = summarise([table("b.wav,1,2,x,")], recordings)
    assert [recording.title.rpartition("/")[2] for recording in summary.recordings] == ["a.wav", "b.wav"]
    assert "c.wav" in summary.warnings[0] and summary.warnings[0].endswith("left out")


def test_without_recordings_only_labels_are_summarised(table):
    summary = summarise([table("b.wav,1,3,x,", "c.wav,1,3,x,", "c.wav,1,3,y,")], [])
    assert [(label.label, label.events, label.seconds) for label in summary.labels] == [("x", 2, 4.0), ("y", 1, 2.0)]
    assert summary.recordings == [] and "name some with --recordings" in summary.warnings[0]


def test_several_label_files_are_combined(recordings, table):
    summary = summarise(
        [table("b.wav,1,2,x,"), table("b.wav,4,5,y,", "c.wav,,,,", name="u.csv")], recordings, Rules(0.0)
    )
    assert seconds_by_state(summary)[1:] == [["b.wav", True, 2.0, 8.0, 0.0], ["c.wav", True, 0.0, 10.0, 0.0]]


def test_json_has_the_stretches(recordings, table):
    summary = summarise([table("b.wav,1,2,x,")], recordings[1:2], Rules(0.5)).as_json()
    recording = summary["recordings"][0]
    assert recording["seconds"] == {"signal": 2.0, "noise-only": 8.0, "unknown": 0.0}
    assert recording["stretches"] == {"signal": [[0.5, 2.5]], "noise-only": [[0.0, 0.5], [2.5, 10.0]], "unknown": []}
    assert (recording["duration"], recording["events"]) == (10.0, 1)
    assert (recording["listed"], recording["channel"]) == (True, None)
    assert summary["labels"] == [{"label": "x", "events": 1, "seconds": 1.0, "counts_as": "signal"}]
