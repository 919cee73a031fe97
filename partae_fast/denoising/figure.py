"""Plot the spectrograms of a recording, its signal and its noise on one colour scale."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..audio.files import PathLike
from ..audio.spectrogram import Spectrogram
from ..plot_style import DPI, STYLE

RANGE = 70.0  # dB: extent of the colour scale
COLUMNS = 1800  # columns of an image, about the number of dots across a printed page
SIZE = (7.2, 6.0)  # inches, the width of two columns of a journal


def plot_denoising(
    path: PathLike,
    audio: NDArray[np.floating],
    signal: NDArray[np.floating],
    noise: NDArray[np.floating],
    rate: int,
    model: Any,
    title: str | None = None,
    start: float = 0.0,
) -> None:
    """Plot the spectrograms of a recording, its signal and its noise to `path`.

    Arguments:
        path: the image, in the format of its suffix: .png, .pdf or .svg.
        audio, signal, noise: samples (T,) at `rate` Hz.
        rate: sample rate in Hz.
        model: model with a `spectrogram`.
        title: title of the figure.
        start: start of the audio in its recording in seconds, for the time axis.

    Raises UserError if `path` cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, parse_math=False)
        parts = {"before": audio, "signal": signal, "noise": noise}
        draw_spectrograms(figure, parts, rate, model.spectrogram, start)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI)


def draw_spectrograms(
    figure: Any, parts: Mapping[str, NDArray[np.floating]], rate: int, band: Spectrogram, start: float = 0.0
) -> list[Any]:
    """Draw a panel for each part, samples (T,) at `rate` Hz, in a figure; return the axes from top to bottom.

    All panels share a colour scale in dB relative to the loudest point of the first part within the band, because
    rumble below the band is often much louder than any signal.

    Args:
        figure: a Matplotlib figure.
        parts: the samples of each panel, by its title.
        rate: sample rate in Hz.
        band: the model's spectrogram. The frequency axis ends at half its rate, and dashed lines mark its band.
        start: start of the time axis in seconds.
    """
    # Windows of about 20 ms, which are longer than most models', and at most 1024 samples for ultrasound.
    n_fft = min(1024, 2 ** max(2, round(math.log2(0.02 * rate))))
    spectrogram = Spectrogram(rate=rate, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=rate / 2)
    levels = {name: _decibels(part, spectrogram) for name, part in parts.items()}
    before = next(iter(levels.values()))
    in_band = (spectrogram.frequencies >= band.low) & (spectrogram.frequencies <= band.high)
    top = max(float(before[:, in_band].max(initial=-200.0)), -200.0)
    seconds = max(len(next(iter(parts.values()))) / rate, 1e-3)
    highest = min(rate, band.rate) / 2
    visible_edges = [edge for edge in (band.low, band.high) if 0.02 * highest < edge < 0.98 * highest]
    panels = list(figure.subplots(len(parts), 1, sharex=True, sharey=True, squeeze=False)[:, 0])
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
        for edge in visible_edges:
            axes.axhline(edge / 1000, color="white", linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.7)
        axes.set_ylabel("frequency (kHz)")
        axes.set_title(name, loc="left")
    if visible_edges:
        text = f"dashed: the model's band, {band.low / 1000:.3g} to {band.high / 1000:.3g} kHz"
        panels[0].set_title(text, loc="right", fontsize=7, color="0.3")
    panels[-1].set_xlabel("time (s)")
    scale = f"level (dB, 0 is the loudest point of the band {next(iter(parts))})"
    extend = "both" if before.max(initial=-200.0) > top else "min"
    figure.colorbar(panels[0].images[0], ax=panels, label=scale, pad=0.01, aspect=50, extend=extend)
    return panels


def _decibels(part: NDArray[np.floating], spectrogram: Spectrogram) -> NDArray[np.floating]:
    """Return levels (columns, bins) in dB; a column is the maximum of its frames, so that short calls stay visible."""
    power = spectrogram.magnitude(part) ** 2
    step = max(1, -(-len(power) // COLUMNS))
    if len(power):
        power = np.maximum.reduceat(power, np.arange(0, len(power), step))
    return 10 * np.log10(power + 1e-20)
