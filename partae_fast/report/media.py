"""What a page holds as data: audio that every browser plays, and pictures."""

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

# Browsers play FLAC of 16 bits up to this rate, from 2017 on; it loses nothing that is heard, and is half of a WAV.
HIGHEST_RATE = 48000
PEAK = -1.0  # dB below full scale, of the loudest of the players of a recording
# Bats are heard at a tenth of their speed: where the middle of the band is above this, what is heard is too little.
AUDIBLE = 20000.0
SLOWER = 10.0
_SIZE, _DPI = (9.0, 6.4), 160  # inches and dots: 1440 pixels across, twice what a page is wide
_QUALITY = 82  # of WebP: half of what PNG takes, and text stays sharp

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """An image, and where its time axis lies: `left` and `width` as shares of the image's width."""

    uri: str
    pixels: tuple[int, int]
    left: float
    width: float


def slower_for(band: Spectrogram) -> float:
    """How many times slower what a model of this band hears is played."""
    return SLOWER if (band.low + band.high) / 2 > AUDIBLE else 1.0


def players(parts: Mapping[str, Audio], rate: int, slower: float = 1.0) -> tuple[dict[str, str], float]:
    """A FLAC file as data URI for each of `parts`, (T,) at `rate` Hz, and the gain in dB that all of them got.

    One gain for all, so that they compare: it brings the loudest sample of any to `PEAK`. slower: times.
    """
    import soundfile

    peak = max(float(np.abs(part).max(initial=0.0)) for part in parts.values())
    gain = 10 ** (PEAK / 20) / peak if peak > 0 else 1.0
    played = max(1, round(rate / slower))
    uris = {}
    for name, part in parts.items():
        heard = resample(part * np.float32(gain), played, min(played, HIGHEST_RATE))
        file = io.BytesIO()
        # Resampling may pass full scale by a little between the samples that were looked at.
        soundfile.write(file, np.clip(heard, -1, 1), min(played, HIGHEST_RATE), format="FLAC", subtype="PCM_16")
        uris[name] = _uri("audio/flac", file.getvalue())
    return uris, 20 * float(np.log10(gain))


def picture(
    parts: Mapping[str, Audio], rate: int, band: Spectrogram, start: float = 0.0, events: Sequence[Event] = ()
) -> Picture:
    """The spectrograms of `parts` as for `denoising.figure`, with `events`, in seconds of the recording, on the first.

    An event is a box where its label has frequencies, else a bar at the top.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(page)
        panels = draw_spectrograms(page, parts, rate, band, start)
        seconds = max(len(next(iter(parts.values()))) / rate, 1e-3)
        _mark(panels[0], events)
        panels[0].set_xlim(start, start + seconds)
        file = io.BytesIO()
        page.savefig(file, dpi=_DPI, format="webp", pil_kwargs={"quality": _QUALITY, "method": 5})
        place = panels[0].get_position()
    pixels = (round(_SIZE[0] * _DPI), round(_SIZE[1] * _DPI))
    return Picture(_uri("image/webp", file.getvalue()), pixels, place.x0, place.width)


def _mark(axes: Any, events: Sequence[Event]) -> None:
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
