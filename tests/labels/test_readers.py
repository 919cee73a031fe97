"""Label files: what each reader makes of them, good and bad."""

import os

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import FORMATS, Event, annotations, read_audacity, read_labels
from partae_fast.labels.columns import LAYOUTS


def written(tmp_path, text, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# Audacity label tracks.

PLAIN = "0.5\t1.25\tsong\n2\t3\t\n4.0\t4.0\tpoint\tin time\n"


@pytest.mark.parametrize(
    "change", [str, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t.strip()]
)
def test_a_plain_written(tmp_path, change):
    assert read_audacity(written(tmp_path, change(PLAIN))) == [
        Event(0.5, 1.25, "song"),
        Event(2.0, 3.0, ""),
        Event(4.0, 4.0, "point\tin time"),
    ]


def test_times_may_have_a_decimal_comma(tmp_path):
    assert read_audacity(written(tmp_path, "0,5\t1,25\ta\n")) == [Event(0.5, 1.25, "a")]


def test_an_extended_track_may_have_frequencies_for_some(tmp_path):
    text = "1\t2\ta\r\n\\\t2000.5\t4000\r\n3\t4\tb\r\n5\t6\r\n\\\t-1\t900\r\n\r\n"
    assert read_audacity(written(tmp_path, text)) == [
        Event(1, 2, "a", 2000.5, 4000.0),
        Event(3, 4, "b"),
        Event(5, 6, "", None, 900.0),
    ]


def test_labels_keep_any_character(tmp_path):
    assert read_audacity(written(tmp_path, "1\t2\tStrofa\u2028è \x0b鳥\n")) == [Event(1, 2, "Strofa\u2028è \x0b鳥")]


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
def test_a_malformed_line_is_named(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        read_audacity(path)
    assert str(refusal.value).startswith(f"{path}, line {line}: ")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "not a plain file"),
        (lambda path: path.write_bytes(b"fLaC\x00\xff\xfe\x80"), "is not text"),
    ],
)
def test_a_file_that_is_no_track_is_refused(tmp_path, make, message):
    make(tmp_path / "a.txt")
    with pytest.raises(UserError, match=message):
        read_audacity(tmp_path / "a.txt")


def test_a_confidence_that_birdnet_adds_to_a_label_is_no_part_of_it(tmp_path):
    text = "3.0\t6.0\tTurdus merula, Common Blackbird\t0.8123\n"
    assert read_audacity(written(tmp_path, text)) == [Event(3, 6, "Turdus merula, Common Blackbird")]


# Tables. What is written, the format that it shows, and its rows: (recording, start, end, label, low, high, channel).

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
BIRDNET = f"{RAVEN}\tCommon Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
A = (None, 1.5, 2.25, "a", None, None, None)
GOOD = {
    "csv": ("file,start,end,label\nx.wav,1.5,2.25,a\ny.wav,3,4,\n", "csv", [("x.wav", *A[1:]), ("y.wav", 3, 4, "")]),
    "no file": ("start,end,label\n1.5,2.25,a\n", "csv", [A]),
    "capitals": ("File,START,End,LABEL\nx.wav,1.5,2.25,a\n", "csv", [("x.wav", *A[1:])]),
    "any order": ("label,end,file,start\na,2.25,s/x.wav,1.5\n", "csv", [("s/x.wav", *A[1:])]),
    "duration": ("start;duration;label\n1.5;0.75;a\n", "csv", [A]),
    "semicolons, decimal comma": ("start;end;label\n1,5;2,25;a\n", "csv", [A]),
    "tabs": ("start\tend\tlabel\n1.5\t2.25\ta\n", "csv", [A]),
    "quotes": ('"start","end","label"\r\n"1,5","2.25","a, ""b""\nc"\r\n', "csv", [(None, 1.5, 2.25, 'a, "b"\nc')]),
    "excel": ("sep=;\r\nstart;end;label\r\n1.5;2.25;a\r\n", "csv", [A]),
    "unnamed index": (",label,start,end\n0,a,1.5,2.25\n", "csv", [A]),
    "frequencies": (
        "start,end,low,high,channel\n1,2,500,900,2\n3,4,-1,,\n",
        "csv",
        [(None, 1, 2, "", 500, 900, 2), (None, 3, 4)],
    ),
    "hours": ("start,end\n0:01:01.5,0:02:00\n", "csv", [(None, 61.5, 120)]),
    "reviewed, nothing in it": ("file,start,end,label\nx.wav,,,\ny.wav,NaN,nan,\n", "csv", [("x.wav",), ("y.wav",)]),
    "header only": ("file,start,end,label\r\n", "csv", []),
    "blank lines": ("\n\nstart,end\n\n1,2\n,\n\n", "csv", [(None, 1, 2)]),
    "a last column with commas": ("start,end,file\n1,2,a, b.wav\n", "csv", [("a, b.wav", 1, 2)]),
    "trailing separators": ("start;end;label;;\n1.5;2.25;a;;;;\n", "csv", [A]),
    "kaleidoscope": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\n/d/,s,x.wav,1.5,0.75,\n",
        "csv",
        [("/d/s/x.wav", 1.5, 2.25)],
    ),
    "raven": (
        f"{RAVEN}\r\n1\tSpectrogram 1\t2\t1.5\t2.25\t100\t900\r\n",
        "raven",
        [(None, 1.5, 2.25, "", 100, 900, 2)],
    ),
    "raven, several views": (
        f"{RAVEN}\tSpecies\n1\tWaveform 1\t1\t1.5\t2.25\t\t\ta\n1\tSpectrogram 1\t1\t1.5\t2.25\t100\t900\ta\n"
        "2\tWaveform 1\t1\t1.5\t2.25\t\t\tb\n1\tSpectrogram 1\t2\t1.5\t2.25\t100\t900\ta\n",
        "raven",
        [
            (None, 1.5, 2.25, "a", 100, 900, 1),
            (None, 1.5, 2.25, "b", None, None, 1),
            (None, 1.5, 2.25, "a", 100, 900, 2),
        ],
    ),
    "raven, a label column of one's own": (
        f"{RAVEN}\tAvg Power Density (dB FS/Hz)\tqual\tKind of song\n1\tS\t1\t1\t2\t3\t4\t-40.5\t3\ttrill\n",
        "raven",
        [(None, 1, 2, "trill", 3, 4, 1)],
    ),
    "raven, numbers for labels": (
        f"{RAVEN}\tsyllable\n1\tS\t1\t1\t2\t3\t4\t7\n",
        "raven",
        [(None, 1, 2, "7", 3, 4, 1)],
    ),
    "raven, file offset": (
        f"{RAVEN}\tBegin File\tFile Offset (s)\tBegin Path\tSong\n"
        "1\tS\t1\t601.5\t602.25\t3\t4\tx.wav\t1.5\tD:\\x.wav\ta\n",
        "raven",
        [("D:\\x.wav", 1.5, 2.25, "a", 3, 4, 1)],
    ),
    "raven, empty": (f"{RAVEN}\n", "raven", []),
    "birdnet for raven": (
        f"{BIRDNET}1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tWren\twren\t0.9\t/d/x.wav\t3.0\n",
        "birdnet",
        [("/d/x.wav", 3, 6, "Wren")],
    ),
    "birdnet, combined": (
        f"{BIRDNET}9\tSpectrogram 1\t1\t63\t66\t0\t15000\tWren\twren\t0.9\t/d/y.wav\t3\n",
        "birdnet",
        [("/d/y.wav", 3, 6, "Wren")],
    ),
    "birdnet, nothing found": (
        f"{BIRDNET}1\tSpectrogram 1\t1\t0\t3\t0\t15000\tnocall\tnocall\t1.0\t/d/x.wav\t0\n",
        "birdnet",
        [("/d/x.wav",)],
    ),
    "birdnet's csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n3.0,6.0,Tryngites,Wren,0.9,/d, e/x.wav\n",
        "birdnet",
        [("/d, e/x.wav", 3, 6, "Wren")],
    ),
    "birdnet's csv, nothing found": ("Start (s),End (s),Scientific name,Common name,Confidence,File\n", "birdnet", []),
    "birdnet for R": (
        "filepath,start,end,scientific_name,common_name,confidence,lat\nx.wav,3,6,T,Wren,0.9,-1\n",
        "birdnet",
        [("x.wav", 3, 6, "Wren")],
    ),
    "birdnet for kaleidoscope": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence\n/d,s,x.wav,3.0,3.0,T,Wren,0.9\n",
        "birdnet",
        [("/d/s/x.wav", 3, 6, "Wren")],
    ),
    "empty": ("", "audacity", []),
    "white space": (" \n\t\n", "audacity", []),
}


def rows_of(table):
    return [(row.recording, *(vars(row.event).values() if row.event else ())) for row in table.rows]


def whole(row):
    """A row as it is written above, with what is left out."""
    return row if len(row) == 1 else (*row, *(None, None, None, "", None, None, None)[len(row) :])


@pytest.mark.parametrize(("text", "format", "rows"), GOOD.values(), ids=GOOD)
def test_what_is_read(tmp_path, text, format, rows):
    table = read_labels(written(tmp_path, text))
    assert table.format == format
    assert rows_of(table) == [whole(row) for row in rows]
    assert rows_of(read_labels(written(tmp_path, text), format)) == [whole(row) for row in rows]


@pytest.mark.parametrize("name", ["csv", "raven, several views", "birdnet's csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_in_any_encoding_and_with_any_line_ends(tmp_path, name, encoding, end):
    text, format, rows = GOOD[name]
    table = read_labels(written(tmp_path, text.replace("\n", end).encode(encoding)))
    assert (table.format, rows_of(table)) == (format, [whole(row) for row in rows])


def test_labels_that_windows_wrote_without_unicode(tmp_path):
    path = written(tmp_path, "start;end;label\n1;2;Grünspecht, laut – nah\n".encode("cp1252"))
    assert read_labels(path).rows[0].event == Event(1, 2, "Grünspecht, laut – nah")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.program)
@pytest.mark.parametrize("change", [str.lower, str.upper, lambda name: f" {name} "])
def test_names_of_columns_are_compared_without_regard_to_case(layout, change):
    header = [change(name) for name in layout.required.values()]
    assert layout.missing(header) == []
    assert sorted(layout.columns(header).values()) == list(range(len(header)))
    for index, name in enumerate(layout.required.values()):
        assert layout.missing(header[:index] + header[index + 1 :]) == [name]


CSV = "file,start,end,low,high,channel,label\n"
# What is written, the format asked for (None: as shown), and what the refusal says after the file's name.
BAD = {
    "binary": (b"fLaC\x00\xff\xfe\x80", None, ": is not text"),
    "random": (bytes(range(256)), None, ": is not text"),
    "half of UTF-16": (b"\xff\xfes\x00t\x00", None, ", line 1: 'st' found; labels must be an Audacity track"),
    "odd bytes in UTF-16": (b"\xff\xfes\x00t\x00a", None, ": is not text"),
    "terminal codes": ("1\t2\t\x1b[2J\n", None, ": is not text"),
    "prose": ("Dear all,\nthe labels\n", None, ", line 1: 'Dear all,' found; labels must be an Audacity track"),
    "no header": ("x.wav,1,2,a\n", None, ", line 1: 'x.wav,1,2,a' found; labels must be"),
    "no times": (
        "file,label\nx.wav,a\n",
        None,
        ", line 1: the columns 'start', 'end' are missing; found 'file, label'; a CSV table must have start, end",
    ),
    "no end": (
        "\nfile,start,label\nx.wav,1,a\n",
        "csv",
        ", line 2: the column 'end' is missing; found 'file, start, label'",
    ),
    "a raven table without end": (
        "Selection\tView\tBegin Time (s)\n",
        None,
        ", line 1: the column 'End Time (s)' is missing; found 'Selection, View, Begin Time (s)'; a Raven selection "
        "table must have Selection, Begin Time (s), End Time (s)",
    ),
    "birdnet's csv without recordings": (
        "Start (s),End (s),Scientific name,Common name,Confidence\n",
        None,
        "column 'File' is missing; found 'Start (s), End (s), Scientific name, Common name, Confidence'; BirdNET's CSV",
    ),
    "kaleidoscope without duration": ("INDIR,FOLDER,IN FILE,OFFSET\n", None, "column 'DURATION' is missing"),
    "recordings in a column of another name": (
        "filename,start,end\nx.wav,1,2\n",
        None,
        ", line 2: 'x.wav' in the column 'filename'; name the column of recordings 'file'",
    ),
    "raven, several files without offsets": (
        f"{RAVEN}\tBegin File\n1\tS\t1\t1\t2\t3\t4\ta.wav\n2\tS\t1\t11\t12\t3\t4\tb.wav\n",
        None,
        ": the column 'File Offset (s)' is missing, and times run on from file to file in a table of 2 recordings",
    ),
    "milliseconds": ("start_ms,end_ms\n1,2\n", None, ", line 1: 'start_ms,end_ms' found"),
    "a track as csv": ("1\t2\ta\n", "csv", ", line 1: the columns 'start', 'end' are missing; found '1, 2, a'"),
    "a quote that is not closed": (
        f'start,end\n1,"{"2" * 200_000}\n',
        "csv",
        ", line 1: a field below is too long, or",
    ),
    "csv as a track": (f"{CSV}x.wav,1,2,,,,\n", "audacity", ", line 1: 'file,start,end,low,high,channel,label' found"),
    "a word for a time": (
        f"{CSV}x.wav,1,2,,,,\nx.wav,one,2,,,,\n",
        None,
        ", line 3: 'one' found; the start, in seconds,",
    ),
    "no start": (f"{CSV}x.wav,,2,,,,\n", None, ", line 2: '' found; the start, in seconds, must be a number"),
    "neither end nor duration": (
        f"{CSV}x.wav,1,,,,,\n",
        None,
        ", line 2: '' found; the end, or the duration, in seconds,",
    ),
    "times without a recording": ("start,end,label\n,,a\n", None, ", line 2: '' found; the start"),
    "negative": (f"{CSV}x.wav,-1,2,,,,\n", None, ", line 2: from -1 to 2 s; a label must start at 0 or later"),
    "end before start": (f"{CSV}x.wav,2,1,,,,\n", None, ", line 2: from 2 to 1 s"),
    "negative duration": ("start,duration\n2,-1\n", None, ", line 2: from 2 to 1 s"),
    "infinite": (f"{CSV}x.wav,1,inf,,,,\n", None, ", line 2: inf found; the end, in seconds, must be a finite number"),
    "huge": (f"{CSV}x.wav,1,1e999,,,,\n", None, ", line 2: 1e999 found; the end, in seconds, must be a finite number"),
    "many digits": (f"{CSV}x.wav,1,{'9' * 400},,,,\n", None, "must be a finite number"),
    "thousands": ('start,end\n"1,234.5",2000\n', None, ", line 2: '1,234.5' found"),
    "a date": ("start,end\n2024-05-01 05:00,2024-05-01 05:01\n", None, ", line 2: '2024-05-01 05:00' found"),
    "frequencies swapped": (f"{CSV}x.wav,1,2,900,500,,\n", None, ", line 2: from 900 to 500 Hz; the lower frequency"),
    "frequency": (f"{CSV}x.wav,1,2,low,500,,\n", None, ", line 2: 'low' found; a frequency, in Hz, must be"),
    "frequency without end": (
        f"{CSV}x.wav,1,2,1,inf,,\n",
        None,
        ", line 2: inf found; a frequency, in Hz, must be a finite",
    ),
    "channel 0": (f"{CSV}x.wav,1,2,,,0,\n", None, ", line 2: channel 0 found; channels are whole numbers from 1"),
    "channel 1.5": (f"{CSV}x.wav,1,2,,,1.5,\n", None, ", line 2: channel 1.5 found"),
    "too many fields": (f"{CSV}x.wav,1,2,,,,a,b\n", None, ", line 2: 8 fields under 7 columns; put fields with ','"),
    "file offset": (f"{BIRDNET}1\tS\t1\t3\t6\t0\t1\tW\tw\t1\tx.wav\t-5\n", None, ", line 2: from -5 to -2 s"),
    "a field too long": (f"start,end,label\n1,2,{'x' * 200_000}\n", None, ", line 1: a field below is too long"),
    "an unknown format": ("", "excel", "label format 'excel' is not known; choose audacity, raven, csv, birdnet"),
}


@pytest.mark.parametrize(("content", "format", "message"), BAD.values(), ids=BAD)
def test_what_is_refused(tmp_path, content, format, message):
    path = written(tmp_path, content)
    with pytest.raises(UserError) as refusal:
        read_labels(path, format)
    line = str(refusal.value)
    assert message in line and "\n" not in line
    if not message.startswith("label format"):
        assert line.startswith(str(path))


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_a_pipe_and_nothing_are_refused_in_every_format(tmp_path, format):
    os.mkfifo(tmp_path / "pipe.txt")
    for name, message in ((".", "is a folder"), ("pipe.txt", "not a plain file"), ("none.txt", "no such file")):
        with pytest.raises(UserError, match=message):
            read_labels(tmp_path / name, format)


def test_a_real_raven_table(shared_data):
    table = read_labels(shared_data("field/raven_example.selections.txt"))
    assert table.format == "raven" and len(table.rows) == 10
    assert table.rows[1].event == Event(3.182493230999995, 4.542066620999975, "EATO", 3030.8, 6196.3, 1)
    assert {row.event.label for row in table.rows} == {"WOTH", "EATO", "LOWA", ""}


# What crowsetta reads.

TEXT_GRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "calls"\n        xmin = 0\n        xmax = 2\n'
    "        intervals: size = 3\n        intervals [1]:\n            xmin = 0\n            xmax = 0.51234\n"
    '            text = ""\n        intervals [2]:\n            xmin = 0.51234\n            xmax = 1\n'
    '            text = "b"\n'
    '        intervals [3]:\n            xmin = 1\n            xmax = 2\n            text = "sil"\n'
)
SEQUENCES = (
    '<?xml version="1.0"?><Sequences><NumSequence>1</NumSequence><Sequence><WaveFileName>0.wav</WaveFileName>'
    "<Position>1000</Position><Length>5000</Length><NumNote>1</NumNote><Note><Position>10</Position><Length>20</Length>"
    "<Label>a</Label></Note></Sequence></Sequences>"
)


def test_the_formats_that_crowsetta_reads_are_known_to_it():
    crowsetta = pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    assert {*annotations.FORMATS} <= {*crowsetta.formats.as_list()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_text_grid(tmp_path, encoding):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    table = read_labels(written(tmp_path, TEXT_GRID.encode(encoding), "a.TextGrid"))
    assert (table.format, table.samples) == ("textgrid", False)
    assert [row.event for row in table.rows] == [Event(0.51234, 1, "b"), Event(1, 2, "sil")]


def test_formats_that_count_in_samples(tmp_path):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    table = read_labels(written(tmp_path, "0 7812 h#\n7812 9507 sh\n", "sa1.phn"))
    assert (table.format, table.samples) == ("timit", True)
    assert [row.event for row in table.rows] == [Event(0, 7812, "h#"), Event(7812, 9507, "sh")]
    table = read_labels(written(tmp_path, SEQUENCES, "Annotation.xml"))
    assert (table.format, table.samples) == ("birdsong-recognition-dataset", True)
    assert [row.event for row in table.rows] == [Event(1010, 1030, "a")]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (TEXT_GRID[:200], "a.TextGrid"),
        (TEXT_GRID, "a.txt"),
        (SEQUENCES[:-30], "Annotation.xml"),
        (b"MATLAB 5.0 MAT-file, and no more", "a.not.mat"),
        (b"MATLAB 5.0 MAT-file, and no more", "a.mat"),
        ("1 2 a\nb\n", "a.phn"),
    ],
)
def test_what_crowsetta_cannot_read_is_refused_in_one_line(tmp_path, content, name):
    pytest.importorskip("crowsetta", reason="crowsetta is not installed (extra annotations)")
    path = written(tmp_path, content, name)
    with pytest.raises(UserError, match="crowsetta cannot read it as") as refusal:
        read_labels(path)
    assert str(refusal.value).startswith(str(path)) and "\n" not in str(refusal.value)


def test_without_crowsetta_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "crowsetta", None)
    with pytest.raises(UserError, match=r"not installed; pip install 'partae-fast\[annotations\]'"):
        read_labels(written(tmp_path, TEXT_GRID, "a.TextGrid"))
