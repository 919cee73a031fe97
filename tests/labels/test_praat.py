"""TextGrid files, long and short, as Praat and ELAN write them, and damaged ones."""

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, read_labels

from .common import write_file

TEXT_GRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "calls"\n        xmin = 0\n        xmax = 2\n'
    "        intervals: size = 3\n        intervals [1]:\n            xmin = 0\n            xmax = 0.51234\n"
    '            text = ""\n        intervals [2]:\n            xmin = 0.51234\n            xmax = 1\n'
    '            text = "b"\n'
    '        intervals [3]:\n            xmin = 1\n            xmax = 2\n            text = "sil"\n'
)
SHORT = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"calls"\n0\n2\n3\n0\n'
    '0.51234\n""\n0.51234\n1\n"b"\n1\n2\n"sil"\n'
)
POINTS = (
    '    item [2]:\n        class = "TextTier"\n        name = "peaks"\n        xmin = 0\n        xmax = 2\n'
    '        points: size = 1\n        points [1]:\n            number = 1.7\n            mark = "peak"\n'
)
EVENTS = [Event(0.51234, 1, "b"), Event(1, 2, "sil")]
HEAD = TEXT_GRID[: TEXT_GRID.index("    item [1]")]


def rows(tmp_path, content):
    table = read_labels(write_file(tmp_path, content, "a.TextGrid"))
    assert (table.format, table.samples) == ("textgrid", False)
    return [row.event for row in table.rows]


@pytest.mark.parametrize("content", [TEXT_GRID, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_grid_is_read(tmp_path, content, encoding, end):
    content = content.replace("\n", end)
    content = "\ufeff" + content if encoding == "utf-16-be" else content
    assert rows(tmp_path, content.encode(encoding)) == EVENTS


def test_points_quotes_lines_and_comments_are_read(tmp_path):
    """crowsetta leaves points out, doubles quotes, and fails on a label of two lines."""
    content = TEXT_GRID.replace("size = 1\nitem", "size = 2\nitem").replace('"b"', '"a ""loud"" call, 7\n8 <exists>"')
    content = content.replace("xmin = 1\n", "xmin = 1 ! the second 5\n")
    assert rows(tmp_path, content + POINTS) == [
        Event(0.51234, 1, 'a "loud" call, 7\n8 <exists>'),
        Event(1, 2, "sil"),
        Event(1.7, 1.7, "peak"),
    ]


def test_a_text_grid_without_tiers_or_labels_marks_a_reviewed_recording(tmp_path):
    assert rows(tmp_path, TEXT_GRID[: TEXT_GRID.index("<exists>")] + "<absent>\n") == [None]
    assert rows(tmp_path, SHORT[: SHORT.index("3\n")] + "0\n") == [None]


def test_windows_1252_is_read(tmp_path):
    assert rows(tmp_path, TEXT_GRID.replace('"b"', '"Gr\xfcn"').encode("cp1252"))[0].label == "Gr\xfcn"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT_GRID[:200], ", line 13: the file ends where the end of a tier should be; save it again"),
        (TEXT_GRID.replace("xmin = 1\n", "xmin = 3\n"), "the label is from 3 to 2 s"),
        (TEXT_GRID.replace("xmin = 1\n", 'xmin = "1"\n'), 'the start of a label is "1"; it must be a number'),
        (TEXT_GRID.replace("xmin = 1\n", "xmin = 1.5.2\n"), "the start of a label is '1.5.2'; it must be a number"),
        (TEXT_GRID.replace("size = 1\nitem", "size = 1.5\nitem"), "the number of tiers is 1.5; it must be a whole"),
        (TEXT_GRID.replace("size = 3", "size = 999999999"), "the file ends where the start of a label should be"),
        (TEXT_GRID.replace("IntervalTier", "PitchTier"), "the tier is a 'PitchTier'; it must be an IntervalTier"),
        (TEXT_GRID.replace('"TextGrid"', '"TextGrid"x"'), 'the start is " xmin = 0 xmax = 2'),
        (TEXT_GRID.replace('"TextGrid"', '"Sound TextGrid"'), "is not a TextGrid"),
        (TEXT_GRID.encode().replace(b"ooTextFile", b"ooBinaryFile"), "is a binary TextGrid; save it in Praat"),
    ],
)
def test_a_damaged_text_grid_is_refused_in_one_line(tmp_path, content, message):
    path = write_file(tmp_path, content, "a.TextGrid")
    with pytest.raises(UserError) as error:
        read_labels(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value) and "\n" not in str(error.value)
