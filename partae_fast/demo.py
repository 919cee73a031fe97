"""The demonstration `partae demo`: train on a synthetic scene and denoise it.

In the scene two birds sing near a talking crowd. The model is trained on the noisy recording and on a minute of the
same place without birds; the clean songs are used for scoring only.
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
from .models.protocol import Model

logger = logging.getLogger("partae_fast")

Audio = NDArray[np.float64]

RATE = 22050
SECONDS = 60.0  # of the noisy recording
NOISE_SECONDS = 60.0  # of the noise-only recording
INPUT_DB = -3.0  # energy ratio of songs to noise in BAND
BAND = 1700.0, 7200.0  # Hz, of the songs
OUTPUTS = ("noisy.wav", "denoised.wav", "noise.wav", "model.safetensors", "figure.png", "metrics.json")
FIGURE_SECONDS = 12.0  # from the middle of the recording; short enough to show single songs

# Vowels: centre frequencies of four formants, Hz (after Peterson & Barney 1952; the fourth is a typical value).
_VOWELS = (
    (270, 2290, 3010, 3700),
    (530, 1840, 2480, 3600),
    (730, 1090, 2440, 3500),
    (570, 840, 2410, 3400),
    (300, 870, 2240, 3300),
    (490, 1350, 1690, 3300),
)
_TALKERS = 14
# The falling notes: start frequency in Hz, end frequency in Hz, duration in s.
_NOTES = ((6600.0, 3900.0, 0.11), (6900.0, 4700.0, 0.1), (6300.0, 4200.0, 0.12))


@dataclass(frozen=True)
class Scene:
    """A synthetic scene: audio (T,) at `rate` Hz."""

    rate: int
    clean: Audio  # the songs alone
    noisy: Audio  # the songs and the crowd
    noise: Audio  # a later stretch of the same crowd, without songs


def demo(
    out: str | os.PathLike[str],
    steps: int | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Synthesise a scene, train a model on it, denoise it and write `OUTPUTS`.

    noisy.wav is the input, denoised.wav and noise.wav are the two parts into which the model separates it, and
    figure.png shows 12 s of all three. SI-SDR is computed from the written denoised.wav, in the band of the songs and
    over all frequencies.

    Args:
        out: the folder to write to, created if it does not exist.
        steps: training steps; None for the default of `fit`.
        seconds: duration of the noisy recording, and of the noise-only recording.
        seed: of the scene and of the training.
        overwrite: replace the results of an earlier run.
        progress: show a progress bar; None shows it on a terminal only.

    Returns the contents of metrics.json, and the paths of all outputs as `files`. Raises UserError if the results
    cannot be written, or if they exist and `overwrite` is false.
    """
    from .denoising.files import denoise_file
    from .models import save
    from .systems.fit import fit
    from .training.options import TrainingOptions

    started = time.monotonic()
    paths = _output_paths(Path(out), overwrite)
    audio = scene(seconds, seconds, seed)
    files.write(paths["noisy.wav"], audio.noisy, audio.rate, overwrite=overwrite)
    logger.info("%s: %.0f s of two birds and a crowd", paths["noisy.wav"], seconds)
    material: Any = {"recordings": [paths["noisy.wav"]], "noise": [(audio.noise, audio.rate)]}
    networks_alone = {"filter_share": 0.0}
    untrained = fit(**material, settings=networks_alone, options=TrainingOptions(steps=0, seed=seed, progress=False))
    training_started = time.monotonic()
    model = fit(**material, options=TrainingOptions(steps=steps, seed=seed, progress=progress))
    training_seconds = time.monotonic() - training_started
    save(model, paths["model.safetensors"], overwrite)
    for part, name in (("signal", "denoised.wav"), ("noise", "noise.wav")):
        denoise_file(model, paths["noisy.wav"], paths[name], part, overwrite=overwrite)
    _draw(paths, model)
    metrics = {
        **_scores(audio, paths, untrained),
        "steps": len(model.history.loss),
        "training_seconds": round(training_seconds, 2),
        "seconds": round(time.monotonic() - started, 2),
    }
    with atomic_path(paths["metrics.json"], overwrite) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    return {**metrics, "files": [str(path) for path in paths.values()]}


def _output_paths(out: Path, overwrite: bool) -> dict[str, Path]:
    """Create the folder `out`, check that it is writable, and return the paths."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: the folder cannot be created: {error.strerror}; choose another --out") from error
    for name in OUTPUTS:
        check_writable(out / name, overwrite)
    return {name: out / name for name in OUTPUTS}


def _draw(paths: dict[str, Path], model: Model) -> None:
    from .denoising.figure import plot_denoising

    parts = [files.read(paths[name])[0][:, 0] for name in ("noisy.wav", "denoised.wav", "noise.wav")]
    first = max(0, (len(parts[0]) - round(FIGURE_SECONDS * RATE)) // 2)
    noisy, signal, noise = (part[first : first + round(FIGURE_SECONDS * RATE)] for part in parts)
    plot_denoising(paths["figure.png"], noisy, signal, noise, RATE, model, title="partae demo")


def _scores(audio: Scene, paths: dict[str, Path], untrained: Any) -> dict[str, Any]:
    """Compute the SI-SDR in dB before denoising, without and with training."""
    from .denoising.denoise import denoise
    from .metrics import band, si_sdr

    noisy, denoised = (files.read(paths[name])[0][:, 0] for name in ("noisy.wav", "denoised.wav"))
    estimates = {"noisy": noisy, "untrained": denoise(noisy, RATE, untrained), "denoised": denoised}
    clean = band(audio.clean, RATE, *BAND)
    return {
        "band_hz": list(BAND),
        "si_sdr_db": {n: round(si_sdr(clean, band(e, RATE, *BAND)), 2) for n, e in estimates.items()},
        "si_sdr_db_all_frequencies": {n: round(si_sdr(audio.clean, e), 2) for n, e in estimates.items()},
    }


def scene(seconds: float = SECONDS, noise_seconds: float = NOISE_SECONDS, seed: int = 0) -> Scene:
    """Synthesise a scene; the same seed gives the same scene."""
    from .metrics import band

    random = np.random.default_rng(seed)
    length, noise_length = round(seconds * RATE), round(noise_seconds * RATE)
    crowd = babble(length + noise_length, random) + breeze(length + noise_length, random)
    clean = reverberant(songs(length, random), random)
    signal, noise = (band(part, RATE, *BAND) for part in (clean, crowd[:length]))
    crowd *= math.sqrt((signal @ signal) / (noise @ noise)) * 10 ** (-INPUT_DB / 20)
    noisy = clean + crowd[:length]
    scale = max(np.abs(noisy).max(), np.abs(crowd).max()) / 0.7
    return Scene(RATE, clean / scale, noisy / scale, crowd[length:] / scale)


def songs(length: int, random: np.random.Generator) -> Audio:
    """Synthesise a near bird with falling notes and a distant one that trills.

    Their songs may overlap.
    """
    out = np.zeros(length)
    _add_phrases(out, random, _falling_notes, level=1.0, rest=(1.0, 4.0))
    _add_phrases(out, random, _trill, level=0.5, rest=(2.0, 6.0))
    return out


def _add_phrases(out: Audio, random: np.random.Generator, phrase: Any, level: float, rest: tuple[float, float]) -> None:
    """Add phrases to `out`, with pauses of `rest` seconds between them."""
    start = random.uniform(0.2, rest[0])
    while round(start * RATE) < len(out):
        sound = phrase(random) * level * 10 ** (random.uniform(-6, 3) / 20)  # the bird moves and turns its head
        segment = out[round(start * RATE) :][: len(sound)]
        segment += sound[: len(segment)]
        start += len(sound) / RATE + random.uniform(*rest)


def _falling_notes(random: np.random.Generator) -> Audio:
    """Synthesise a phrase of 6 to 15 falling notes, like a chiffchaff's."""
    notes = []
    for _ in range(random.integers(6, 16)):
        start, end, seconds = _NOTES[random.integers(len(_NOTES))]
        scale = random.uniform(0.98, 1.02)
        rest = np.zeros(round(random.uniform(0.12, 0.2) * RATE))
        notes += [_chirp(start * scale, end * scale, seconds, bend=5.0), rest]
    return np.concatenate(notes)


def _trill(random: np.random.Generator) -> Audio:
    """Synthesise a trill: about a second of rising notes that slow down."""
    notes, scale = [], random.uniform(0.97, 1.03)
    for pause in np.linspace(0.03, 0.06, random.integers(10, 20)):
        notes += [_chirp(4500 * scale, 6100 * scale, 0.05, bend=-2.0), np.zeros(round(pause * RATE))]
    return np.concatenate(notes)


def _chirp(start: float, end: float, seconds: float, bend: float) -> Audio:
    """Synthesise a tone that glides from `start` to `end` Hz and fades in and out.

    The glide is fast at first (bend > 0) or at the end (bend < 0).
    """
    t = np.arange(round(seconds * RATE)) / (seconds * RATE)
    glide = (1 - np.exp(-bend * t)) / (1 - np.exp(-bend))
    phase = 2 * np.pi * np.cumsum(start + (end - start) * glide) / RATE
    return np.sin(phase) * np.sin(np.pi * t) ** 0.7


def reverberant(dry: Audio, random: np.random.Generator) -> Audio:
    """Add the reverberation of a wood.

    It is noise that decays by 60 dB in 0.4 s, 14 dB below the direct sound.
    """
    t = np.arange(round(0.4 * RATE)) / RATE
    tail = random.standard_normal(len(t)) * 10 ** (-3 * t / 0.4)
    tail *= 10 ** (-14 / 20) / np.linalg.norm(tail)
    tail[0] += 1.0
    size = 1 << (len(dry) + len(tail)).bit_length()
    return np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[: len(dry)]


def babble(length: int, random: np.random.Generator) -> Audio:
    """Synthesise a crowd of talkers who speak for 1 to 5 s at a time."""
    out = np.zeros(length + RATE)
    for _ in range(_TALKERS):
        level, pitch = 10 ** (random.uniform(-10, 0) / 20), random.uniform(85, 230)
        seconds = random.uniform(-3.0, 2.0)
        while seconds < length / RATE:
            turn_end, loudness = seconds + random.uniform(1.0, 5.0), level * 10 ** (random.uniform(-4, 4) / 20)
            while seconds < turn_end:
                sound = _syllable(pitch * random.uniform(0.85, 1.2), random) * loudness
                start = round(seconds * RATE)
                if 0 <= start < length:
                    out[start : start + len(sound)] += sound
                seconds += len(sound) / RATE * random.uniform(0.7, 1.1)
            seconds += random.uniform(0.5, 4.0)
    return out[:length]


def _syllable(pitch: float, random: np.random.Generator) -> Audio:
    """Synthesise a vowel, preceded by a fricative (s, sh, f) in 60 % of cases."""
    vowel = _voiced(pitch, random.uniform(0.1, 0.3), random)
    if random.random() > 0.6:
        return vowel
    centre, width = random.uniform(3000, 7000), random.uniform(800, 2500)
    hiss = _resonate(random.standard_normal(round(random.uniform(0.06, 0.14) * RATE)), [(centre, width, 0.0)])
    hiss *= random.uniform(0.1, 0.4) / max(hiss.std(), 1e-9) * np.hanning(len(hiss))
    return np.concatenate([hiss, vowel])


def _voiced(pitch: float, seconds: float, random: np.random.Generator) -> Audio:
    """Synthesise a vowel: pulses of gliding pitch, filtered by the vowel's formants."""
    glide = np.linspace(1.0, random.uniform(0.85, 1.15), round(seconds * RATE))
    cycles = np.cumsum(pitch * glide / RATE)
    pulses = np.diff(np.floor(cycles), prepend=0.0) + 0.02 * random.standard_normal(len(cycles))
    formants = _VOWELS[random.integers(len(_VOWELS))]
    scale = random.uniform(0.92, 1.15)
    # In speech, the level falls by about 10 dB from each formant to the next.
    vowel = _resonate(pulses, [(f * scale, 60 + 0.04 * f, -9.0 * i) for i, f in enumerate(formants)])
    return vowel / max(vowel.std(), 1e-9) * np.hanning(len(vowel)) ** 0.7


def _resonate(sound: Audio, resonances: list[tuple[float, float, float]]) -> Audio:
    """Filter a sound with a sum of resonances.

    resonances: centre in Hz, half width in Hz and level in dB of each.
    """
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    response = sum(
        10 ** (level / 20) / (1 + ((frequencies - centre) / width) ** 2) for centre, width, level in resonances
    )
    return np.fft.irfft(np.fft.rfft(sound) * response, len(sound))


def breeze(length: int, random: np.random.Generator) -> Audio:
    """Synthesise wind: noise that falls by 6 dB per octave, with gusts.

    Its level is 20 dB below one talker.
    """
    spectrum = np.fft.rfft(random.standard_normal(length))
    frequencies = np.fft.rfftfreq(length, 1 / RATE)
    noise = np.fft.irfft(spectrum / np.maximum(frequencies, 100.0), length)
    gusts = np.exp(
        np.interp(np.arange(length) / RATE, np.arange(length // RATE + 2), random.normal(0, 0.5, length // RATE + 2))
    )
    return 0.1 * noise / noise.std() * gusts
