"""The formats that crowsetta reads."""

import sys

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, annotations, read_labels

from .common import write_file

SEQUENCES = (
    '<?xml version="1.0"?><Sequences><NumSequence>1</NumSequence><Sequence><WaveFileName>0.wav</WaveFileName>'
    "<Position>1000</Position><Length>5000</Length><NumNote>1</NumNote><Note><Position>10</Position><Length>20</Length>"
    "<Label>a</Label></Note></Sequence></Sequences>"
)


def test_crowsetta_has_all_listed_formats():
    crowsetta = pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    assert {*annotations.FORMATS} <= {*crowsetta.formats.as_list()}


def test_formats_with_times_in_samples_are_read(tmp_path):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    table = read_labels(write_file(tmp_path, "0 7812 h#\n7812 9507 sh\n", "sa1.phn"))
    assert (table.format, table.samples) == ("timit", True)
    assert [row.event for row in table.rows] == [Event(0, 7812, "h#"), Event(7812, 9507, "sh")]
    table = read_labels(write_file(tmp_path, SEQUENCES, "Annotation.xml"))
    assert (table.format, table.samples) == ("birdsong-recognition-dataset", True)
    assert [row.event for row in table.rows] == [Event(1010, 1030, "a")]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SEQUENCES[:-30], "Annotation.xml"),
        (b"MATLAB 5.0 MAT-file, and no more", "a.not.mat"),
        (b"MATLAB 5.0 MAT-file, and no more", "a.mat"),
        ("1 2 a\nb\n", "a.phn"),
    ],
)
def test_an_error_of_crowsetta_is_refused_in_one_line(tmp_path, content, name):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    path = write_file(tmp_path, content, name)
    with pytest.raises(UserError, match="crowsetta cannot read it as") as error:
        read_labels(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_the_error_without_crowsetta_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "crowsetta", None)
    with pytest.raises(UserError, match=r"not installed; pip install 'partae-fast\[annotations\]'"):
        read_labels(write_file(tmp_path, SEQUENCES, "Annotation.xml"))
