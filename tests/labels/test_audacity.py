"""Audacity label tracks: accepted forms, and the error for each malformed line."""

import os

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, read_audacity, read_labels

from .common import write_file

PLAIN = "0.5\t1.25\tsong\n2\t3\t\n4.0\t4.0\tpoint\tin time\n"


@pytest.mark.parametrize(
    "change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t.strip()]
)
def test_a_plain_track_is_read(tmp_path, change):
    assert read_audacity(write_file(tmp_path, change(PLAIN))) == [
        Event(0.5, 1.25, "song"),
        Event(2.0, 3.0, ""),
        Event(4.0, 4.0, "point\tin time"),
    ]


def test_times_with_a_decimal_comma_are_read(tmp_path):
    assert read_audacity(write_file(tmp_path, "0,5\t1,25\ta\n")) == [Event(0.5, 1.25, "a")]


def test_an_extended_track_has_frequencies_for_some_events(tmp_path):
    text = "1\t2\ta\r\n\\\t2000.5\t4000\r\n3\t4\tb\r\n5\t6\r\n\\\t-1\t900\r\n\r\n"
    assert read_audacity(write_file(tmp_path, text)) == [
        Event(1, 2, "a", 2000.5, 4000.0),
        Event(3, 4, "b"),
        Event(5, 6, "", None, 900.0),
    ]


def test_labels_keep_unicode_separators(tmp_path):
    assert read_audacity(write_file(tmp_path, "1\t2\tStrofa\u2028è \x0b鳥\n")) == [Event(1, 2, "Strofa\u2028è \x0b鳥")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1\t2\ta\n1.5\n", 2, "start<TAB>end<TAB>label"),
        ("start\tend\tlabel\n", 1, "'start end'"),
        ("0.5.1\t1\ta\n", 1, "'0.5.1 1'"),
        ("1 2 a\n", 1, "start<TAB>end<TAB>label"),
        ("\n2\t1\ta\n", 2, "from 2 to 1 s"),
        ("-1\t1\ta\n", 1, "from -1 to 1 s"),
        ("nan\t1\ta\n", 1, "finite"),
        ("1\tinf\ta\n", 1, "finite"),
        ("\\\t1\t2\n", 1, "must follow a time line"),
        ("1\t2\ta\n\\\t1\t2\n\\\t1\t2\n", 3, "must follow a time line"),
        ("1\t2\ta\n\\\t5000\t2000\n", 2, "must come first"),
        ("1\t2\ta\n\\\t5000\n", 2, "<TAB>low<TAB>high"),
        ("1\t2\ta\n\\\t1\t2\t3\n", 2, "<TAB>low<TAB>high"),
    ],
)
def test_a_malformed_line_is_refused_with_its_number(tmp_path, text, line, message):
    path = write_file(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_audacity(path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b"fLaC\x00\xff\xfe\x80"), "is not text"),
    ],
)
def test_a_file_that_is_not_a_text_file_is_refused(tmp_path, make, message):
    make(tmp_path / "a.txt")
    with pytest.raises(UserError, match=message):
        read_audacity(tmp_path / "a.txt")


def test_birdnets_confidence_is_not_part_of_the_label(tmp_path):
    text = "3.0\t6.0\tTurdus merula, Common Blackbird\t0.8123\n"
    assert read_audacity(write_file(tmp_path, text)) == [Event(3, 6, "Turdus merula, Common Blackbird")]


def test_a_label_that_is_a_number_is_no_confidence(tmp_path):
    for text, label in (("0.0\t0.5\t0.9\n", "0.9"), ("0.0\t0.5\n", ""), ("0.0\t1\ta\t0.9\n1\t2\n", "a")):
        table = read_labels(write_file(tmp_path, text))
        assert table.rows[0].event.label == label
        assert table.format == ("birdnet" if label == "a" else "audacity")
