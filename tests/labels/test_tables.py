"""Tables: the rows of every layout, encoding and line ending, and the error for each malformed table."""

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Event, audacity, read_labels, tables

from .common import write_file

# Each case: the content, the format that it shows, and its rows as (recording, start, end, label, low, high, channel).

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
    "reviewed, without events": ("file,start,end,label\nx.wav,,,\ny.wav,NaN,nan,\n", "csv", [("x.wav",), ("y.wav",)]),
    "header only": ("file,start,end,label\r\n", "csv", []),
    "blank lines": ("\n\nstart,end\n\n1,2\n,\n\n", "csv", [(None, 1, 2)]),
    "a last column with commas": ("start,end,file\n1,2,a, b.wav\n", "csv", [("a, b.wav", 1, 2)]),
    "trailing separators": ("start;end;label;;\n1.5;2.25;a;;;;\n", "csv", [A]),
    "kaleidoscope": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\n/d/,s,x.wav,1.5,0.75,\n",
        "csv",
        [("/d/s/x.wav", 1.5, 2.25)],
    ),
    "kaleidoscope, clusters": (
        "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,Fmin,DATE,TOP1MATCH,TOP1DIST,MANUAL ID\n"
        "/d/,s,x.wav,0,1.5,0.75,2000,2024-05-01,c1,0.2,wren\n/d/,s,x.wav,1,3.5,0.5,2000,2024-05-01,c2,0.2,\n",
        "csv",
        [("/d/s/x.wav", 1.5, 2.25, "wren", None, None, 1), ("/d/s/x.wav", 3.5, 4, "c2", None, None, 2)],
    ),
    "kaleidoscope, bats": (
        "INDIR,OUTDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID*,PULSES,MANUAL ID*\n"
        "D:\\bats\\,,s,x.wav,0,0,5.0,PIPPIP,7,\n",
        "csv",
        [("D:\\bats/s/x.wav", 0, 5, "PIPPIP", None, None, 1)],
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
    "raven, a label column of the user": (
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
    "birdnet, no detections": (
        f"{BIRDNET}1\tSpectrogram 1\t1\t0\t3\t0\t15000\tnocall\tnocall\t1.0\t/d/x.wav\t0\n",
        "birdnet",
        [("/d/x.wav",)],
    ),
    "birdnet's csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n3.0,6.0,Tryngites,Wren,0.9,/d, e/x.wav\n",
        "birdnet",
        [("/d, e/x.wav", 3, 6, "Wren")],
    ),
    "birdnet's csv, no detections": ("Start (s),End (s),Scientific name,Common name,Confidence,File\n", "birdnet", []),
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
    return [(row.recording, *(row.event or ())) for row in table.rows]


def padded(row):
    """Return a row of a case with the defaults of the fields that it leaves out."""
    return row if len(row) == 1 else (*row, *(None, None, None, "", None, None, None)[len(row) :])


@pytest.mark.parametrize(("text", "format", "rows"), GOOD.values(), ids=GOOD)
def test_a_table_is_read_with_and_without_its_format(tmp_path, text, format, rows):
    table = read_labels(write_file(tmp_path, text))
    assert table.format == format
    assert rows_of(table) == [padded(row) for row in rows]
    assert rows_of(read_labels(write_file(tmp_path, text), format)) == [padded(row) for row in rows]


@pytest.mark.parametrize("name", ["csv", "raven, several views", "birdnet's csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_are_read_in_every_encoding_and_with_all_line_endings(tmp_path, name, encoding, end):
    text, format, rows = GOOD[name]
    table = read_labels(write_file(tmp_path, text.replace("\n", end).encode(encoding)))
    assert (table.format, rows_of(table)) == (format, [padded(row) for row in rows])


def test_windows_1252_is_read(tmp_path):
    path = write_file(tmp_path, "start;end;label\n1;2;Grünspecht, laut – nah\n".encode("cp1252"))
    assert read_labels(path).rows[0].event == Event(1, 2, "Grünspecht, laut – nah")


CSV = "file,start,end,low,high,channel,label\n"
# Each case: the content, the requested format or None, and the message after the file's name.
BAD = {
    "binary": (b"fLaC\x00\xff\xfe\x80", None, ": is not text"),
    "random": (bytes(range(256)), None, ": is not text"),
    "half of UTF-16": (b"\xff\xfes\x00t\x00", None, ", line 1: the line has 'st'; a label file must be an Audacity"),
    "odd bytes in UTF-16": (b"\xff\xfes\x00t\x00a", None, ": is not text"),
    "terminal codes": ("1\t2\t\x1b[2J\n", None, ": is not text"),
    "prose": ("Dear all,\nthe labels\n", None, ", line 1: the line has 'Dear all,'; a label file must be an Audacity"),
    "no header": ("x.wav,1,2,a\n", None, ", line 1: the line has 'x.wav,1,2,a'; a label file must be"),
    "no times": (
        "file,label\nx.wav,a\n",
        None,
        ", line 1: the columns 'start', 'end' are missing; the line has 'file, label'; a CSV table must have start, "
        "end",
    ),
    "no end": (
        "\nfile,start,label\nx.wav,1,a\n",
        "csv",
        ", line 2: the column 'end' is missing; the line has 'file, start, label'",
    ),
    "a raven table without end": (
        "Selection\tView\tBegin Time (s)\n",
        None,
        ", line 1: the column 'End Time (s)' is missing; the line has 'Selection, View, Begin Time (s)'; a Raven "
        "selection table must have Selection, Begin Time (s), End Time (s)",
    ),
    "birdnet's csv without recordings": (
        "Start (s),End (s),Scientific name,Common name,Confidence\n",
        None,
        "column 'File' is missing; the line has 'Start (s), End (s), Scientific name, Common name, Confidence'; "
        "BirdNET's CSV",
    ),
    "kaleidoscope without duration": ("INDIR,FOLDER,IN FILE,OFFSET\n", None, "column 'DURATION' is missing"),
    "recordings in a column of another name": (
        "filename,start,end\nx.wav,1,2\n",
        None,
        ", line 2: the column 'filename' has 'x.wav'; the column of recordings must be named 'file': rename it",
    ),
    "raven, several files without offsets": (
        f"{RAVEN}\tBegin File\n1\tS\t1\t1\t2\t3\t4\ta.wav\n2\tS\t1\t11\t12\t3\t4\tb.wav\n",
        None,
        ": the column 'File Offset (s)' is missing, and the times of 2 recordings are counted from the start of the",
    ),
    "milliseconds": ("start_ms,end_ms\n1,2\n", None, ", line 1: the line has 'start_ms,end_ms'"),
    "a track as csv": ("1\t2\ta\n", "csv", ", line 1: the columns 'start', 'end' are missing; the line has '1, 2, a'"),
    "a quote that is not closed": (
        f'start,end\n1,"{"2" * 200_000}\n',
        "csv",
        ", line 2: a double quote is not closed, or a field has more than 131072 characters; correct it",
    ),
    "a quote that is not closed, to the end of the file": (
        'start,end,label\n1,2,a\n3,4,"b\n5,6,c\n7,8,d\n',
        None,
        ", line 3: a double quote is not closed, so the row runs on to line 6; close it",
    ),
    "a quote that the next label closes": (
        'file,start,end,label\nx.wav,1,2,"a\nx.wav,3,4,"b"\nx.wav,5,6,c\n',
        None,
        ", line 2: a double quote is not closed, so the row runs on to line 3; close it",
    ),
    "a fault below a field of several lines": (
        'start,end,label\n1,2,"a\n\nb"\n\n3,x,c\n',
        None,
        ", line 6: the end time in seconds is 'x'",
    ),
    "csv as a track": (
        f"{CSV}x.wav,1,2,,,,\n",
        "audacity",
        ", line 1: the line has 'file,start,end,low,high,channel,label'; it must have the form start<TAB>end",
    ),
    "a word for a time": (
        f"{CSV}x.wav,1,2,,,,\nx.wav,one,2,,,,\n",
        None,
        ", line 3: the start time in seconds is 'one'; it must be a number",
    ),
    "no start": (f"{CSV}x.wav,,2,,,,\n", None, ", line 2: the start time in seconds is ''; it must be a number"),
    "neither end nor duration": (
        f"{CSV}x.wav,1,,,,,\n",
        None,
        ", line 2: the end time or duration in seconds is ''",
    ),
    "times without a recording": ("start,end,label\n,,a\n", None, ", line 2: the start time in seconds is ''"),
    "negative": (
        f"{CSV}x.wav,-1,2,,,,\n",
        None,
        ", line 2: the label is from -1 to 2 s; a label must start at 0 s or later",
    ),
    "end before start": (f"{CSV}x.wav,2,1,,,,\n", None, ", line 2: the label is from 2 to 1 s"),
    "negative duration": ("start,duration\n2,-1\n", None, ", line 2: the label is from 2 to 1 s"),
    "infinite": (f"{CSV}x.wav,1,inf,,,,\n", None, ", line 2: the end time in seconds is inf; it must be a finite"),
    "huge": (f"{CSV}x.wav,1,1e999,,,,\n", None, ", line 2: the end time in seconds is 1e999; it must be a finite"),
    "many digits": (f"{CSV}x.wav,1,{'9' * 400},,,,\n", None, "must be a finite number"),
    "thousands": ('start,end\n"1,234.5",2000\n', None, ", line 2: the start time in seconds is '1,234.5'"),
    "a date": (
        "start,end\n2024-05-01 05:00,2024-05-01 05:01\n",
        None,
        ", line 2: the start time in seconds is '2024-05-01 05:00'",
    ),
    "frequencies swapped": (
        f"{CSV}x.wav,1,2,900,500,,\n",
        None,
        ", line 2: the label is from 900 to 500 Hz; the lower frequency",
    ),
    "frequency": (f"{CSV}x.wav,1,2,low,500,,\n", None, ", line 2: a frequency in Hz is 'low'; it must be a number"),
    "infinite frequency": (
        f"{CSV}x.wav,1,2,1,inf,,\n",
        None,
        ", line 2: a frequency in Hz is inf; it must be a finite number",
    ),
    "channel 0": (f"{CSV}x.wav,1,2,,,0,\n", None, ", line 2: the channel is 0; it must be a whole number from 1"),
    "kaleidoscope, channel -1": (
        "IN FILE,CHANNEL,OFFSET,DURATION\nx.wav,-1,0,1\n",
        None,
        ", line 2: the channel is -1; it must be a whole number from 0 to 1023",
    ),
    "channel 1.5": (f"{CSV}x.wav,1,2,,,1.5,\n", None, ", line 2: the channel is 1.5; it must be"),
    "too many fields": (
        f"{CSV}x.wav,1,2,,,,a,b\n",
        None,
        ", line 2: 8 fields under 7 columns; put fields that contain ','",
    ),
    "file offset": (
        f"{BIRDNET}1\tS\t1\t3\t6\t0\t1\tW\tw\t1\tx.wav\t-5\n",
        None,
        ", line 2: the label is from -5 to -2 s",
    ),
    "a field too long": (
        f"start,end,label\n1,2,{'x' * 200_000}\n",
        None,
        ", line 2: a double quote is not closed, or a field",
    ),
}


@pytest.mark.parametrize(("content", "format", "message"), BAD.values(), ids=BAD)
def test_a_malformed_table_is_refused_in_one_line(tmp_path, content, format, message):
    path = write_file(tmp_path, content)
    with pytest.raises(UserError) as error:
        read_labels(path, format)
    line = str(error.value)
    assert line.startswith(str(path)) and message in line and "\n" not in line


def test_a_raven_table_of_a_field_recording_is_read(shared_data):
    table = read_labels(shared_data("field/raven_example.selections.txt"))
    assert table.format == "raven" and len(table.rows) == 10
    assert table.rows[1].event == Event(3.182493230999995, 4.542066620999975, "EATO", 3030.8, 6196.3, 1)
    assert {row.event.label for row in table.rows} == {"WOTH", "EATO", "LOWA", ""}


ROWS = 20_000
MANY = {
    "audacity, some extended": "".join(
        f"{i}.0\t{i}.5\twren\n" + (f"\\\t{-1 if i % 5 else 2000.5}\t{3000 + i % 9}\n" if i % 3 else "")
        for i in range(ROWS)
    ),
    "audacity, confidences": "".join(f"{i}.0\t{i}.5\twren\t0.{i % 90 + 10}\n" for i in range(ROWS)),
    "raven, two views": f"{RAVEN}\tSpecies\n"
    + "".join(
        f"{i}\tWaveform 1\t1\t{i}.0\t{i}.5\t\t\twren\n{i}\tSpectrogram 1\t1\t{i}.0\t{i}.5\t2000.5\t3000.0\twren\n"
        for i in range(ROWS)
    ),
    "kaleidoscope": "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n"
    + "".join(f"D:\\x,s,{i % 9}.wav,0,{i}.0,0.5,c1,{'wren' if i % 2 else ''}\n" for i in range(ROWS)),
    "csv, Windows line ends": "file,start,end,label\r\n"
    + "".join(f"{i % 9}.wav,{i}.0,{i}.5,wren\r\n" for i in range(ROWS)),
    "audacity": "".join(f"{i / 2:.3f}\t{i / 2 + 0.3:.3f}\twren {i % 5}\n" for i in range(ROWS)),
    "audacity, extended": "".join(f"{i}.0\t{i}.5\twren\n\\\t2000.0\t{3000 + i % 9}\n" for i in range(ROWS)),
    "csv": "file,start,end,label,low,high\n"
    + "".join(f"s/{i % 9}.wav,{i}.0,{i}.5,wren,2000.5,{3000 + i % 7}\n" for i in range(ROWS)),
    "csv, blank frequencies": "start;end;low;high;channel\n"
    + "".join(f"{i}.0;{i}.5;{2000 * (i % 2) or ''};;{i % 2 + 1}\n" for i in range(ROWS)),
    "raven": f"{RAVEN}\tSpecies\n"
    + "".join(f"{i}\tSpectrogram 1\t1\t{i}.0\t{i}.5\t2000.5\t{3000 + i % 7}\twren\n" for i in range(ROWS)),
    "birdnet": "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
    + "".join(
        f"{3 * i}.0,{3 * i + 3}.0,T t,{'nocall' if i % 99 == 7 else 'wren'},0.8,/d/{i % 9}.wav\n" for i in range(ROWS)
    ),
}


@pytest.mark.parametrize("name", MANY)
def test_a_long_table_is_read_column_by_column(tmp_path, monkeypatch, name):
    """No row of a usual table is read by itself, which takes ten times as long, and both ways give the same rows."""
    path = write_file(tmp_path, MANY[name])

    def refuse(*arguments):
        raise ValueError

    with monkeypatch.context() as by_column_only:
        by_column_only.setattr(tables, "_row", refuse)
        by_column_only.setattr(audacity, "_event", refuse)
        table = read_labels(path)
    assert len(table.rows) == ROWS
    monkeypatch.setattr(tables, "_rows_by_column", refuse)
    monkeypatch.setattr(audacity, "_events_by_column", refuse)
    assert read_labels(path).rows == table.rows


LINE = "s/1.wav,1.0,1.5,wren\n"


@pytest.mark.parametrize(
    ("middle", "events"),
    [
        ('s/1.wav,1.0,1.5,"wren"\n', [Event(1.0, 1.5, "wren")]),
        ('s/1.wav,1.0,1.5,"a\nb"\n', [Event(1.0, 1.5, "a\nb")]),
        ("s/1.wav,2.0,2.5\n", [Event(2.0, 2.5)]),
        ("\n,,,\n \n", []),
        ("s/1.wav,2.0,2.5,robin\r\n", [Event(2.0, 2.5, "robin")]),
        ("s/1.wav,2.0,2.5,robin\rs/1.wav,3.0,3.5,robin\r", [Event(2.0, 2.5, "robin"), Event(3.0, 3.5, "robin")]),
        ("s/1.wav,2.0,2.5,Spießente\n", [Event(2.0, 2.5, "Spießente")]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 60, 1 << 16])
def test_unusual_rows_in_the_middle_are_read_and_lines_counted(tmp_path, monkeypatch, middle, events, chunk):
    monkeypatch.setattr(tables, "_CHUNK", chunk)
    content = "file,start,end,label\n" + 5 * LINE + middle + 5 * LINE
    table = read_labels(write_file(tmp_path, content))
    usual = 5 * [Event(1.0, 1.5, "wren")]
    assert [row.event for row in table.rows] == usual + events + usual
    wrong = write_file(tmp_path, content + "s/1.wav,1.0,x,wren\n")
    line = len(content.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    with pytest.raises(UserError, match=f"line {line}: the end time in seconds is 'x'"):
        read_labels(wrong)


def test_a_field_that_is_too_long_is_refused_with_its_line(tmp_path):
    content = "file,start,end,label\n" + 5 * LINE + f"s/1.wav,1.0,1.5,{'w' * 140_000}\n"
    with pytest.raises(UserError, match="line 7: a double quote is not closed, or a field has more than 131072"):
        read_labels(write_file(tmp_path, content))


def test_a_fault_in_a_long_table_is_reported_with_its_line(tmp_path):
    path = write_file(tmp_path, MANY["csv"] + "s/1.wav,5,x,wren,,\n")
    with pytest.raises(UserError, match=f"line {ROWS + 2}: the end time in seconds is 'x'"):
        read_labels(path)
    path = write_file(tmp_path, MANY["audacity, extended"] + "\n\\\t1\t2\n")
    with pytest.raises(UserError, match=f"line {2 * ROWS + 2}: a frequency line must follow"):
        read_labels(path)
