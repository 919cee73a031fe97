"""The page: one file of HTML with all its pictures and sounds inside, for a browser without a network."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path, check_writable
from ..audio.files import PathLike, info
from ..audio.resample import resample
from ..errors import UserError
from ..evaluation.diagnostics import diagnose_magnitudes
from ..labels import GUARD, Event, Timeline, cut, match_recordings
from ..models import load, storage
from .excerpt import Excerpt, excerpt
from .media import Picture, picture, players, slower_for

logger = logging.getLogger("partae_fast")

SECONDS = 30.0  # that an excerpt plays for
LARGE = 25e6  # bytes: more than most mail takes
_SUFFIXES = (".html", ".htm")
_WHAT = {"before": "as it was recorded", "signal": "what the model keeps", "noise": "what the model takes away"}


@dataclass(frozen=True)
class _Player:
    """A part of a recording: what it is, its levels in dB and the sound, a data URI."""

    name: str
    what: str
    level: str
    uri: str


@dataclass(frozen=True)
class _Recording:
    """What the page says of a recording."""

    name: str
    about: str
    shown: str
    played: str
    alt: str
    labelled: int  # events that the picture shows
    picture: Picture
    players: list[_Player]
    told: list[str]


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
) -> int:
    """Denoise excerpts of recordings and write a page with them to `out`, whole or not at all.

    Args:
        out: the page, .html; it holds all that it shows, and loads nothing.
        model: a model's file.
        inputs: recordings; of each the first channel is shown.
        labels: label files of the recordings. Where they speak of an input, its events are on its picture, and the page
            says how much of the time outside them is taken away, as `evaluation.diagnostics` does.
        start, seconds, reduction: as for `excerpt`; by default so many seconds as play for 30.
        slower: how many times slower the excerpts are played; by default 10 where the model hears ultrasound, else 1.
        title: the page's heading.
        overwrite: whether a page that exists is replaced.

    Returns: its size in bytes. Raises UserError, before any work, for a file that is not usable or a place that cannot
    be written.
    """
    _check(out, start, seconds, slower, overwrite)
    for path in inputs:
        info(path)
    loaded = load(model)
    if loaded.spectrogram is None:
        raise UserError(f"{model}: has no spectrogram, so it cannot denoise audio; set model.spectrogram and save it")
    slower = slower_for(loaded.spectrogram) if slower is None else slower
    seconds = SECONDS / slower if seconds is None else seconds
    events = _events(labels, inputs)
    recordings = []
    for path in inputs:
        found = excerpt(path, loaded, seconds, start, reduction)
        recordings.append(_recording(path, loaded, found, events.get(Path(path)), slower))
        logger.info("%s: %s", path, recordings[-1].shown)
    html = _template().render(
        title=title or (recordings[0].name if len(recordings) == 1 else "Denoised recordings"),
        recordings=recordings,
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
        logger.warning("%s: is %.0f MB, more than most mail takes; give fewer recordings or --seconds", out, size / 1e6)
    return size


def _check(out: PathLike, start: float | None, seconds: float | None, slower: float | None, overwrite: bool) -> None:
    if Path(out).suffix.lower() not in _SUFFIXES:
        raise UserError(f"{out}: a page must end in .html, for browsers to know it; name it so")
    check_writable(out, overwrite)
    for name, value, least in (("start", start, 0.0), ("seconds", seconds, 1e-3), ("slower", slower, 1e-3)):
        if value is not None and not (math.isfinite(value) and value >= least):
            raise UserError(f"{name} is {value:g}; it must be {'0 or more' if not least else 'above 0'}")


def _events(labels: Sequence[PathLike], inputs: Sequence[PathLike]) -> dict[Path, list[Event]]:
    """The events of each input that the label files speak of."""
    events: dict[Path, list[Event]] = {}
    for path in labels:
        for recording, found in match_recordings(path, inputs).items():
            events.setdefault(recording, []).extend(found)
    return events


def _recording(path: PathLike, model: Any, found: Excerpt, events: list[Event] | None, slower: float) -> _Recording:
    parts = {"before": found.before, "signal": found.signal, "noise": found.noise}
    rate, band = found.about.rate, model.spectrogram
    seen = [e for e in events or [] if e.end > found.start and e.start < found.start + found.seconds]
    drawn = picture(parts, rate, band, found.start, seen)
    uris, gain = players(parts, rate, slower)
    everywhere, inside = (
        {name: level(part) for name, part in parts.items()} for level in (_level, _in_band(model, rate))
    )
    speed = "" if slower == 1 else f" and {slower:g} times slower"
    louder = f"{abs(gain):.1f} dB {'louder' if gain >= 0 else 'quieter'} than the file"
    return _Recording(
        name=_name(path),
        about=_about(found),
        shown=_shown(found),
        played=f"All three are played {louder}{speed}.",
        alt=(
            f"Three spectrograms one above the other, of {_name(path)} before, of the signal and of the noise, over "
            f"{found.seconds:.3g} s. In the model's band the signal has {_decibels(inside['signal'])}, the noise "
            f"{_decibels(inside['noise'])}, of {_decibels(inside['before'])} before."
        ),
        labelled=len(seen),
        picture=drawn,
        players=[
            _Player(name, what, f"{_decibels(everywhere[name])}; in the band {_decibels(inside[name])}", uris[name])
            for name, what in _WHAT.items()
        ],
        told=[] if events is None else _told(model, found, seen),
    )


def _about(found: Excerpt) -> str:
    about = found.about
    channels = "" if about.channels == 1 else f", the first of {about.channels} channels"
    return f"{_duration(about.seconds)} at {about.rate / 1000:g} kHz{channels}"


def _shown(found: Excerpt) -> str:
    if not found.choice:
        return "all of it is shown"
    return f"{found.seconds:.3g} s from {_duration(found.start)} on are shown, {found.choice}"


def _duration(seconds: float) -> str:
    """1:02:03, 2:03 or 2.5 s."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02} h" if minutes >= 60 else f"{minutes}:{left:02} min"


def _in_band(model: Any, rate: int) -> Any:
    """The level of a part in the model's band, as a function."""
    from ..metrics import band

    spectrogram = model.spectrogram
    high = min(spectrogram.high, rate / 2)
    return lambda part: _level(band(part, rate, spectrogram.low, high)) if spectrogram.low < high else -math.inf


def _level(part: NDArray[np.floating]) -> float:
    """RMS in dB below full scale."""
    power = float(np.mean(np.square(part, dtype=np.float64))) if len(part) else 0.0
    return 10 * math.log10(power) if power > 1e-20 else -math.inf


def _decibels(level: float) -> str:
    return f"{level:.1f} dB".replace("-", "\N{MINUS SIGN}") if math.isfinite(level) else "silence"


def _told(model: Any, found: Excerpt, seen: list[Event]) -> list[str]:
    """What labels tell of the excerpt: how much is taken away outside of their events, how much is kept."""
    spectrogram, length = model.spectrogram, found.seconds
    magnitudes = spectrogram.magnitude(resample(found.before, found.about.rate, spectrogram.rate))
    shifted = [
        Event(max(0.0, e.start - found.start), min(length, e.end - found.start), e.label, channel=e.channel)
        for e in seen
    ]
    timeline = Timeline.from_events(shifted, length, channel=1)
    quiet, rest = cut(magnitudes, timeline.noise_frames(len(magnitudes), spectrogram))
    if not (len(quiet) and len(rest) and quiet.any() and rest.any()):
        return []
    lasts = f"{len(quiet) / spectrogram.frame_rate:.3g} s of it lie outside every label, by {GUARD:g} s at least"
    return [lasts, *diagnose_magnitudes(model, [rest], [quiet]).lines()]


def _settings(model: PathLike) -> list[tuple[str, str]]:
    """What a model's file says of it, as rows of a table."""
    about = storage.describe(model)
    rows = [("kind", about["kind"])]
    rows += [(name, str(value)) for name, value in about["config"].items()]
    for part in ("spectrogram", "mask"):
        rows += [(f"{part}: {name}", _number(value)) for name, value in (about[part] or {}).items()]
    return [*rows, ("SHA-256", about["sha256"]), ("written by", about["program"])]


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _name(path: PathLike) -> str:
    """A file's name as text that can be written, whatever its bytes."""
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
