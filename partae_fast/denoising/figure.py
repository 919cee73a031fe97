"""The picture of a denoised recording: input, signal and noise one above the other, the model's filters beside."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..audio.files import PathLike
from ..audio.spectrogram import Spectrogram

# dB below the loudest point of the input, where the colour scale ends.
RANGE = 70.0
# Columns of an image: about two for each pixel of its width.
COLUMNS = 1800


def figure(
    path: PathLike,
    audio: NDArray[np.floating],
    signal: NDArray[np.floating],
    noise: NDArray[np.floating],
    rate: int,
    model: Any,
    title: str | None = None,
) -> None:
    """Draw a recording's spectrogram, its two parts' and the model's decoder filters to `path`.

    Arguments:
        path: the image, in the format of its suffix: .png, .pdf, .svg.
        audio, signal, noise: (T,) each, at `rate` Hz; one colour scale, in dB below the loudest point of
        `audio`.
        model: with `spectrogram`, `w_dec` (M, K, H) and `foreground` (K,). Dashed lines show its band.
        title: printed above.

    Raises UserError where `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(page)
    if title:
        page.suptitle(title, fontsize=13)
    halves: Any = page.subfigures(1, 2, width_ratios=(2.1, 1), wspace=0.03)
    left, right = halves
    _spectrograms(left, {"input": audio, "signal": signal, "noise": noise}, rate, model.spectrogram)
    _filters(right, model)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=120)


def _spectrograms(page: Any, parts: dict[str, NDArray[np.floating]], rate: int, spectrogram: Spectrogram) -> None:
    # The eye wants finer bins than the model: windows of some 20 ms, a power of two.
    n_fft = 2 ** max(2, round(math.log2(0.02 * rate)))
    view = Spectrogram(rate=rate, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=rate / 2)
    levels = {name: _decibels(part, view) for name, part in parts.items()}
    top = max(float(levels["input"].max(initial=-200.0)), -200.0)
    seconds = len(parts["input"]) / rate
    highest = min(rate, spectrogram.rate) / 2
    panels = page.subplots(len(parts), 1, sharex=True, sharey=True)
    for axes, (name, level) in zip(panels, levels.items(), strict=True):
        axes.imshow(
            level.T - top,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=-RANGE,
            vmax=0,
            extent=(0, max(seconds, 1e-3), 0, rate / 2000),
        )
        axes.set_ylim(0, highest / 1000)
        for edge in (spectrogram.low, spectrogram.high):
            axes.axhline(edge / 1000, color="white", linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
        axes.set_ylabel("frequency (kHz)")
        axes.set_title(name, loc="left", fontsize=11)
    panels[-1].set_xlabel("time (s)")
    scale = "level (dB, 0 is the loudest point of the input)"
    page.colorbar(panels[0].images[0], ax=panels, label=scale, pad=0.01, aspect=50)


def _decibels(part: NDArray[np.floating], view: Spectrogram) -> NDArray[np.floating]:
    """Levels (columns, bins) in dB; each column is the loudest of the frames that share it, so that calls stay."""
    power = view.magnitude(part) ** 2
    step = max(1, -(-len(power) // COLUMNS))
    if len(power):
        power = np.maximum.reduceat(power, np.arange(0, len(power), step))
    return 10 * np.log10(power + 1e-20)


def _filters(page: Any, model: Any) -> None:
    w_dec = model.w_dec.detach().float().cpu().numpy()
    chosen = model.foreground.detach().cpu().numpy() > 0
    groups = {"foreground": w_dec[:, chosen], "background": w_dec[:, ~chosen]}
    groups = {name: group for name, group in groups.items() if group.shape[1]}
    columns = min(12, max(group.shape[1] for group in groups.values()))
    rows = [-(-group.shape[1] // columns) for group in groups.values()]
    # Room for each group's rows and for its title.
    panels = page.subplots(len(groups), 1, squeeze=False, height_ratios=[count + 0.15 for count in rows])[:, 0]
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        axes.imshow(
            _mosaic(group, columns),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu_r",
            vmin=-1,
            vmax=1,
        )
        axes.set_title(f"{name}: {group.shape[1]} filters", loc="left", fontsize=11)
        axes.set_axis_off()
    spectrogram = model.spectrogram
    page.supxlabel(
        "decoder filters, sorted by peak frequency; each is "
        f"{1000 * len(w_dec) / spectrogram.frame_rate:.0f} ms wide\n"
        f"and goes from {spectrogram.low / 1000:.1f} to {spectrogram.high / 1000:.1f} kHz upwards,\n"
        "scaled to its largest weight: red positive, blue negative",
        fontsize=9,
    )


def _mosaic(filters: NDArray[np.floating], columns: int) -> NDArray[np.floating]:
    """Filters (M, K, H) side by side in rows, first row on top, lowest peak first; blank lines between them."""
    taps, count, bins = filters.shape
    order = np.argsort(np.argmax(np.abs(filters).max(axis=0), axis=1), kind="stable")
    rows = -(-count // columns)
    tiles = np.full((rows, columns, bins + 2, taps + 1), np.nan, np.float32)
    for place, k in enumerate(order):
        largest = np.abs(filters[:, k]).max() or 1.0
        # imshow's first row is the lowest, so the top row of filters is the last.
        tiles[rows - 1 - place // columns, place % columns, :bins, :taps] = filters[:, k].T / largest
    return tiles.transpose(0, 2, 1, 3).reshape(rows * (bins + 2), columns * (taps + 1))
