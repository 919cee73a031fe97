"""Write an HTML page with denoised excerpts, which contains all its images and audio and needs no network."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path, check_writable
from ..audio.files import PathLike, info
from ..audio.folders import recordings_in
from ..audio.resample import resample
from ..errors import UserError
from ..evaluation.diagnostics import diagnose_magnitudes
from ..labels import GUARD, Event, Timeline, cut, match_recordings
from ..models import load, storage
from ..models.protocol import Model
from .excerpt import Excerpt, denoised_excerpt
from .media import Picture, picture, players, slowdown

logger = logging.getLogger("partae_fast")

SECONDS = 30.0  # playing time of an excerpt
LARGE = 25e6  # bytes: the limit of many mail servers
_SUFFIXES = (".html", ".htm")
_DESCRIPTIONS = {"before": "the recording", "signal": "the kept signal", "noise": "the removed noise"}


@dataclass(frozen=True)
class _Player:
    """A part of a recording: its name and description, its levels in dB, and its audio as data URI."""

    name: str
    description: str
    level: str
    uri: str


@dataclass(frozen=True)
class _Section:
    """Contents of the page for a recording, as the template takes them.

    `event_count` is the number of events in the picture, and `scores` are lines about the attenuation of noise.
    """

    name: str
    about: str
    shown: str
    played: str
    alt: str
    event_count: int
    picture: Picture
    players: list[_Player]
    scores: list[str]


def write_page(
    out: PathLike,
    model: PathLike,
    inputs: Sequence[PathLike],
    labels: Sequence[PathLike] = (),
    start: float | None = None,
    seconds: float | None = None,
    reduction: float | None = None,
    slower: float | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Denoise excerpts of recordings, write a page with them to `out`; return their number and its size in bytes.

    Args:
        out: path of the page, .html.
        model: model file.
        inputs: recordings, and folders of recordings; the page has the first channel of each.
        labels: label files of the recordings. The events of an input are marked in its picture, and the page has the
            attenuation of the time outside them, as in `evaluation.diagnostics`.
        start, seconds, reduction: see `denoised_excerpt`; by default an excerpt plays for 30 seconds.
        slower: how many times slower the excerpts are played; by default 10 for models of ultrasound, else 1.
        title: heading of the page.
        overwrite: replace an existing page.

    Raises UserError, before any excerpt is denoised, if a file cannot be read or `out` cannot be written.
    """
    _check(out, start, seconds, slower, overwrite)
    inputs = [file for path in inputs for file in (recordings_in(path) if Path(path).is_dir() else [path])]
    for path in inputs:
        info(path)
    loaded = load(model)
    if loaded.spectrogram is None:
        raise UserError(f"{model}: has no spectrogram, so it cannot denoise audio; set model.spectrogram and save it")
    slower = slowdown(loaded.spectrogram) if slower is None else slower
    seconds = SECONDS / slower if seconds is None else seconds
    events = _events(labels, inputs)
    sections = []
    for path in inputs:
        excerpt = denoised_excerpt(path, loaded, seconds, start, reduction)
        sections.append(_section(path, loaded, excerpt, events.get(Path(path)), slower))
        logger.info("%s: %s", path, sections[-1].shown)
    html = _template().render(
        title=title or (sections[0].name if len(sections) == 1 else "Denoised recordings"),
        recordings=sections,
        model=_name(model),
        limit=None if reduction is None else f"{reduction:g}",
        settings=_settings(model),
        program=storage.program(),
        day=date.today().isoformat(),
    )
    with atomic_path(out, overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")
    size = len(html.encode())
    if size > LARGE:
        logger.warning(
            "%s: is %.0f MB, too large for most mail servers; use fewer recordings or reduce --seconds", out, size / 1e6
        )
    return len(sections), size


def _check(out: PathLike, start: float | None, seconds: float | None, slower: float | None, overwrite: bool) -> None:
    if Path(out).suffix.lower() not in _SUFFIXES:
        raise UserError(f"{out}: the name of a page must end in .html; choose such a name")
    check_writable(out, overwrite)
    for name, value, minimum in (("start", start, 0.0), ("seconds", seconds, 1e-3), ("slower", slower, 1e-3)):
        if value is not None and not (math.isfinite(value) and value >= minimum):
            raise UserError(f"{name} is {value:g}; it must be {'0 or more' if not minimum else 'above 0'}")


def _events(labels: Sequence[PathLike], inputs: Sequence[PathLike]) -> dict[Path, list[Event]]:
    """Return the events of each input that the label files list."""
    events: dict[Path, list[Event]] = {}
    for path in labels:
        for recording, new_events in match_recordings(path, inputs).items():
            events.setdefault(recording, []).extend(new_events)
    return events


def _section(path: PathLike, model: Model, excerpt: Excerpt, events: list[Event] | None, slower: float) -> _Section:
    parts = {"before": excerpt.before, "signal": excerpt.signal, "noise": excerpt.noise}
    rate, end = excerpt.header.rate, excerpt.start + excerpt.seconds
    events_in_excerpt = [event for event in events or [] if event.end > excerpt.start and event.start < end]
    uris, gain = players(parts, rate, slower)
    level_in_band = _band_level(model, rate)
    levels = {name: _decibels(_level(part)) for name, part in parts.items()}
    band_levels = {name: _decibels(level_in_band(part)) for name, part in parts.items()}
    speed = "" if slower == 1 else f" and {slower:g} times slower"
    louder = f"{abs(gain):.1f} dB {'louder' if gain >= 0 else 'quieter'} than the file"
    return _Section(
        name=_name(path),
        about=_about(excerpt),
        shown=_shown(excerpt),
        played=f"All three are played {louder}{speed}.",
        alt=(
            f"Spectrograms of {excerpt.seconds:.3g} s of {_name(path)}, of its signal and of its noise, from top to "
            f"bottom. Levels in the model's band: recording {band_levels['before']}, signal {band_levels['signal']}, "
            f"noise {band_levels['noise']}."
        ),
        event_count=len(events_in_excerpt),
        picture=picture(parts, rate, model.spectrogram, excerpt.start, events_in_excerpt),
        players=[
            _Player(name, description, f"{levels[name]}; in the band {band_levels[name]}", uris[name])
            for name, description in _DESCRIPTIONS.items()
        ],
        scores=[] if events is None else _scores(model, excerpt, events_in_excerpt),
    )


def _about(excerpt: Excerpt) -> str:
    header = excerpt.header
    channels = "" if header.channels == 1 else f", the first of {header.channels} channels"
    return f"{_duration(header.seconds)} at {header.rate / 1000:g} kHz{channels}"


def _shown(excerpt: Excerpt) -> str:
    if not excerpt.choice:
        return "shown completely"
    return f"{excerpt.seconds:.3g} s from {_duration(excerpt.start)} are shown, {excerpt.choice}"


def _duration(seconds: float) -> str:
    """Return a duration as text, such as 1:02:03 h, 2:03 min or 2.5 s."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02} h" if minutes >= 60 else f"{minutes}:{left:02} min"


def _band_level(model: Model, rate: int) -> Callable[[NDArray[np.floating]], float]:
    """Return a function that computes the level of a part in the model's band."""
    from ..metrics import band

    spectrogram = model.spectrogram
    high = min(spectrogram.high, rate / 2)
    return lambda part: _level(band(part, rate, spectrogram.low, high)) if spectrogram.low < high else -math.inf


def _level(part: NDArray[np.floating]) -> float:
    """Return the RMS in dB relative to full scale."""
    power = float(np.mean(np.square(part, dtype=np.float64))) if len(part) else 0.0
    return 10 * math.log10(power) if power > 1e-20 else -math.inf


def _decibels(level: float) -> str:
    return f"{level:.1f} dB".replace("-", "\N{MINUS SIGN}") if math.isfinite(level) else "silence"


def _scores(model: Model, excerpt: Excerpt, events: list[Event]) -> list[str]:
    """Return lines about the attenuation outside the events and the energy that is kept, if both can be measured."""
    spectrogram, length = model.spectrogram, excerpt.seconds
    magnitudes = spectrogram.magnitude(resample(excerpt.before, excerpt.header.rate, spectrogram.rate))
    shifted = [
        Event(
            max(0.0, event.start - excerpt.start),
            min(length, event.end - excerpt.start),
            event.label,
            channel=event.channel,
        )
        for event in events
    ]
    timeline = Timeline.from_events(shifted, length, channel=1)
    noise, rest = cut(magnitudes, timeline.noise_frames(len(magnitudes), spectrogram))
    if not (len(noise) and len(rest) and noise.any() and rest.any()):
        return []
    duration = f"{len(noise) / spectrogram.frame_rate:.3g} s of it are at least {GUARD:g} s away from every label"
    return [duration, *diagnose_magnitudes(model, spectrogram.frequencies, [rest], [noise]).lines()]


def _settings(model: PathLike) -> list[tuple[str, str]]:
    """Return the settings in a model file as rows of a table."""
    description = storage.describe(model)
    rows = [("kind", description["kind"])]
    rows += [(name, str(value)) for name, value in description["config"].items()]
    for part in ("spectrogram", "mask"):
        rows += [(f"{part}: {name}", _format(value)) for name, value in (description[part] or {}).items()]
    return [*rows, ("SHA-256", description["sha256"]), ("written by", description["program"])]


def _format(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _name(path: PathLike) -> str:
    """Return the name of a file as valid text."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
