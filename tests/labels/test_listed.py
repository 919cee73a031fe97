"""Which recording a row of a label file is about, and when in it."""

import logging
import time
from pathlib import Path

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, Recording, listed

PLAIN = "0.5\t1.25\tsong\n2\t3\t\n4.0\t4.0\tpoint\tin time\n"
HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)"


def track(tmp_path, text, name="a.txt"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_a_track_speaks_for_the_only_recording_whatever_its_name(tmp_path):
    path = track(tmp_path, PLAIN)
    assert {p.name: len(events) for p, events in listed(path, ["far/other.wav"]).items()} == {"other.wav": 3}


def test_of_several_recordings_a_track_speaks_for_its_namesake(tmp_path, caplog):
    path = track(tmp_path, PLAIN, "b.audacity.txt")
    with caplog.at_level(logging.INFO, "partae_fast"):
        assert [p.name for p in listed(path, ["a.wav", "b.wav", "bb.wav"])] == ["b.wav"]
    assert "the other recordings are unknown" in caplog.text
    with pytest.raises(UserError, match="0 of the 2 recordings have its name"):
        listed(path, ["a.wav", "c.wav"])
    with pytest.raises(UserError, match="2 of the 2 recordings have its name"):
        listed(path, ["x/b.wav", "y/b.wav"])


def test_a_namesake_beside_the_labels_goes_before_one_elsewhere(tmp_path):
    path = track(tmp_path, PLAIN, "a.b.txt")
    assert [*listed(path, ["x/a.b.wav", tmp_path / "a.b.flac", "a.wav"])] == [tmp_path / "a.b.flac"]


def test_an_empty_table_speaks_for_its_namesake(tmp_path):
    path = track(tmp_path, "file,start,end,label\n", "b.BirdNET.results.csv")
    assert listed(path, ["a.wav", "b.wav"]) == {Path("b.wav"): []}
    with pytest.raises(UserError, match="0 of the 2 recordings have its name"):
        listed(path, ["a.wav", "c.wav"])


# Names in the table, the recordings given, and which of them each name means (None: one that was not given).
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


@pytest.mark.parametrize(("names", "given", "meant"), NAMES)
def test_a_row_is_about_the_recording_that_it_names(tmp_path, names, given, meant):
    rows = "".join(f"{name},{i},{i + 0.5},{i}\n" for i, name in enumerate(names))
    found = listed(track(tmp_path, f"file,start,end,label\n{rows}"), given)
    expected = {}
    for i, place in enumerate(meant):
        if place is not None:
            expected.setdefault(Path(place), []).append(Event(i, i + 0.5, str(i)))
    assert found == expected


def test_a_path_is_seen_from_the_label_files_folder_too(tmp_path):
    path = track(tmp_path, "file,start,end\nx/a.wav,1,2\n")
    given = [tmp_path / "x" / "a.wav", Path("y/x/a.wav").absolute()]
    assert [*listed(path, given)] == given[:1]


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a.wav"], ["x/a.wav", "y/a.wav"], "a.wav may mean x/a.wav or y/a.wav"),
        (["a.mp3"], ["a.wav", "a.flac"], "a.mp3 may mean a.wav or a.flac"),
        (["/e/a.wav", "/f/a.wav"], ["/d/a.wav"], "/e/a.wav and /f/a.wav may both mean /d/a.wav"),
        (["c.wav", "d.wav", "e.wav"], ["a.wav", "b.wav"], "it names c.wav, d.wav and 1 more; given were a.wav, b.wav"),
        (["a.wav", ""], ["a.wav"], "some rows name a recording and some do not"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, names, given, message):
    path = track(tmp_path, "file,start,end\n" + "".join(f"{name},1,2\n" for name in names))
    with pytest.raises(UserError) as refusal:
        listed(path, given)
    assert str(refusal.value).startswith(str(path)) and message in str(refusal.value)


def test_what_was_not_given_and_what_is_not_listed_is_in_the_log(tmp_path, caplog):
    path = track(tmp_path, "file,start,end\na.wav,,\nc.wav,1,2\nc.wav,3,4\n")
    with caplog.at_level(logging.INFO, "partae_fast"):
        assert listed(path, ["a.wav", "b.wav"]) == {Path("a.wav"): []}
    assert "rows about recordings that were not given: 2, of c.wav" in caplog.text
    assert "does not list b.wav: unknown, not noise" in caplog.text


def test_ten_thousand_rows_of_as_many_recordings_are_quick(tmp_path):
    rows = "".join(f"C:\\site\\{i % 100}\\{i}.wav,1,2,a\n" for i in range(10_000))
    path = track(tmp_path, "file,start,end,label\n" + rows)
    before = time.process_time()
    found = listed(path, [Recording(f"/d/{i % 100}/{i}.flac", 10.0, 8000) for i in range(10_000)])
    assert time.process_time() - before < 10  # some 0.5 s; each row against each recording would be minutes
    assert len(found) == 10_000 and all(len(events) == 1 for events in found.values())


# Times that run on into the next file.

GIVEN = [Recording(name, seconds, 8000) for name, seconds in (("a.wav", 10.0), ("b.wav", 20.0), ("c.wav", 10.0))]


def times(found):
    return {path.name: [(round(event.start, 6), round(event.end, 6)) for event in its] for path, its in found.items()}


def test_what_runs_into_the_next_file_is_shared_between_them(tmp_path):
    columns = f"{HEADER}\tBegin File\tEnd File\tFile Offset (s)"
    path = track(tmp_path, f"{columns}\n1\tSpectrogram 1\t1\t9\t11.5\ta.wav\tb.wav\t9\n")
    assert times(listed(path, GIVEN)) == {"a.wav": [(9, 10)], "b.wav": [(0, 1.5)]}
    assert times(listed(path, GIVEN[:1])) == {"a.wav": [(9, 10)]}


def test_birdnets_last_window_is_cut_at_the_recordings_end(tmp_path):
    header = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
    path = track(tmp_path, f"{header}9.0,12.0,Troglodytes,Wren,0.9,a.wav\n")
    assert listed(path, GIVEN) == {Path("a.wav"): [Event(9, 10, "Wren")]}


def test_samples_become_seconds_at_the_recordings_rate(tmp_path):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    path = track(tmp_path, "0 800 h#\n800 1600 sh\n", "a.phn")
    assert listed(path, GIVEN) == {Path("a.wav"): [Event(0, 0.1, "h#"), Event(0.1, 0.2, "sh")]}
