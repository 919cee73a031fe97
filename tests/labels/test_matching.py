"""The match of label files to recordings."""

import logging
from pathlib import Path

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, Recording, Timeline, match_recordings, matching

from .common import write_file

PLAIN = "0.5\t1.25\tsong\n2\t3\t\n4.0\t4.0\tpoint\tin time\n"
HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)"


def test_a_track_belongs_to_the_only_recording_with_any_name(tmp_path):
    path = write_file(tmp_path, PLAIN)
    assert {p.name: len(events) for p, events in match_recordings(path, ["far/other.wav"]).items()} == {"other.wav": 3}


def test_a_track_belongs_to_the_one_of_several_recordings_with_its_name(tmp_path, caplog):
    path = write_file(tmp_path, PLAIN, "b.audacity.txt")
    with caplog.at_level(logging.INFO, "partae_fast"):
        assert [p.name for p in match_recordings(path, ["a.wav", "b.wav", "bb.wav"])] == ["b.wav"]
    assert "the other recordings are unknown" in caplog.text
    with pytest.raises(UserError, match="0 of the 2 recordings have its name"):
        match_recordings(path, ["a.wav", "c.wav"])
    with pytest.raises(UserError, match="2 of the 2 recordings have its name"):
        match_recordings(path, ["x/b.wav", "y/b.wav"])


def test_a_recording_in_the_folder_of_the_track_has_priority(tmp_path):
    path = write_file(tmp_path, PLAIN, "a.b.txt")
    assert [*match_recordings(path, ["x/a.b.wav", tmp_path / "a.b.flac", "a.wav"])] == [tmp_path / "a.b.flac"]


def test_an_empty_table_belongs_to_the_recording_with_its_name(tmp_path):
    path = write_file(tmp_path, "file,start,end,label\n", "b.BirdNET.results.csv")
    assert match_recordings(path, ["a.wav", "b.wav"]) == {Path("b.wav"): []}
    with pytest.raises(UserError, match="0 of the 2 recordings have its name"):
        match_recordings(path, ["a.wav", "c.wav"])


# Each case: names in the table, recordings, and the recording that each name matches or None.
NAMES = [
    (["a.wav"], ["x/a.wav", "x/b.wav"], ["x/a.wav"]),
    (["/d/x/a.wav", "/d/y/a.wav"], ["/d/x/a.wav", "/d/y/a.wav"], ["/d/x/a.wav", "/d/y/a.wav"]),
    (["x/a.wav", "y/a.wav"], ["/d/x/a.wav", "/d/y/a.wav"], ["/d/x/a.wav", "/d/y/a.wav"]),
    (["C:\\d\\x\\a.wav"], ["/home/x/a.wav", "/home/y/a.wav"], ["/home/x/a.wav"]),
    (["D:\\old\\a.WAV"], ["a.flac"], ["a.flac"]),
    (["a"], ["a.flac"], ["a.flac"]),
    (["2019.05.22"], ["2019.05.22.wav", "2019.05.wav"], ["2019.05.22.wav"]),
    (["a.wav"], ["a.wav", "a.flac"], ["a.wav"]),
    (["x/a.wav", "y/a.wav"], ["/d/y/a.wav"], [None, "/d/y/a.wav"]),
    (["a.wav", "x/a.wav"], ["/d/x/a.wav"], ["/d/x/a.wav", "/d/x/a.wav"]),
    (["/e/x/a.wav", "/e/y/a.wav"], ["/d/y/a.wav"], [None, "/d/y/a.wav"]),
    (["a.wav", "b.wav"], ["a.wav"], ["a.wav", None]),
]


@pytest.mark.parametrize(("names", "recordings", "matches"), NAMES)
def test_a_row_belongs_to_the_recording_that_it_names(tmp_path, names, recordings, matches):
    rows = "".join(f"{name},{i},{i + 0.5},{i}\n" for i, name in enumerate(names))
    events = match_recordings(write_file(tmp_path, f"file,start,end,label\n{rows}"), recordings)
    expected = {}
    for i, recording in enumerate(matches):
        if recording is not None:
            expected.setdefault(Path(recording), []).append(Event(i, i + 0.5, str(i)))
    assert events == expected


def test_a_path_may_be_relative_to_the_folder_of_the_label_file(tmp_path):
    path = write_file(tmp_path, "file,start,end\nx/a.wav,1,2\n")
    recordings = [tmp_path / "x" / "a.wav", Path("y/x/a.wav").absolute()]
    assert [*match_recordings(path, recordings)] == recordings[:1]


@pytest.mark.parametrize(
    ("names", "recordings", "message"),
    [
        (["a.wav"], ["x/a.wav", "y/a.wav"], "a.wav may mean x/a.wav or y/a.wav"),
        (["a.mp3"], ["a.wav", "a.flac"], "a.mp3 may mean a.wav or a.flac"),
        (["/e/a.wav", "/f/a.wav"], ["/d/a.wav"], "/e/a.wav and /f/a.wav may both mean /d/a.wav"),
        (
            ["c.wav", "d.wav", "e.wav"],
            ["a.wav", "b.wav"],
            "it names c.wav, d.wav and 1 more, and the recordings are a.wav, b.wav",
        ),
        (["a.wav", ""], ["a.wav"], "only some rows name a recording"),
    ],
)
def test_ambiguous_and_missing_matches_are_refused(tmp_path, names, recordings, message):
    path = write_file(tmp_path, "file,start,end\n" + "".join(f"{name},1,2\n" for name in names))
    with pytest.raises(UserError) as error:
        match_recordings(path, recordings)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_unmatched_rows_and_unlisted_recordings_are_logged(tmp_path, caplog):
    path = write_file(tmp_path, "file,start,end\na.wav,,\nc.wav,1,2\nc.wav,3,4\n")
    with caplog.at_level(logging.INFO, "partae_fast"):
        assert match_recordings(path, ["a.wav", "b.wav"]) == {Path("a.wav"): []}
    assert "rows about other recordings: 2, of c.wav" in caplog.text
    assert "does not list b.wav: unknown, not noise" in caplog.text


def test_ten_thousand_rows_are_not_compared_with_every_recording(tmp_path, monkeypatch):
    rows = "".join(f"C:\\site\\{i % 100}\\{i}.wav,1,2,a\n" for i in range(10_000))
    path = write_file(tmp_path, "file,start,end,label\n" + rows)
    calls = []
    monkeypatch.setattr(matching, "_common_folders", lambda *folders: calls.append(folders) or 0)
    events = match_recordings(path, [Recording(f"/d/{i % 100}/{i}.flac", 10.0, 8000) for i in range(10_000)])
    assert len(calls) == 10_000
    assert len(events) == 10_000 and all(len(recording_events) == 1 for recording_events in events.values())


# Times near the end of a recording.

RECORDINGS = [Recording(name, seconds, 8000) for name, seconds in (("a.wav", 10.0), ("b.wav", 20.0), ("c.wav", 10.0))]


def times(events):
    return {
        path.name: [(round(event.start, 6), round(event.end, 6)) for event in recording_events]
        for path, recording_events in events.items()
    }


def test_an_event_that_continues_in_the_next_file_is_split(tmp_path):
    columns = f"{HEADER}\tBegin File\tEnd File\tFile Offset (s)"
    path = write_file(tmp_path, f"{columns}\n1\tSpectrogram 1\t1\t9\t11.5\ta.wav\tb.wav\t9\n")
    assert times(match_recordings(path, RECORDINGS)) == {"a.wav": [(9, 10)], "b.wav": [(0, 1.5)]}
    assert times(match_recordings(path, RECORDINGS[:1])) == {"a.wav": [(9, 10)]}


def test_birdnets_last_window_is_cut_at_the_end_of_the_recording(tmp_path):
    header = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
    path = write_file(tmp_path, f"{header}9.0,12.0,Troglodytes,Wren,0.9,a.wav\n")
    assert match_recordings(path, RECORDINGS) == {Path("a.wav"): [Event(9, 10, "Wren")]}


def test_samples_are_converted_to_seconds_at_the_rate_of_the_recording(tmp_path):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    path = write_file(tmp_path, "0 800 h#\n800 1600 sh\n", "a.phn")
    assert match_recordings(path, RECORDINGS) == {Path("a.wav"): [Event(0, 0.1, "h#"), Event(0.1, 0.2, "sh")]}


COMPOSED, DECOMPOSED = "sittelle \xe9t\xe9.wav", "sittelle e\u0301te\u0301.wav"


@pytest.mark.parametrize(("name", "file"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_composed_and_decomposed_names_are_equal(tmp_path, name, file):
    """macOS and some disks decompose the characters of names of files, which tables have composed."""
    path = write_file(tmp_path, f"file,start,end\nfor\xeat/{name},1,2\n")
    recordings = [tmp_path / "fore\u0302t" / file, tmp_path / "x" / file]
    assert match_recordings(path, recordings) == {recordings[0]: [Event(1, 2)]}
    track = write_file(tmp_path, PLAIN, f"{name[:-4]}.txt")
    assert [*match_recordings(track, [tmp_path / file, tmp_path / "b.wav"])] == [tmp_path / file]


@pytest.mark.parametrize(
    "content",
    [
        "0.0\t3.0\tTurdus merula, Blackbird\t0.81\n9.0\t12.0\tTurdus merula, Blackbird\t0.9213\n",
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n0.0,3.0,T,B,0.8,a.wav\n"
        "9.0,12.0,T,B,0.9,a.wav\n",
    ],
    ids=["track", "csv"],
)
def test_the_last_window_of_birdnet_is_cut_at_the_end_with_a_warning(tmp_path, caplog, content):
    path = write_file(tmp_path, content)
    events = match_recordings(path, [Recording("a.wav", 10.0, 8000)])[Path("a.wav")]
    assert [(event.start, event.end) for event in events] == [(0, 3), (9, 10)]
    assert f"{path}: 1 detections in the last window pass the end of their recording and are cut there" in caplog.text
    caplog.clear()
    match_recordings(path, [Recording("a.wav", 12.0, 8000)])
    assert "last window" not in caplog.text


def test_a_track_of_birdnet_that_passes_the_end_by_more_than_a_window_is_not_cut(tmp_path):
    path = write_file(tmp_path, "0.0\t3.0\ta\t0.81\n30.0\t33.0\ta\t0.9\n")
    events = match_recordings(path, [Recording("a.wav", 10.0, 8000)])[Path("a.wav")]
    with pytest.raises(UserError, match=r"a label ends at 33\.000 s and the recording at 10\.000 s"):
        Timeline.from_events(events, 10.0)
