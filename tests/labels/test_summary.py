"""What is told of labels before training, and its picture."""

import re

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.labels import Rules
from partae_fast.labels.figure import COLOURS, figure
from partae_fast.labels.summary import Part, Summary, summarise
from partae_fast.labels.timeline import Timeline

RATE = 8000


@pytest.fixture
def recordings(tmp_path):
    """a.wav, b.wav, c.wav: 10 s of two channels, of one, of one."""
    for name, channels in (("a.wav", 2), ("b.wav", 1), ("c.wav", 1)):
        files.write(tmp_path / name, np.zeros((10 * RATE, channels), np.float32), RATE, "PCM_U8")
    return [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]


@pytest.fixture
def table(tmp_path):
    def write(*rows, name="t.csv"):
        (tmp_path / name).write_text("\n".join(["file,start,end,label,channel", *rows]))
        return tmp_path / name

    return write


def told(summary):
    return [
        [part.title.rpartition("/")[2], part.listed, *map(float, part.seconds().values())] for part in summary.parts
    ]


def test_seconds_by_state_of_each_recording(recordings, table):
    path = table("b.wav,1,2,wren,", "b.wav,1.5,3,wren,", "b.wav,6,7,rain,", "b.wav,8,8.5,robin,", "a.wav,,,,")
    rules = Rules(0.0, signal_labels=["wren"], noise_labels=["rain"])
    summary = summarise([path], recordings, rules)
    assert told(summary) == [
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
        "events overlap others, and thei",
    ]


def test_channels_are_told_apart_where_labels_do(recordings, table):
    summary = summarise([table("a.wav,1,2,wren,1", "a.wav,4,6,wren,2", "a.wav,8,9,wren,")], recordings[:1], Rules(0.0))
    assert told(summary) == [["a.wav, channel 1", True, 2.0, 6.0, 2.0], ["a.wav, channel 2", True, 3.0, 6.0, 1.0]]
    assert [len(part.events) for part in summary.parts] == [2, 2]
    assert summary.labels[0].seconds == 4.0


@pytest.mark.parametrize(
    ("rows", "rules", "warning"),
    [
        (["b.wav,0,12,x,", "b.wav,11,13.5,x,"], {}, "2 labels pass its end at 10.000 s, the last ends at 13.500 s"),
        (["b.wav,1,2,x,2"], {}, "a label is of channel 2 and it has 1; training refuses that"),
        (["b.wav,0,10,x,", "c.wav,0,4,x,"], {}, "1 of 3 recordings is without noise-only time"),
        (["b.wav,0,10,x,"], {}, "there is no noise-only time; label more closely"),
        (["b.wav,5,5.1,x,"], {"min_noise": 9.0}, "there is no noise-only time; label more closely"),
        (["b.wav,1,2,x,"], {"noise_labels": ["x"]}, "no time has signal"),
        (["b.wav,1,2,x,", "b.wav,1.9,3,y,"], {}, "events overlap others, and their time counts once"),
        (["b.wav,1,2,x,"], {}, "2 of 3 recordings are not listed, so unknown, and never taken for noise"),
    ],
)
def test_what_looks_wrong_is_told(recordings, table, rows, rules, warning):
    found = summarise([table(*rows)], recordings, Rules(**rules)).warnings
    assert any(warning in line for line in found), found


def test_nothing_is_told_where_nothing_looks_wrong(recordings, table):
    path = table("a.wav,1,2,x,1", "a.wav,1,2,x,2", "b.wav,1,2,x,", "b.wav,2,3,x,", "c.wav,,,,")
    assert summarise([path], recordings).warnings == []


def test_a_recording_that_cannot_be_read_is_left_out(recordings, table):
    recordings[2].write_bytes(b"RIFF")
    summary = summarise([table("b.wav,1,2,x,")], recordings)
    assert [part.title.rpartition("/")[2] for part in summary.parts] == ["a.wav", "b.wav"]
    assert "c.wav" in summary.warnings[0] and summary.warnings[0].endswith("left out")


def test_without_recordings_labels_alone_are_told(table):
    summary = summarise([table("b.wav,1,3,x,", "c.wav,1,3,x,", "c.wav,1,3,y,")], [])
    assert [(label.label, label.events, label.seconds) for label in summary.labels] == [("x", 2, 4.0), ("y", 1, 2.0)]
    assert summary.parts == [] and "name some with --recordings" in summary.warnings[0]


def test_several_label_files_add_up(recordings, table):
    summary = summarise(
        [table("b.wav,1,2,x,"), table("b.wav,4,5,y,", "c.wav,,,,", name="u.csv")], recordings, Rules(0.0)
    )
    assert told(summary)[1:] == [["b.wav", True, 2.0, 8.0, 0.0], ["c.wav", True, 0.0, 10.0, 0.0]]


def test_json_has_the_stretches(recordings, table):
    found = summarise([table("b.wav,1,2,x,")], recordings[1:2], Rules(0.5)).as_json()
    part = found["recordings"][0]
    assert part["seconds"] == {"signal": 2.0, "noise-only": 8.0, "unknown": 0.0}
    assert part["stretches"] == {"signal": [[0.5, 2.5]], "noise-only": [[0.0, 0.5], [2.5, 10.0]], "unknown": []}
    assert (part["duration"], part["events"], part["listed"], part["channel"]) == (10.0, 1, True, None)
    assert found["labels"] == [{"label": "x", "events": 1, "seconds": 1.0, "counts_as": "signal"}]


def places_of(path):
    """Where in a picture each state's colour is, (rows, columns)."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    picture = imread(path)[..., :3]
    return {state: np.abs(picture - to_rgb(colour)).max(axis=2) < 0.02 for state, colour in COLOURS.items()}


def test_the_picture_shows_each_state_for_as_long_as_it_lasts(recordings, table, tmp_path):
    summary = summarise([table("b.wav,2,4,x,", "b.wav,6,7,y,")], recordings[1:2], Rules(0.0, signal_labels=["x"]))
    figure(tmp_path / "p.png", summary)
    near = places_of(tmp_path / "p.png")
    row = int(np.argmax(near["noise-only"].sum(axis=1)))
    noise, signal = near["noise-only"][row], near["signal"][row]
    # 7 s of noise and 2 s of signal, and signal begins a fifth along the axis.
    assert noise.sum() / signal.sum() == pytest.approx(3.5, rel=0.03)
    first, last = np.flatnonzero(noise)[[0, -1]]
    assert (np.flatnonzero(signal)[0] - first) / (last - first) == pytest.approx(0.2, abs=0.01)


def test_a_picture_of_more_recordings_than_fit_shows_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("partae_fast.labels.figure.ROWS", 3)
    lines = [Timeline(7200.0 * 3, ((0.0, 600.0 * i),)) for i in range(1, 6)]
    parts = [Part(f"{'long' * 20}/{i}.wav", None, True, [], line) for i, line in enumerate(lines)]
    figure(tmp_path / "p.svg", Summary(parts))
    text = (tmp_path / "p.svg").read_text()
    assert re.findall(r"<!-- \.\.\.\w+/(\d).wav -->", text) == ["0", "1", "2"]
    assert "<!-- the first 3 of 5 recordings -->" in text and "<!-- time (h) -->" in text


def test_a_picture_of_nothing_is_drawn_too(tmp_path):
    figure(tmp_path / "p.pdf", Summary())
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError, match="exists"):
        figure(tmp_path / "p.pdf", Summary(), overwrite=False)
