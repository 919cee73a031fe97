"""What the columns of label tables are called, by the programs that write them and the people that do."""

import re
from collections.abc import Sequence

# Each role's names, in plain form (see `plain`), the one to prefer first. "offset" is where a label ends, beside
# "onset", and where it starts, beside a duration, in Kaleidoscope's tables; "file offset s" is where it starts in the
# file, in Raven's and BirdNET's.
_NAMES = {
    "file": "begin path, filepath, file path, filename, file name, file, path, begin file, in file, input file, input, "
    "recording, recording name, recording path, audio, audio file, audiofile, audio path, audio filename, "
    "sound files, sound file, soundfile, source file, wav, wav file, wavfile, wav filename, notated path, fname",
    "start": "begin time s, start, start s, start time, start time s, start seconds, start sec, starttime, begin, "
    "begin s, begin time, begin seconds, begin sec, onset, onset s, onset time, onset seconds, t start, tstart, "
    "t min, tmin, min t",
    "end": "end time s, end, end s, end time, end seconds, end sec, endtime, stop, stop s, stop time, stop seconds, "
    "offset, offset s, offset time, offset seconds, t end, tend, t stop, t max, tmax, max t",
    "duration": "delta time s, duration, duration s, duration seconds, length s, dur",
    "low": "low freq hz, low freq, low frequency, low frequency hz, lower frequency, lower frequency hz, min freq, "
    "min freq hz, min frequency, min frequency hz, freq min, freq low, low hz, low f, f low, min f, f min, fmin, "
    "low",
    "high": "high freq hz, high freq, high frequency, high frequency hz, upper frequency, upper frequency hz, "
    "max freq, max freq hz, max frequency, max frequency hz, freq max, freq high, high hz, high f, f high, max f, "
    "f max, fmax, high",
    "label": "label, labels, annotation, annotations, species, common name, tag, tags, class, call type, calltype, "
    "category, name, species name, species code, scientific name, code, event, call, text, type, note, notes, "
    "comment, comments",
    "channel": "channel, ch",
    "selection": "selection",
    "view": "view",
    "offset": "file offset s, file offset",
    "last": "end path, end file",
    "folder": "folder",
    "root": "indir",
}
# Raven's columns that hold no labels and have no unit in parentheses.
_RAVEN = {
    *("begin path", "end path", "begin file", "end file", "begin date", "end date", "begin date time"),
    *("begin clock time", "end clock time", "occupancy", "score"),
}


def plain(name: str) -> str:
    """A column's name in lower-case letters and digits: `Begin Time (s)`, `begin_time.s` -> `begin time s`.

    >>> plain("Low Freq (Hz)")
    'low freq hz'
    """
    return " ".join(re.findall(r"[^\W_]+", name.lower()))


def roles(header: Sequence[str]) -> dict[str, int]:
    """The columns of a header by what they hold: "file", "start", "end", "label" and so on, each with its index."""
    found = {name: index for index, name in reversed([*enumerate(map(plain, header))])}
    has: dict[str, int] = {}
    for role, names in _NAMES.items():
        index = next((found[name] for name in names.split(", ") if name in found), None)
        if index is not None:
            has[role] = index
    if "start" not in has and "duration" in has and "offset" in found:
        has["start"] = has.pop("end")
    return has


def is_table(has: dict[str, int]) -> bool:
    """Whether these columns say when something was."""
    return "start" in has and ("end" in has or "duration" in has)


def is_raven(has: dict[str, int]) -> bool:
    return is_table(has) and "selection" in has


def is_birdnet(header: Sequence[str], has: dict[str, int]) -> bool:
    """Whether these are the columns of one of BirdNET's tables: for Raven, or for other programs."""
    names = {*map(plain, header)}
    return (
        is_table(has)
        and "confidence" in names
        and "common name" in names
        and bool({"species code", "scientific name"} & names)
    )


def own_label(header: Sequence[str], has: dict[str, int], rows: Sequence[Sequence[str]]) -> int | None:
    """The column of a Raven table that someone added for labels, where its name is none of the usual ones.

    That is the first that is none of Raven's own, which have a unit or are known, and has letters in it; else the first
    that has numbers.
    """
    numbers = None
    for index, name in enumerate(header):
        if index in has.values() or "(" in name or plain(name) in _RAVEN or not name.strip():
            continue
        values = "".join(row[index] for row in rows if index < len(row))
        if re.search(r"[^\W\d_]", values):
            return index
        numbers = index if numbers is None and values.strip() else numbers
    return numbers
