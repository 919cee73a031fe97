"""Encode audio and figures as data URIs for a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.resample import resample
from ..audio.spectrogram import Spectrogram
from ..denoising.figure import draw_spectrograms
from ..labels import Event
from ..plot_style import STYLE

MAX_RATE = 48000  # Hz: browsers since 2017 play 16-bit FLAC up to this rate; it is half as large as WAV
PEAK = -1.0  # dB relative to full scale, of the loudest player of a recording
AUDIBLE = 20000.0  # Hz: a band centred above this is played slower
SLOWER = 10.0  # how many times slower
_SIZE, _DPI = (9.0, 6.4), 160  # inches and dots per inch: 1440 pixels, twice the width of a page
_QUALITY = 82  # of WebP: half the size of PNG, and text stays sharp

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """An image as data URI, its size, and the position of its time axis as shares of the image's width."""

    uri: str
    pixels: tuple[int, int]
    left: float
    width: float


def slowdown(band: Spectrogram) -> float:
    """Return how many times slower audio of a model's band is played by default."""
    return SLOWER if (band.low + band.high) / 2 > AUDIBLE else 1.0


def players(parts: Mapping[str, Audio], rate: int, slower: float = 1.0) -> tuple[dict[str, str], float]:
    """Return a FLAC file as data URI for each part, (T,) at `rate` Hz, and their common gain in dB.

    The gain brings the loudest sample of all parts to `PEAK`. Audio is played `slower` times slower.
    """
    import soundfile

    peak = max(float(np.abs(part).max(initial=0.0)) for part in parts.values())
    gain = 10 ** (PEAK / 20) / peak if peak > 0 else 1.0
    played_rate = max(1, round(rate / slower))
    file_rate = min(played_rate, MAX_RATE)
    uris = {}
    for name, part in parts.items():
        samples = resample(part * np.float32(gain), played_rate, file_rate)
        file = io.BytesIO()
        # Clipped, because resampling can exceed full scale slightly.
        soundfile.write(file, np.clip(samples, -1, 1), file_rate, format="FLAC", subtype="PCM_16")
        uris[name] = _uri("audio/flac", file.getvalue())
    return uris, 20 * float(np.log10(gain))


def picture(
    parts: Mapping[str, Audio], rate: int, band: Spectrogram, start: float = 0.0, events: Sequence[Event] = ()
) -> Picture:
    """Return the spectrograms of the parts, with the events marked on the first; see `denoising.figure`.

    The times of events are relative to the recording, whose excerpt starts at `start` seconds. An event with
    frequencies is a box, and another one is a bar at the top.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        panels = draw_spectrograms(figure, parts, rate, band, start)
        seconds = max(len(next(iter(parts.values()))) / rate, 1e-3)
        _mark_events(panels[0], events)
        panels[0].set_xlim(start, start + seconds)
        file = io.BytesIO()
        figure.savefig(file, dpi=_DPI, format="webp", pil_kwargs={"quality": _QUALITY, "method": 5})
        axis = panels[0].get_position()
    pixels = (round(_SIZE[0] * _DPI), round(_SIZE[1] * _DPI))
    return Picture(_uri("image/webp", file.getvalue()), pixels, axis.x0, axis.width)


def _mark_events(axes: Any, events: Sequence[Event]) -> None:
    from matplotlib.patches import Rectangle

    top = axes.get_ylim()[1]
    for event in events:
        low, high = (
            (0.96 * top, top) if event.low is None or event.high is None else (event.low / 1e3, event.high / 1e3)
        )
        style: Any = {"fill": event.low is None or event.high is None, "color": "cyan", "linewidth": 0.8}
        axes.add_patch(Rectangle((event.start, low), event.end - event.start, high - low, **style))


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
