"""Files of ELAN, and damaged ones."""

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, match_recordings, read_labels

from .common import write_file

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-01T05:00:00+01:00" FORMAT="3.0" VERSION="3.0">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/june/dawn.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./dawn.mp4"/>
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/june/for%C3%AAt%201.wav" MIME_TYPE="audio/x-wav"/>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1500"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2250"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="calls">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>wren &amp; robin </ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="calls" TIER_ID="parts">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
                <ANNOTATION_VALUE>trill</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
                <ANNOTATION_VALUE>loud</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
</ANNOTATION_DOCUMENT>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_annotations_with_times_of_their_own_are_read(tmp_path, encoding):
    content = EAF.replace("UTF-8", "UTF-16" if encoding == "utf-16" else "UTF-8").encode(encoding)
    table = read_labels(write_file(tmp_path, content, "a.eaf"))
    assert table.format == "elan"
    assert [tuple(row) for row in table.rows] == [(Event(1.5, 2.25, "wren & robin"), "/D:/june/forêt 1.wav", None)]


def test_the_linked_recording_is_matched(tmp_path):
    path = write_file(tmp_path, EAF, "a.eaf")
    events = match_recordings(path, [tmp_path / "dawn.wav", tmp_path / "forêt 1.wav"])
    assert {recording.name: len(listed) for recording, listed in events.items()} == {"forêt 1.wav": 1}
    without_audio = EAF.replace("for%C3%AAt%201.wav", "notes.pdf")
    assert [*match_recordings(write_file(tmp_path, without_audio), [tmp_path / "dawn.wav"])] == [tmp_path / "dawn.wav"]


def test_a_file_without_annotations_marks_a_reviewed_recording(tmp_path):
    content = EAF[: EAF.index("    <TIER")] + "</ANNOTATION_DOCUMENT>"
    assert read_labels(write_file(tmp_path, content, "a.eaf")).rows[0].event is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EAF[:-40], "is not a file of ELAN: unclosed token: line"),
        (EAF[:700], "is not a file of ELAN: "),
        (EAF.replace('"2250"', '"2.2.5"'), "annotation 1: a time in milliseconds is '2.2.5'; it must be a number"),
        (EAF.replace('"2250"', '"900"'), "annotation 1: the label is from 1.5 to 0.9 s"),
        (
            EAF.replace("<ANNOTATION_DOCUMENT", '<!DOCTYPE a [<!ENTITY b "c">]><ANNOTATION_DOCUMENT'),
            "has a document type",
        ),
        (EAF.replace('"UTF-8"', '"UTF-99"'), "is not a file of ELAN"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, message):
    path = write_file(tmp_path, content, "a.eaf")
    with pytest.raises(UserError) as error:
        read_labels(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value) and "\n" not in str(error.value)
