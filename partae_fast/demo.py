"""The demonstration: a scene is made up, a model learns from it, and what was learnt is measured and drawn.

Two birds sing near a crowd that talks. Training gets what a field recordist has: the noisy recording, and another
minute at the same place without birds. The clean songs are used for scoring alone.
"""

import json
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic_path, check_writable
from .audio import files
from .errors import UserError

logger = logging.getLogger("partae_fast")

Audio = NDArray[np.float64]

RATE = 22050
SECONDS = 60.0  # of the noisy recording
NOISE_SECONDS = 60.0  # of the recording of noise alone
INPUT_DB = -3.0  # songs against noise in the model's band, 1.7 to 7.2 kHz
BAND = 1700.0, 7200.0  # Hz, of the songs
OUTPUTS = ("noisy.wav", "denoised.wav", "noise.wav", "model.safetensors", "figure.png", "metrics.json")
FIGURE_SECONDS = 12.0  # from the middle of the recording: few enough to tell single songs apart

# Vowels: centres of four formants in Hz (after Peterson & Barney 1952; the fourth is a usual value).
_VOWELS = (
    (270, 2290, 3010, 3700),
    (530, 1840, 2480, 3600),
    (730, 1090, 2440, 3500),
    (570, 840, 2410, 3400),
    (300, 870, 2240, 3300),
    (490, 1350, 1690, 3300),
)
_TALKERS = 14
# A bird has few kinds of note and sings each alike: from Hz, to Hz, seconds.
_NOTES = ((6600.0, 3900.0, 0.11), (6900.0, 4700.0, 0.1), (6300.0, 4200.0, 0.12))


@dataclass(frozen=True)
class Scene:
    """What the demonstration hears and what it knows: audio (T,) at `rate` Hz, noisy = clean + other noise."""

    rate: int
    clean: Audio
    noisy: Audio
    noise: Audio  # a later stretch of the same crowd, without songs


def demo(
    out: str | os.PathLike[str],
    steps: int | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Make up a scene, train on it, denoise it; write `OUTPUTS` into the folder `out`, created if it is not there.

    noisy.wav is what the model hears, denoised.wav and noise.wav the two parts that it makes of it; the figure shows
    some seconds of all three. SI-SDR is taken from the file denoised.wav, in the songs' band, and over all frequencies
    beside. `steps` None takes as many as `fit`.

    Returns what is in metrics.json, and `files`, the paths. Raises UserError where the results cannot be written, or
    are there already and `overwrite` is false.
    """
    from .denoising.files import denoise_file
    from .models import save
    from .systems.fit import fit
    from .training.options import TrainingOptions

    started = time.monotonic()
    places = _places(Path(out), overwrite)
    made = scene(seconds, seconds, seed)
    files.write(places["noisy.wav"], made.noisy, made.rate, overwrite=overwrite)
    logger.info("%s: %.0f s of two birds and a crowd", places["noisy.wav"], seconds)
    material: Any = {"recordings": [places["noisy.wav"]], "noise": [(made.noise, made.rate)]}
    networks_alone = {"filter_share": 0.0}
    untrained = fit(**material, settings=networks_alone, options=TrainingOptions(steps=0, seed=seed, progress=False))
    training = time.monotonic()
    model = fit(**material, options=TrainingOptions(steps=steps, seed=seed, progress=progress))
    training = time.monotonic() - training
    save(model, places["model.safetensors"], overwrite)
    for part, name in (("signal", "denoised.wav"), ("noise", "noise.wav")):
        denoise_file(model, places["noisy.wav"], places[name], part, overwrite=overwrite)
    _draw(places, model)
    metrics = {
        **_scores(made, places, untrained),
        "steps": len(model.history.loss),
        "training_seconds": round(training, 2),
        "seconds": round(time.monotonic() - started, 2),
    }
    with atomic_path(places["metrics.json"], overwrite) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    return {**metrics, "files": [str(path) for path in places.values()]}


def _places(out: Path, overwrite: bool) -> dict[str, Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: the folder cannot be created: {error.strerror}; choose another --out") from error
    for name in OUTPUTS:
        check_writable(out / name, overwrite)
    return {name: out / name for name in OUTPUTS}


def _draw(places: dict[str, Path], model: Any) -> None:
    from .denoising.figure import figure

    parts = [files.read(places[name])[0][:, 0] for name in ("noisy.wav", "denoised.wav", "noise.wav")]
    first = max(0, (len(parts[0]) - round(FIGURE_SECONDS * RATE)) // 2)
    noisy, signal, noise = (part[first : first + round(FIGURE_SECONDS * RATE)] for part in parts)
    figure(places["figure.png"], noisy, signal, noise, RATE, model, title="partae demo")


def _scores(made: Scene, places: dict[str, Path], untrained: Any) -> dict[str, Any]:
    """SI-SDR in dB before, with the model as it was before training, and after."""
    from .denoising.denoise import denoise
    from .metrics import band, si_sdr

    noisy, denoised = (files.read(places[name])[0][:, 0] for name in ("noisy.wav", "denoised.wav"))
    estimates = {"noisy": noisy, "untrained": denoise(noisy, RATE, untrained), "denoised": denoised}
    clean = band(made.clean, RATE, *BAND)
    return {
        "band_hz": list(BAND),
        "si_sdr_db": {n: round(si_sdr(clean, band(e, RATE, *BAND)), 2) for n, e in estimates.items()},
        "si_sdr_db_all_frequencies": {n: round(si_sdr(made.clean, e), 2) for n, e in estimates.items()},
    }


def scene(seconds: float = SECONDS, noise_seconds: float = NOISE_SECONDS, seed: int = 0) -> Scene:
    """Make up a scene; the same seed gives the same one."""
    from .metrics import band

    random = np.random.default_rng(seed)
    length, noise_length = round(seconds * RATE), round(noise_seconds * RATE)
    crowd = babble(length + noise_length, random) + breeze(length + noise_length, random)
    clean = reverberant(songs(length, random), random)
    heard, masking = (band(part, RATE, *BAND) for part in (clean, crowd[:length]))
    crowd *= math.sqrt((heard @ heard) / (masking @ masking)) * 10 ** (-INPUT_DB / 20)
    noisy = clean + crowd[:length]
    loudest = max(np.abs(noisy).max(), np.abs(crowd).max()) / 0.7
    return Scene(RATE, clean / loudest, noisy / loudest, crowd[length:] / loudest)


def songs(length: int, random: np.random.Generator) -> Audio:
    """Two birds in turns and over one another: one of falling notes at two pitches, a farther one that trills."""
    out = np.zeros(length)
    _sing(out, random, _falling_notes, level=1.0, rest=(1.0, 4.0))
    _sing(out, random, _trill, level=0.5, rest=(2.0, 6.0))
    return out


def _sing(out: Audio, random: np.random.Generator, phrase: Any, level: float, rest: tuple[float, float]) -> None:
    at = random.uniform(0.2, rest[0])
    while round(at * RATE) < len(out):
        sound = phrase(random) * level * 10 ** (random.uniform(-6, 3) / 20)  # it moves, and turns its head
        place = out[round(at * RATE) :][: len(sound)]
        place += sound[: len(place)]
        at += len(sound) / RATE + random.uniform(*rest)


def _falling_notes(random: np.random.Generator) -> Audio:
    """Some seconds of single notes of three kinds, each a fall onto its pitch, as a chiffchaff sings."""
    notes = []
    for _ in range(random.integers(6, 16)):
        start, end, lasting = _NOTES[random.integers(len(_NOTES))]
        scale = random.uniform(0.98, 1.02)
        rest = np.zeros(round(random.uniform(0.12, 0.2) * RATE))
        notes += [_chirp(start * scale, end * scale, lasting, bend=5.0), rest]
    return np.concatenate(notes)


def _trill(random: np.random.Generator) -> Audio:
    """A second or so of quick alike notes that rise, slower towards the end."""
    notes, scale = [], random.uniform(0.97, 1.03)
    for pause in np.linspace(0.03, 0.06, random.integers(10, 20)):
        notes += [_chirp(4500 * scale, 6100 * scale, 0.05, bend=-2.0), np.zeros(round(pause * RATE))]
    return np.concatenate(notes)


def _chirp(start: float, end: float, seconds: float, bend: float) -> Audio:
    """A tone from `start` to `end` Hz, most of the way early (bend > 0) or late, rising and falling in level."""
    t = np.arange(round(seconds * RATE)) / (seconds * RATE)
    way = (1 - np.exp(-bend * t)) / (1 - np.exp(-bend))
    phase = 2 * np.pi * np.cumsum(start + (end - start) * way) / RATE
    return np.sin(phase) * np.sin(np.pi * t) ** 0.7


def reverberant(dry: Audio, random: np.random.Generator) -> Audio:
    """The sound with echoes of a wood: noise that decays by 60 dB in 0.4 s, 14 dB below the direct sound."""
    t = np.arange(round(0.4 * RATE)) / RATE
    tail = random.standard_normal(len(t)) * 10 ** (-3 * t / 0.4)
    tail *= 10 ** (-14 / 20) / np.linalg.norm(tail)
    tail[0] += 1.0
    size = 1 << (len(dry) + len(tail)).bit_length()
    return np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[: len(dry)]


def babble(length: int, random: np.random.Generator) -> Audio:
    """A crowd: talkers at different distances who speak in turns of some seconds, vowels and hisses by syllables."""
    out = np.zeros(length + RATE)
    for _ in range(_TALKERS):
        level, pitch = 10 ** (random.uniform(-10, 0) / 20), random.uniform(85, 230)
        at = random.uniform(-3.0, 2.0)
        while at < length / RATE:
            turn, loudness = at + random.uniform(1.0, 5.0), level * 10 ** (random.uniform(-4, 4) / 20)
            while at < turn:
                sound = _syllable(pitch * random.uniform(0.85, 1.2), random) * loudness
                start = round(at * RATE)
                if 0 <= start < length:
                    out[start : start + len(sound)] += sound
                at += len(sound) / RATE * random.uniform(0.7, 1.1)
            at += random.uniform(0.5, 4.0)
    return out[:length]


def _syllable(pitch: float, random: np.random.Generator) -> Audio:
    """A vowel of 0.1 to 0.3 s, in three of five with a hiss (s, sh, f) before it."""
    vowel = _voiced(pitch, random.uniform(0.1, 0.3), random)
    if random.random() > 0.6:
        return vowel
    centre, width = random.uniform(3000, 7000), random.uniform(800, 2500)
    hiss = _shaped(random.standard_normal(round(random.uniform(0.06, 0.14) * RATE)), [(centre, width, 0.0)])
    hiss *= random.uniform(0.1, 0.4) / max(hiss.std(), 1e-9) * np.hanning(len(hiss))
    return np.concatenate([hiss, vowel])


def _voiced(pitch: float, seconds: float, random: np.random.Generator) -> Audio:
    """Pulses of a gliding pitch through a vowel's formants."""
    glide = np.linspace(1.0, random.uniform(0.85, 1.15), round(seconds * RATE))
    cycles = np.cumsum(pitch * glide / RATE)
    pulses = np.diff(np.floor(cycles), prepend=0.0) + 0.02 * random.standard_normal(len(cycles))
    formants = _VOWELS[random.integers(len(_VOWELS))]
    scale = random.uniform(0.92, 1.15)
    # Levels of the formants of speech fall by some 10 dB from each to the next.
    vowel = _shaped(pulses, [(f * scale, 60 + 0.04 * f, -9.0 * i) for i, f in enumerate(formants)])
    return vowel / max(vowel.std(), 1e-9) * np.hanning(len(vowel)) ** 0.7


def _shaped(sound: Audio, peaks: list[tuple[float, float, float]]) -> Audio:
    """The sound through a sum of resonances: centre and half width in Hz, level in dB."""
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    response = sum(10 ** (level / 20) / (1 + ((frequencies - centre) / width) ** 2) for centre, width, level in peaks)
    return np.fft.irfft(np.fft.rfft(sound) * response, len(sound))


def breeze(length: int, random: np.random.Generator) -> Audio:
    """Wind and leaves: noise that falls by 6 dB an octave, louder and softer over seconds, 20 dB below one talker."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / RATE)
    noise = np.fft.irfft(spectrum / np.maximum(frequencies, 100.0), length)
    gusts = np.exp(
        np.interp(np.arange(length) / RATE, np.arange(length // RATE + 2), random.normal(0, 0.5, length // RATE + 2))
    )
    return 0.1 * noise / noise.std() * gusts
