"""The picture of a denoised recording: before, signal and noise one above the other, on one colour scale."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..audio.files import PathLike
from ..audio.spectrogram import Spectrogram
from ..plot_style import DPI, STYLE

# dB below the loudest point of the model's band before, where the colour scale ends.
RANGE = 70.0
# Columns of an image: about as many as a printed page has dots across it.
COLUMNS = 1800
SIZE = (7.2, 6.0)  # inches: as wide as both columns of a journal


def figure(
    path: PathLike,
    audio: NDArray[np.floating],
    signal: NDArray[np.floating],
    noise: NDArray[np.floating],
    rate: int,
    model: Any,
    title: str | None = None,
    start: float = 0.0,
) -> None:
    """Draw a recording's spectrogram and its two parts' to `path`, at the width of a printed page.

    Arguments:
        path: the image, in the format of its suffix: .png, .pdf, .svg.
        audio, signal, noise: (T,) each, at `rate` Hz; one colour scale, in dB below the loudest point that
        `audio` has in the model's band: rumble below it is often far louder than all that matters.
        model: with `spectrogram`. Dashed lines show its band where that is narrower than the picture.
        title: printed above, as it is.
        start: of the audio in its recording, in seconds, where the time axis begins.

    Raises UserError where `path` cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(page)
        if title:
            page.suptitle(title, parse_math=False)
        spectrograms(page, {"before": audio, "signal": signal, "noise": noise}, rate, model.spectrogram, start)
        with atomic_path(path) as temporary:
            page.savefig(temporary, dpi=DPI)


def spectrograms(
    page: Any, parts: Mapping[str, NDArray[np.floating]], rate: int, band: Spectrogram, start: float = 0.0
) -> list[Any]:
    """A panel for each of `parts`, (T,) at `rate` Hz, on `page`; 0 dB is the loudest point of the first in the band.

    band: the model's spectrogram: the picture ends at half its rate, and dashed lines show where its band does.
    start: seconds, as for `figure`. Returns the panels' axes, from above.
    """
    # The eye wants finer bins than the model: windows of some 20 ms, or of as many samples for bats as for birds.
    n_fft = min(1024, 2 ** max(2, round(math.log2(0.02 * rate))))
    view = Spectrogram(rate=rate, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=rate / 2)
    levels = {name: _decibels(part, view) for name, part in parts.items()}
    before = next(iter(levels.values()))
    heard = (view.frequencies >= band.low) & (view.frequencies <= band.high)
    top = max(float(before[:, heard].max(initial=-200.0)), -200.0)
    seconds = max(len(next(iter(parts.values()))) / rate, 1e-3)
    highest = min(rate, band.rate) / 2
    inside = [edge for edge in (band.low, band.high) if 0.02 * highest < edge < 0.98 * highest]
    panels = list(page.subplots(len(parts), 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for axes, (name, level) in zip(panels, levels.items(), strict=True):
        axes.imshow(
            level.T - top,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=-RANGE,
            vmax=0,
            extent=(start, start + seconds, 0, rate / 2000),
        )
        axes.set_ylim(0, highest / 1000)
        for edge in inside:
            axes.axhline(edge / 1000, color="white", linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.7)
        axes.set_ylabel("frequency (kHz)")
        axes.set_title(name, loc="left")
    if inside:
        text = f"dashed: the model's band, {band.low / 1000:.3g} to {band.high / 1000:.3g} kHz"
        panels[0].set_title(text, loc="right", fontsize=7, color="0.3")
    panels[-1].set_xlabel("time (s)")
    scale = f"level (dB, 0 is the loudest point of the band {next(iter(parts))})"
    beyond = "both" if before.max(initial=-200.0) > top else "min"
    page.colorbar(panels[0].images[0], ax=panels, label=scale, pad=0.01, aspect=50, extend=beyond)
    return panels


def _decibels(part: NDArray[np.floating], view: Spectrogram) -> NDArray[np.floating]:
    """Levels (columns, bins) in dB; each column is the loudest of the frames that share it, so that calls stay."""
    power = view.magnitude(part) ** 2
    step = max(1, -(-len(power) // COLUMNS))
    if len(power):
        power = np.maximum.reduceat(power, np.arange(0, len(power), step))
    return 10 * np.log10(power + 1e-20)
