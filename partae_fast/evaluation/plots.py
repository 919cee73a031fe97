"""Plots of an evaluation, by input level and by scene, and of the protocol, by method and by system."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..atomic import atomic_path
from ..audio.files import PathLike
from .crossfit import scores_of
from .evaluate import CEILING, OURS, Row

_DASHED = ("input", CEILING)  # these are not denoisers


def draw_evaluation(path: PathLike, summary: dict[str, Any]) -> None:
    """Draw the result of `summarise` to a file, in the format of its suffix.

    Raises UserError if `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_levels(left, summary)
    _draw_scenes(right, summary)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_levels(axes: Any, summary: dict[str, Any]) -> None:
    """Draw the mean SI-SDR of each method over the input level."""
    levels = summary["levels"]
    for method, intervals in summary["means"]["si_sdr"].items():
        mean, low, high = np.array([intervals[f"{level:g}"] for level in levels], float).T
        style = {"linestyle": "--" if method in _DASHED else "-"}
        if method == OURS:
            style |= {"color": "black", "linewidth": 2.5}
        axes.plot(levels, mean, "o", markersize=4, label=method, **style)
        if method == OURS:
            axes.fill_between(levels, low, high, alpha=0.15, color="black", linewidth=0)
    axes.set(xlabel="input in band (dB)", ylabel="SI-SDR in band (dB)", xticks=levels)
    axes.set_title(
        f"means over {len(summary['scenes'])} scenes; {OURS} with its 95 % interval", loc="left", fontsize=10
    )
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)


def _draw_scenes(axes: Any, summary: dict[str, Any]) -> None:
    """Draw a row for each scene with a dot for each level: the difference between partae and the best peer."""
    scenes = summary["scenes"]
    peer = next(name for name in ("noisereduce", "gate", "input") if name in summary["differences"])
    gains = np.array(summary["differences"][peer]["each"])
    for level, gain in zip(summary["levels"], gains.T, strict=True):
        axes.plot(gain, range(len(scenes)), "o", markersize=5, alpha=0.8, label=f"{level:g} dB")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(scenes)), scenes, fontsize=8)
    axes.set_ylim(len(scenes) - 0.5, -0.5)
    axes.set(xlabel=f"SI-SDR in band, {OURS} minus {peer} (dB)")
    axes.legend(title="input", fontsize=8, title_fontsize=8)
    axes.grid(alpha=0.3)


def draw_protocol(path: PathLike, rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Draw the protocol's gains: every method's mean, and each system less the filter chosen on the other half."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(12.5, 5.2), layout="constrained")
    FigureCanvasAgg(page)
    left, right = page.subplots(1, 2)
    methods = sorted(summary["methods"].items(), key=lambda item: item[1][0])
    for place, (name, (mean, low, high, _)) in enumerate(methods):
        color = "black" if name in summary["systems"] else "tab:blue"
        left.plot(mean, place, "o", color=color)
        left.plot([mean if low is None else low, mean if high is None else high], [place, place], color=color)
    left.set_yticks(range(len(methods)), [name for name, _ in methods], fontsize=8)
    left.set(xlabel="SI-SDR in band over the input, dB")
    left.set_title(f"means over {summary['scenes']} scenes with 95 % intervals", loc="left", fontsize=10)
    scores, halves = scores_of(rows), {row["scene"]: int(row["half"]) for row in rows}
    filters = summary["filters"]
    for name in summary["systems"] if filters else ():
        gains = [case[name] - case[filters[halves[key[0]]]] for key, case in scores.items() if key[2] == "matched"]
        right.plot(np.sort(gains), (np.arange(len(gains)) + 0.5) / len(gains), drawstyle="steps-mid", label=name)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel="SI-SDR in band over the filter that is best on the other half, dB", ylabel="share of mixtures")
    if filters:
        right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=110)
