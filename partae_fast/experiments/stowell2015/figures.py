"""Figure 6 of the paper: SNR over the share of regularised latents; and its gain for all optimizers and penalties."""

from collections.abc import Sequence
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from .claims import CONDITIONS, dae_snr, gains, partitioned_snrs
from .models import PARTITIONED, SHARES
from .scores import REFERENCES, SIGNAL, Row, configurations

_COLOURS = dict(zip(REFERENCES, ("tab:gray", "tab:orange", "tab:blue"), strict=True))


def draw_figure(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw the figure to a file, in the format of its suffix, with a panel for each condition.

    Solid lines are the partitioned model's signal and dashed lines the DAE's, means over the noises. Dots are single
    models.

    Args:
        path: of the file.
        rows: of one configuration; see `scores.configurations`.
        caption: one line that describes the run.

    Raises UserError if `path` cannot be written.

    Stowell & Turner 2015, figure 6.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, condition in zip(panels, CONDITIONS, strict=True):
        _draw_panel(axes, rows, condition)
    panels[0].set_ylabel("SNR of the reconstruction (dB)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_gains(path: PathLike, rows: Sequence[Row], caption: str) -> None:
    """Draw the gain over the DAE by share to a file, a line for each penalty, a row of panels for each optimizer.

    Args:
        path: of the file.
        rows: of all models; see `scores`.
        caption: one line that describes the run.

    Raises UserError if `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_configuration = configurations(rows)
    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in by_configuration))
    figure = Figure(figsize=(10.5, 4.0 * len(optimizers) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(optimizers), 2, sharex=True, sharey=True, squeeze=False)
    for panels, optimizer in zip(grid, optimizers, strict=True):
        for axes, condition in zip(panels, CONDITIONS, strict=True):
            for (name, penalty), selected in by_configuration.items():
                if name == optimizer:
                    values = gains(selected, condition)
                    axes.plot(values.keys(), values.values(), "o-", markersize=4, label=f"penalty {penalty:g}")
            axes.set(xlabel="latents regularised (%)", title=f"{optimizer}, {condition} noise")
            axes.axhline(0, color="black", linewidth=0.6)  # the score of the DAE
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("gain over the DAE (dB)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(caption, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_panel(axes: Any, rows: Sequence[Row], condition: str) -> None:
    for reference, colour in _COLOURS.items():
        key = (PARTITIONED, condition, SIGNAL, reference)
        points = [
            (row["share"], row["snr_db"])
            for row in rows
            if (row["method"], row["condition"], row["part"], row["reference"]) == key
        ]
        axes.plot(*zip(*points, strict=True), ".", color=colour, alpha=0.4, markersize=4)
        means = partitioned_snrs(rows, condition, SIGNAL, reference)
        axes.plot(means.keys(), means.values(), "o-", color=colour, markersize=4, label=f"partitioned, {reference}")
        axes.axhline(dae_snr(rows, condition, reference), color=colour, linestyle="--", label=f"DAE, {reference}")
    axes.set_xticks(SHARES, [f"{share:g}" for share in SHARES], fontsize=8)
    axes.set(xlabel="latents regularised (%)", title=f"{condition} noise")
    axes.axhline(0, color="black", linewidth=0.6)  # the score of silence
    axes.grid(alpha=0.3)
