"""Synthetic songs, for runs without recorded stems: drums, a bass, a voice and, as the other source, an organ.

Drums are short and wide in frequency, the bass is low and steady, the voice is harmonic and glides, and the organ holds
chords. Scores on them do not show how well real songs are separated.
"""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Random = np.random.Generator

SOURCES = ("bass", "drums", "other", "vocals")

_LEVEL = 0.1  # RMS of a source before its random gain
_GAIN = 3.0  # dB; the random gain is within +-3 dB
_SCALE = np.array([0, 2, 3, 5, 7, 8, 10])  # semitones: natural minor
# Formants of five vowels, and bandwidths of the formants, in Hz; relative strengths of the formants.
_VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
_WIDTHS, _STRENGTHS = np.array([90, 110, 170]), np.array([1.0, 0.5, 0.25])


def song(seed: int, number: int, seconds: float, rate: int) -> dict[str, NDArray[np.float32]]:
    """Return the stems of a song, (seconds * rate,) each, by source; equal arguments give equal stems."""
    random = np.random.Generator(np.random.PCG64([seed, number]))
    length = round(seconds * rate)
    beat, key = 60 / random.uniform(85, 140), random.uniform(-3, 3)
    stems = {
        "bass": _bass(random, length, rate, beat, key),
        "drums": _drums(random, length, rate, beat),
        "vocals": _voice(random, length, rate, beat, key),
    }
    stems = {name: _set_level(random, stem) for name, stem in stems.items()}
    stems["other"] = _set_level(random, _organ(random, length, rate, beat, key))
    return {name: stems[name] for name in SOURCES}


def _set_level(random: Random, samples: Samples) -> NDArray[np.float32]:
    gain, level = _LEVEL * 10 ** (random.uniform(-_GAIN, _GAIN) / 20), np.sqrt(np.mean(samples**2))
    return (samples * (gain / level if level else 0)).astype(np.float32)


def _add(track: Samples, start: float, rate: int, note: Samples) -> None:
    """Add a note that starts at `start` seconds; the part beyond the end of the track is cut."""
    first = round(start * rate)
    room = max(0, min(len(note), len(track) - first))
    track[first : first + room] += note[:room]


def _times(seconds: float, rate: int) -> Samples:
    return np.arange(round(seconds * rate)) / rate


def _drums(random: Random, length: int, rate: int, beat: float) -> Samples:
    """Return kick, snare and hi-hat on a grid of quarter beats."""
    track, kinds = np.zeros(length), {"kick": (0, 6, 10), "snare": (4, 12), "hat": range(0, 16, 2)}
    tuning = random.uniform(0.8, 1.25)
    for quarter in range(int(length / rate / (beat / 4)) + 1):
        for kind, pattern in kinds.items():
            swapped = random.random() < 0.08  # omits a stroke of the pattern, or adds one
            if (quarter % 16 in pattern) != swapped:
                _add(track, quarter * beat / 4, rate, random.uniform(0.7, 1) * _stroke(random, kind, rate, tuning))
    return track


def _stroke(random: Random, kind: str, rate: int, tuning: float) -> Samples:
    if kind == "kick":
        time = _times(0.3, rate)
        return np.sin(2 * np.pi * tuning * (48 * time - 8 * np.exp(-time / 0.03))) * np.exp(-time / 0.09)
    time = _times(0.2 if kind == "snare" else 0.06, rate)
    noise = np.fft.rfft(random.standard_normal(len(time)))
    frequency = np.fft.rfftfreq(len(time), 1 / rate)
    corner, decay, strength = (900, 0.06, 0.25) if kind == "snare" else (7000, 0.015, 0.15)
    hiss = np.fft.irfft(noise / (1 + (corner * tuning / np.maximum(frequency, 1)) ** 4), len(time))
    tone = 0.4 * np.sin(2 * np.pi * 185 * tuning * time) if kind == "snare" else 0.0
    return (strength * hiss + tone) * np.exp(-time / decay)


def _bass(random: Random, length: int, rate: int, beat: float, key: float) -> Samples:
    """Return plucked notes, one or two per beat, on roots that change at random."""
    track, start, root = np.zeros(length), 0.0, 0
    while start < length / rate:
        if random.random() < 0.3:
            root = int(random.integers(0, len(_SCALE)))
        duration = beat * random.choice([0.5, 1.0])
        frequency = 41.2 * 2 ** ((key + _SCALE[root] + 12 * (random.random() < 0.15)) / 12)
        time = _times(duration * 0.95, rate)
        note = sum(
            np.sin(2 * np.pi * k * frequency * time) * np.exp(-time * (1 + 0.7 * k)) / k**1.2 for k in range(1, 13)
        )
        _add(track, start, rate, random.uniform(0.7, 1) * np.minimum(1, time / 0.004) * note)
        start += duration
    return track


def _organ(random: Random, length: int, rate: int, beat: float, key: float) -> Samples:
    """Return triads of steady harmonics, a chord for two or four beats."""
    track, start = np.zeros(length), 0.0
    while start < length / rate:
        root, duration = int(random.integers(0, len(_SCALE))), beat * random.choice([2.0, 4.0])
        time = _times(duration, rate)
        envelope = np.minimum(1, time / 0.02) * np.minimum(1, (duration - time) / 0.02)
        for third in range(3):
            octave, degree = divmod(root + 2 * third, len(_SCALE))
            pitch = 196 * 2 ** ((key + _SCALE[degree] + 12 * octave) / 12)
            note = sum(np.sin(2 * np.pi * (k * pitch * time + random.uniform())) / k for k in range(1, 9))
            _add(track, start, rate, envelope * note)
        start += duration
    return track


def _voice(random: Random, length: int, rate: int, beat: float, key: float) -> Samples:
    """Return phrases of syllables: harmonics with glide and vibrato, shaped by a vowel, and a little noise."""
    track, start = np.zeros(length), beat * random.uniform(0, 2)
    while start < length / rate:
        for _ in range(random.integers(3, 8)):
            duration = beat * random.choice([0.5, 1.0, 1.5])
            pitch = 196 * 2 ** ((key + random.choice(_SCALE) + 12 * (random.random() < 0.2)) / 12)
            _add(track, start, rate, _syllable(random, pitch, duration, rate))
            start += duration
        start += beat * random.uniform(0.5, 2)
    return track


def _syllable(random: Random, pitch: float, duration: float, rate: int) -> Samples:
    time = _times(duration * 0.97, rate)
    glide = 1 - 0.06 * np.exp(-time / 0.05)
    vibrato = 1 + 0.012 * np.minimum(1, time / 0.3) * np.sin(2 * np.pi * random.uniform(5, 6.5) * time)
    phase = 2 * np.pi * np.cumsum(pitch * glide * vibrato) / rate
    formants = _VOWELS[random.integers(0, len(_VOWELS))] * random.uniform(0.9, 1.15)
    envelope = np.minimum(1, time / 0.03) * np.minimum(1, (time[-1] - time) / 0.06)
    note = 0.01 * random.standard_normal(len(time))
    for k in range(1, int(min(5000, rate / 2) / pitch)):
        strength = np.sum(_STRENGTHS / (1 + ((k * pitch - formants) / _WIDTHS) ** 2)) / k**0.3
        note = note + strength * np.sin(k * phase)
    return random.uniform(0.7, 1) * envelope * note
