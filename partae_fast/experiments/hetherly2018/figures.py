"""The figures of the paper: SDR improvement by kind of noise and by input SNR."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...atomic import atomic_path
from ...audio.files import PathLike
from .models import METHODS
from .scores import SETS, Row, improvement

BINS = tuple(float(edge) for edge in range(-5, 6))  # dB; edges of the bins of input SNR


def draw_figure(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw both panels, in-set above and out-of-set below, to a file, in the format of its suffix.

    Bars and lines are means over mixtures.

    Raises UserError if `path` cannot be written.

    Hetherly et al. 2018.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharey=True)
    for (left, right), test_set in zip(panels, SETS, strict=True):
        in_set = [row for row in rows if row["set"] == test_set]
        _draw_by_noise(left, in_set, test_set)
        _draw_by_snr(right, in_set, test_set)
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(textwrap.fill(caption, 160), fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)


def _draw_by_noise(axes: Any, rows: Sequence[Row], test_set: str) -> None:
    noises = sorted({row["noise"] for row in rows})
    width = 0.8 / len(METHODS)
    for number, method in enumerate(METHODS):
        heights = [improvement(rows, method=method, noise=noise) for noise in noises]
        axes.bar(np.arange(len(noises)) - 0.4 + (number + 0.5) * width, heights, width)
    axes.set_xticks(range(len(noises)), noises, rotation=20, fontsize=8)
    axes.set(ylabel="SDR improvement (dB)", title=f"{test_set}: by noise")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(alpha=0.3, axis="y")


def _draw_by_snr(axes: Any, rows: Sequence[Row], test_set: str) -> None:
    centres = [(low + high) / 2 for low, high in itertools.pairwise(BINS)]
    for method in METHODS:
        of_method = [row for row in rows if row["method"] == method]
        means = [_mean_in_bin(of_method, low, high) for low, high in itertools.pairwise(BINS)]
        axes.plot(centres, means, label=method)
    axes.set(xlabel="input SNR (dB), bins of 1 dB", title=f"{test_set}: by input SNR")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.grid(alpha=0.3)


def _mean_in_bin(rows: Sequence[Row], low: float, high: float) -> float:
    return improvement([row for row in rows if low <= row["snr_db"] < high])
