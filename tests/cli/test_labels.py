"""Tests of `partae labels`, and of the label flags of other verbs."""

import json
import os
import shutil
from pathlib import Path

import pytest

from .conftest import FAST


@pytest.fixture
def labelled(here):
    """Add song.txt, and a table that lists song.wav (3 s) and not noise.wav (2 s)."""
    (here / "song.txt").write_text("0.2\t0.6\tchirp\n1.0\t1.5\tcrow, far\n")
    (here / "t.csv").write_text("file;start;end;label\nsong.wav;0,2;0,6;chirp\nother.wav;1;2;chirp\n")
    return here


def test_help_has_examples(partae):
    code, out, _ = partae("labels", "--help")
    assert code == 0 and "examples:" in out and "partae labels labels.csv --recordings june/" in out


def test_recording_with_the_name_of_the_label_file(partae, labelled):
    code, out, err = partae("labels", "song.txt")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["recording", "seconds", "signal", "noise-only", "unknown", "events"]
    assert lines[1].split() == ["song.wav", "3.00", "1.30", "1.70", "0.00", "2"]
    assert [line.split() for line in lines[3:6]] == [
        ["label", "events", "seconds", "counts", "as"],
        ["chirp", "1", "0.40", "signal"],
        ["crow,", "far", "1", "0.50", "signal"],
    ]


def test_recordings_named_in_a_table_and_folders(partae, labelled):
    code, out, _ = partae("labels", "t.csv", "-q")
    assert code == 0 and "song.wav" in out and "noise.wav" not in out
    Path("rec/deep").mkdir(parents=True)
    shutil.move("noise.wav", "rec/deep/noise.wav")
    shutil.move("song.wav", "rec/song.flac.wav")
    shutil.move("rec/song.flac.wav", "rec/song.wav")
    Path("rec/notes.txt").write_text("none")
    code, out, err = partae("labels", "t.csv", "--recordings", "rec")
    assert code == 0
    assert "rec/deep/noise.wav       2.00      0.00        0.00      2.00  not listed" in out
    assert "total                    5.00      0.60        2.40      2.00       1" in out
    assert "warning: 1 of 2 recordings is not listed, so unknown and never used as noise: rec/deep/noise.wav" in out
    assert "rows about other recordings: 1, of other.wav" in err


def test_labels_are_selected_by_name(partae, labelled):
    choose = ("--signal-labels", "chirp", "--noise-labels", '"crow, far"', "--guard", "0", "--min-noise", "0.3")
    code, out, _ = partae("labels", "song.txt", *choose, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["recordings"][0]["stretches"] == {
        "signal": [[0.2, 0.6]],
        "noise-only": [[0.6, 3.0]],
        "unknown": [[0.0, 0.2]],
    }
    assert [label["counts_as"] for label in result["labels"]] == ["signal", "noise"]


def test_figure_is_written(partae, labelled):
    assert partae("labels", "song.txt", "--figure", "p.svg")[0] == 0
    assert all(
        f"<!-- {text} -->" in Path("p.svg").read_text() for text in ("signal", "noise-only", "unknown", "song.wav")
    )


def test_names_that_are_not_text_are_escaped(partae, labelled):
    folder = Path(os.fsdecode(b"caf\xe9"))
    folder.mkdir()
    shutil.copy("song.wav", folder / "song.wav")
    shutil.copy("noise.wav", folder / "noise.wav")
    code, out, _ = partae("labels", "t.csv", "--recordings", folder, "--figure", "p.png")
    assert code == 0 and out.count(r"caf\udce9/song.wav") == 1 and out.count(r"caf\udce9/noise.wav") == 2
    assert partae("labels", "t.csv", "--recordings", folder, "--json")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.txt",), "none.txt: no such file"),
        (("song.wav",), "song.wav: is not text"),
        (("song.txt", "--recordings", "nowhere"), "nowhere: no such file"),
        (("song.txt", "--recordings", "empty"), "empty: no recordings there"),
        (("t.csv", "--recordings", "noise.wav"), "it names other.wav, song.wav, and the recordings are noise.wav"),
        (("song.txt", "--figure", "p.gif"), "p.gif: a picture cannot be of that kind"),
        (("song.txt", "--figure", "nowhere/p.png"), "nowhere"),
        (("song.txt", "--guard", "-1"), "guard is -1.0 s; it must be 0 or more"),
        (("song.txt", "--guard", "wide"), "argument --guard"),
        (("song.txt", "--signal-labels", "crow"), "no event has the label 'crow'; the labels are 'chirp', 'crow, far'"),
        (("song.txt", "--signal-labels", ",a"), "',a' is not a list of labels such as A,B"),
        (("song.txt", "--label-format", "excel"), "argument --label-format"),
        (("song.txt", "--label-format", "csv"), "song.txt, line 1: the columns 'start', 'end' are missing"),
    ],
)
def test_bad_arguments_are_refused(partae, labelled, arguments, message):
    Path("empty").mkdir()
    code, out, err = partae("labels", *arguments)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1 and err.startswith("partae labels: ")


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_training_with_tables_and_label_rules(partae, labelled, verb):
    Path("t.csv").write_text("file,start,end,label\nsong.wav,0.2,1.6,chirp\nsong.wav,2,3,crow\nnoise.wav,,,\n")
    rules = ("--labels", "t.csv", "--signal-labels", "chirp", "--noise-labels", "crow", "--guard", "0.02")
    output = ("--set", "seed=0", "--out", "s") if verb == "sweep" else ("--out", "new.safetensors")
    code, _, err = partae(verb, "song.wav", "noise.wav", *rules, "--min-noise", "0.3", *output, *FAST)
    assert code == 0, err
    code, _, err = partae(verb, "song.wav", "noise.wav", *rules[:3], "wren", *output[:-1], "again", *FAST)
    assert code == 2 and "no event has the label 'wren'; the labels are 'chirp', 'crow'" in err
