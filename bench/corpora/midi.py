"""Songs in MIDI as four stems: drums, bass, a lead in the place of vocals, and the other instruments.

A note is muted where it stands in the file, by a velocity of 0, so a stem has the tempo, the controllers and the length
of the song. FluidSynth renders each stem by itself, and the mixture is their sum.
"""

import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partae_fast.audio import files
from partae_fast.bench.corpora.common import run_program, write
from partae_fast.errors import UserError

STEMS = DRUMS, BASS, LEAD, OTHER = ("drums", "bass", "vocals", "other")
RATE = 44100
SOUND_FONT = "fluid-soundfont-gm"  # the package of the instruments
_FONT_FILE = "usr/share/sounds/sf2/FluidR3_GM.sf2"
_GAIN = 0.3  # of FluidSynth, low enough that few songs are scaled down
_LOUDEST, _QUIETEST = 0.9, 1e-3  # peak of a mixture, at most, and of a stem, at least
_DRUM_CHANNEL = 9
_BASSES = range(32, 40)  # programs of General MIDI
_EFFECTS = range(112, 128)
_LOWEST_LEAD = 55  # mean pitch, G3
_LEAST_NOTES = 20  # of each stem

Instrument = tuple[int, int]  # channel and program


@dataclass(frozen=True)
class Note:
    """A note: where its velocity is in the file, when it sounds in ticks, its instrument and its pitch."""

    velocity_at: int
    start: int
    end: int
    instrument: Instrument
    pitch: int


def notes_of(content: bytes) -> list[Note]:
    """Return the notes of a MIDI file, in the order of their starts.

    A note ends at its note-off, at the next note of the same pitch and channel, or with the file.

    Raises UserError if the content is not a MIDI file.
    """
    events = sorted(_events(content), key=lambda event: event[0])  # stable: equal times keep the order of tracks
    programs: dict[int, int] = defaultdict(int)
    open_notes: dict[tuple[int, int], tuple[int, int, Instrument]] = {}
    notes = []

    def close(channel: int, pitch: int, time: int) -> None:
        if started := open_notes.pop((channel, pitch), None):
            at, start, instrument = started
            notes.append(Note(at, start, time, instrument, pitch))

    for time, at, status, first, second in events:
        kind, channel = status & 0xF0, status & 0x0F
        if kind == 0xC0:
            programs[channel] = first
        elif kind in (0x80, 0x90):
            close(channel, first, time)
            if kind == 0x90 and second:
                open_notes[channel, first] = at, time, (channel, programs[channel])
    for channel, pitch in list(open_notes):
        close(channel, pitch, events[-1][0])
    return sorted(notes, key=lambda note: note.start)


def stems_of(notes: Sequence[Note]) -> dict[str, list[Note]]:
    """Return the notes of each stem.

    Drums are on channel 10, and basses are the programs 33 to 40 of General MIDI. The lead is the other instrument that
    plays the most single notes, as a voice would, at a mean pitch of G3 or above.
    """
    by_instrument: dict[Instrument, list[Note]] = defaultdict(list)
    stems: dict[str, list[Note]] = {stem: [] for stem in STEMS}
    for note in notes:
        channel, program = note.instrument
        if channel == _DRUM_CHANNEL:
            stems[DRUMS].append(note)
        elif program in _BASSES:
            stems[BASS].append(note)
        else:
            by_instrument[note.instrument].append(note)
    lead = max(by_instrument, key=lambda name: _single(by_instrument[name]), default=None)
    for instrument, own in by_instrument.items():
        stems[LEAD if instrument == lead else OTHER] += own
    return stems


def muted(content: bytes, notes: Sequence[Note]) -> bytes:
    """Return a MIDI file without the given notes."""
    silent = bytearray(content)
    for note in notes:
        silent[note.velocity_at] = 0
    return bytes(silent)


def render(content: bytes, font: Path, song: Path) -> bool:
    """Render a MIDI file as four stems in the folder `song`; return False if a stem has too few notes or is silent.

    Args:
        content: of the MIDI file.
        font: the folder of the unpacked package of the sound font.
        song: folder for drums.flac, bass.flac, vocals.flac and other.flac, mono at 44.1 kHz.
    """
    notes = notes_of(content)
    stems = stems_of(notes)
    if any(len(own) < _LEAST_NOTES for own in stems.values()):
        return False

    def rendered(own: Sequence[Note]) -> np.ndarray:
        kept = {note.velocity_at for note in own}
        with tempfile.TemporaryDirectory() as folder:
            midi, audio = Path(folder) / "stem.mid", Path(folder) / "stem.wav"
            midi.write_bytes(muted(content, [note for note in notes if note.velocity_at not in kept]))
            options = ["-ni", "-q", "-g", str(_GAIN), "-r", str(RATE), "-O", "float", "-T", "wav", "-F", str(audio)]
            run_program(["fluidsynth", *options, str(font / _FONT_FILE), str(midi)])
            return files.read(audio)[0].mean(axis=1)

    with ThreadPoolExecutor(len(stems)) as pool:
        parts = list(pool.map(rendered, stems.values()))
    length = max(map(len, parts))  # rendering stops when the last note of a stem has died away
    tracks = np.stack([np.pad(part, (0, length - len(part))) for part in parts])
    peaks = np.abs(tracks).max(axis=1)
    if peaks.min() < _QUIETEST:
        return False
    tracks *= np.float32(min(1.0, _LOUDEST / peaks.max(), _LOUDEST / np.abs(tracks.sum(axis=0)).max()))
    for stem, track in zip(stems, tracks, strict=True):
        write(song / f"{stem}.flac", track, RATE)
    return True


def _single(notes: Sequence[Note]) -> int:
    """Return the number of notes in whose middle no other of them sounds; 0 for a low instrument or a sound effect."""
    if notes[0].instrument[1] in _EFFECTS or np.mean([note.pitch for note in notes]) < _LOWEST_LEAD:
        return 0
    starts, ends = (np.sort([getattr(note, name) for note in notes]) for name in ("start", "end"))
    middles = np.array([(note.start + note.end) / 2 for note in notes])
    sounding = np.searchsorted(starts, middles, "right") - np.searchsorted(ends, middles, "right")
    return int(np.sum(sounding == 1))


def _events(content: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the channel messages: time in ticks, position of the second data byte, status and both data bytes."""
    if content[:4] != b"MThd" or len(content) < 14:
        raise UserError("not a MIDI file: it does not start with MThd")
    position = 8 + struct.unpack(">I", content[4:8])[0]
    while position + 8 <= len(content):
        kind, length = struct.unpack(">4sI", content[position : position + 8])
        position += 8
        if kind == b"MTrk":
            yield from _track(content, position, min(position + length, len(content)))
        position += length


def _track(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    time = status = 0
    while at < end:
        delta, at = _variable(content, at)
        time += delta
        if content[at] & 0x80:
            status, at = content[at], at + 1
        if status == 0xFF:  # a meta event: type, length, data
            length, at = _variable(content, at + 1)
            at += length
        elif status in (0xF0, 0xF7):
            length, at = _variable(content, at)
            at += length
        else:
            size = 1 if status & 0xF0 in (0xC0, 0xD0) else 2
            yield time, at + size - 1, status, content[at], content[at + 1] if size == 2 else 0
            at += size


def _variable(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and the position behind it."""
    value = 0
    while True:
        byte = content[at]
        value, at = value << 7 | byte & 0x7F, at + 1
        if not byte & 0x80:
            return value, at
