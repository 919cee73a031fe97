"""The paper's two panels: SDR improvement by kind of noise, and by input SNR."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...atomic import atomic_path
from ...audio.files import PathLike
from .methods import METHODS
from .scores import SETS, Row, gain

BINS = tuple(float(edge) for edge in range(-5, 6))  # dB; edges of the bins of input SNR


def figure(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw both panels, in-set above and out-of-set below, to `path`, in the format of its suffix.

    Bars and lines are means over mixtures. Raises UserError where `path` cannot be written. Hetherly et al. 2018.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(13, 8), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(2, 2, sharey=True)
    for line, where in zip(panels, SETS, strict=True):
        its = [row for row in rows if row["set"] == where]
        _by_noise(line[0], its, where)
        _by_snr(line[1], its, where)
    handles, labels = panels[0, 1].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    page.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=90)


def _by_noise(axes: Any, rows: Sequence[Row], where: str) -> None:
    noises = sorted({row["noise"] for row in rows})
    width = 0.8 / len(METHODS)
    for number, method in enumerate(METHODS):
        heights = [gain(rows, method=method, noise=noise) for noise in noises]
        axes.bar(np.arange(len(noises)) - 0.4 + (number + 0.5) * width, heights, width)
    axes.set_xticks(range(len(noises)), noises, rotation=20, fontsize=8)
    axes.set(ylabel="SDR improvement (dB)", title=f"{where}: by noise")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(alpha=0.3, axis="y")


def _by_snr(axes: Any, rows: Sequence[Row], where: str) -> None:
    middles = [(low + high) / 2 for low, high in itertools.pairwise(BINS)]
    for method in METHODS:
        its = [row for row in rows if row["method"] == method]
        axes.plot(middles, [_mean(its, low, high) for low, high in itertools.pairwise(BINS)], label=method)
    axes.set(xlabel="input SNR (dB), bins of 1 dB", title=f"{where}: by input SNR")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(alpha=0.3)


def _mean(rows: Sequence[Row], low: float, high: float) -> float:
    return gain([row for row in rows if low <= row["snr_db"] < high])
