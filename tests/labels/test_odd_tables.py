"""Odd label tables, as people and programs write them, each with its one outcome: its events, or the message.

The tables are made here; each resembles a file that somebody reported to the makers of a program for annotations. They
belong to the recordings dawn.wav, of 60 s, and dusk.wav, of 30 s; a table without names belongs to dawn.wav.
"""

import pytest

from partae_fast.errors import UserError
from partae_fast.labels import Recording, Timeline, match_recordings

from .common import write_file

RECORDINGS = [Recording("dawn.wav", 60.0, 44100), Recording("dusk.wav", 30.0, 44100)]
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
TEXT_GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n60\n<exists>\n1\n"IntervalTier"\n"a"\n0\n60\n'
KALEIDOSCOPE = "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n"
WREN = [("dawn.wav", 1.5, 2.25, "wren")]

# Each case: the content, and the events as (recording, start, end, label), or what the message has.
TABLES = {
    "a header in capitals with spaces": (" FILE , Start , END , Label \ndawn.wav, 1.5 , 2.25 , wren \n", WREN),
    "a byte order mark before the header": ("\ufefffile,start,end,label\ndawn.wav,1.5,2.25,wren\n", WREN),
    "a byte order mark before a track": ("\ufeff1.5\t2.25\twren\n", WREN),
    "semicolons and decimal commas, from a German Excel": ("file;start;end;label\ndawn.wav;1,5;2,25;wren\n", WREN),
    "every field in quotes": ('"file","start","end","label"\n"dawn.wav","1.5","2.25","wren"\n', WREN),
    "quotes in a label": (
        'file,start,end,label\ndawn.wav,1.5,2.25,"the ""small"" wren"\n',
        [(*WREN[0][:3], 'the "small" wren')],
    ),
    "a comma in a label": ('file,start,end,label\ndawn.wav,1.5,2.25,"wren, far"\n', [(*WREN[0][:3], "wren, far")]),
    "a comma in a label without quotes": (
        "file,start,end,label\ndawn.wav,1.5,2.25,wren, far\n",
        "line 2: 5 fields under 4 columns",
    ),
    "a comment of two lines": ('file,start,end,label,comment\ndawn.wav,1.5,2.25,wren,"far\noff"\n', WREN),
    "a quote that is not closed": (
        'file,start,end,label\ndawn.wav,1.5,2.25,"wren\ndusk.wav,3,4,robin\n',
        "line 2: a double quote is not closed",
    ),
    "an index column, from pandas": (",file,start,end,label\n0,dawn.wav,1.5,2.25,wren\n", WREN),
    "blank lines at the end, from a spreadsheet": ("file,start,end,label\ndawn.wav,1.5,2.25,wren\n,,,\n,,,\n", WREN),
    "columns without a name at the end": ("file,start,end,label,,\ndawn.wav,1.5,2.25,wren,,\n", WREN),
    "line ends of an old Mac": ("file,start,end,label\rdawn.wav,1.5,2.25,wren\r", WREN),
    "mixed line ends": (
        "file,start,end,label\r\ndawn.wav,1.5,2.25,wren\ndusk.wav,3,4,robin\r\n",
        [*WREN, ("dusk.wav", 3, 4, "robin")],
    ),
    "no line end at the end": ("file,start,end,label\ndawn.wav,1.5,2.25,wren", WREN),
    "the header twice, from cat": (
        "file,start,end\ndawn.wav,1.5,2.25\nfile,start,end\n",
        "line 3: the start time in seconds is 'start'",
    ),
    "clock times": ("file,start,end,label\ndawn.wav,0:00:01.5,0:00:02.25,wren\n", WREN),
    "minutes and seconds": (
        "file,start,end,label\ndawn.wav,0:01.5,0:02.25,wren\n",
        "line 2: the start time in seconds is '0:01.5'",
    ),
    "milliseconds": (
        "file,start,end,label\ndawn.wav,1500,2250,wren\n",
        "a label ends at 2250.000 s and the recording at 60.000 s",
    ),
    "numbers with an exponent": ("file,start,end,label\ndawn.wav,1.5e0,225E-2,wren\n", WREN),
    "a reviewed recording without events": (
        "file,start,end,label\ndawn.wav,1.5,2.25,wren\ndusk.wav,,,\n",
        [*WREN, ("dusk.wav",)],
    ),
    "NA for no event, from R": (
        "file,start,end,label\ndawn.wav,1.5,2.25,wren\ndusk.wav,NA,NA,NA\n",
        [*WREN, ("dusk.wav",)],
    ),
    "a path from Windows": ("file,start,end,label\nD:\\june\\dawn.wav,1.5,2.25,wren\n", WREN),
    "a path from Windows, another suffix": ("file,start,end,label\nD:\\june\\dawn.WAV,1.5,2.25,wren\n", WREN),
    "a suffix in small letters and in capitals": (
        "file,start,end,label\nD:\\june\\dawn.wav,1.5,2.25,wren\nD:\\june\\dawn.WAV,3,4,robin\n",
        [*WREN, ("dawn.wav", 3, 4, "robin")],
    ),
    "two folders, a suffix in small letters and in capitals": (
        "file,start,end,label\nx/dawn.wav,1.5,2.25,wren\ny/dawn.WAV,3,4,robin\n",
        "x/dawn.wav and y/dawn.WAV may both mean dawn.wav",
    ),
    "a name without suffix": ("file,start,end,label\ndawn,1.5,2.25,wren\n", WREN),
    "recordings that are not there": (
        "file,start,end,label\nnoon.wav,1.5,2.25,wren\n",
        "lists none of the 2 recordings: it names noon.wav",
    ),
    "a column filename": ("filename,start,end\ndawn.wav,1.5,2.25\n", "the column of recordings must be named 'file'"),
    "a label 0.15 s past the end": ("59\t60.15\twren\n", [("dawn.wav", 59, 60, "wren")]),
    "a label 3 s past the end": ("59\t63\twren\n", "a label ends at 63.000 s and the recording at 60.000 s"),
    "a track of BirdNET past the end": (
        "1.5\t2.25\twren\t0.91\n58.0\t61.0\twren\t0.5\n",
        [*WREN, ("dawn.wav", 58, 60, "wren")],
    ),
    "a track with spaces for tabs": ("1.5  2.25  wren\n", "line 1: the line has '1.5  2.25  wren'"),
    "a track with frequencies of -1": ("1.5\t2.25\twren\n\\\t-1\t-1\n", WREN),
    "a point in time before 0": ("-0.5\t1\twren\n", "the label is from -0.5 to 1 s"),
    "a time that is NaN": ("nan\t1\twren\n", "a time is nan; it must be a finite number"),
    "a start after the end": ("3\t2\twren\n", "the label is from 3 to 2 s"),
    "thousands with a comma": (
        f"{RAVEN}\n1\tS\t1\t1,000.5\t1,001.5\t3\t4\n",
        "'1,000.5'; it must be a number such as 1.25",
    ),
    "times of Excel": ("file,start,end\ndawn.wav,12:00:01 AM,12:00:02 AM\n", "'12:00:01 AM'; it must be a number"),
    "a minus sign of Unicode": ("\u22121\t2\twren\n", "a label file must be an Audacity track"),
    "spaces that do not break": ("1.5\u00a0\t2.25\twren\n", WREN),
    "decimal commas in a track": ("1,5\t2,25\twren\n", WREN),
    "a header alone, of Raven": (f"{RAVEN}\n", [("dawn.wav",)]),
    "a table of another program": ("UID,UTC,StartSeconds,Duration\n1,2024,1.0,0.5\n", "the column 'start' is missing"),
    "a multi-hot table": ("file,start_time,end_time,wren\ndawn.wav,0.0,3.0,1\n", "'start', 'end' are missing"),
    "a point of a track": ("2\t2\tpeak\n", [("dawn.wav", 2, 2, "peak")]),
    "raven, two views": (
        f"{RAVEN}\tSpecies\n1\tWaveform 1\t1\t1.5\t2.25\t\t\twren\n1\tSpectrogram 1\t1\t1.5\t2.25\t9\t99\twren\n",
        WREN,
    ),
    "raven, offsets in a sequence": (
        f"{RAVEN}\tBegin File\tFile Offset (s)\tSpecies\n1\tS\t1\t61.5\t62.25\t9\t99\tdawn.wav\t1.5\twren\n",
        WREN,
    ),
    "kaleidoscope, a manual label": (f"{KALEIDOSCOPE}/d,june,dawn.wav,0,1.5,0.75,c7,wren\n", WREN),
    "kaleidoscope, an automatic label": (f"{KALEIDOSCOPE}/d,june,dawn.wav,0,1.5,0.75,wren,\n", WREN),
    "a TextGrid, with a blank interval": (f'{TEXT_GRID}3\n0\n1.5\n""\n1.5\n2.25\n"wren"\n2.25\n60\n" "\n', WREN),
    "a file of ELAN without annotations": (
        '<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT/>\n',
        [("dawn.wav",)],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_odd_table_has_one_outcome(tmp_path, name):
    content, outcome = TABLES[name]
    path = write_file(tmp_path, content, "dawn.txt")
    if isinstance(outcome, str):
        with pytest.raises(UserError) as error:
            events_of(path)
        assert outcome in str(error.value) and "\n" not in str(error.value)
    else:
        assert events_of(path) == outcome


def events_of(path):
    """Return the events as (recording, start, end, label), cut as in training, and (recording,) without events."""
    outcome = []
    for recording in RECORDINGS:
        matches = {str(found): events for found, events in match_recordings(path, RECORDINGS).items()}
        events = matches.get(recording.name)
        if events is not None:
            Timeline.from_events(events, recording.seconds)
            outcome += [(recording.name, e.start, min(e.end, recording.seconds), e.label) for e in events]
            outcome += [] if events else [(recording.name,)]
    return outcome
