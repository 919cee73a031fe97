"""The plot of a sweep: losses, and results against each setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..atomic import atomic_path
from ..audio.files import PathLike
from .grid import RESULTS

_POINTS = 200  # points per loss curve, each the mean over a bin of steps
_LEGEND_ENTRIES = 16  # with more curves there is no legend
_SETTINGS = 6  # columns; further settings are in the table only


def figure(path: PathLike, rows: Sequence[dict[str, Any]], losses: Mapping[str, Sequence[float]]) -> None:
    """Plot a sweep to `path`, in the format of its suffix.

    Args:
        path: the file to write.
        rows: the rows of `Sweep.rows`.
        losses: by name of the member, one loss per step.

    Raises UserError if `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    varied = _varied_settings(rows)
    columns = max(1, len(varied))
    page = Figure(figsize=(max(9.0, 3.2 * columns), 9.5), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.add_gridspec(3, columns, height_ratios=(1.5, 1, 1))
    _plot_losses(page.add_subplot(grid[0, :]), rows, losses)
    for column, name in enumerate(varied):
        first = column == 0
        _plot_results(page.add_subplot(grid[1, column]), rows, name, {"loss_last": "loss, last tenth"}, first)
        _plot_results(page.add_subplot(grid[2, column]), rows, name, {"keep": "keep", "leak": "leak"}, first)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=110)


def _varied_settings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the settings with more than one value, at most `_SETTINGS` of them."""
    names = dict.fromkeys(key for row in rows for key in row if key not in ("name", *RESULTS))
    return [name for name in names if len({row.get(name) for row in rows}) > 1][:_SETTINGS]


def _plot_losses(axes: Any, rows: Sequence[dict[str, Any]], losses: Mapping[str, Sequence[float]]) -> None:
    for row in rows:
        curve = losses[row["name"]]
        if not curve:
            continue
        size = -(-len(curve) // _POINTS)
        means = [float(np.mean(curve[i : i + size])) for i in range(0, len(curve), size)]
        steps = [min(i + size, len(curve)) for i in range(0, len(curve), size)]
        failed = row["status"] == "failed"
        label = row["name"] + (", failed" if failed else "")
        axes.plot(steps, means, label=label, linewidth=1, linestyle=":" if failed else "-")
        if failed:
            axes.plot(steps[-1], means[-1], "x", color=axes.lines[-1].get_color())
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.set_title(f"loss of {len(rows)} models", loc="left", fontsize=11)
    if 0 < len(axes.get_legend_handles_labels()[0]) <= _LEGEND_ENTRIES:
        axes.legend(fontsize=7)


def _plot_results(
    axes: Any, rows: Sequence[dict[str, Any]], setting: str, results: dict[str, str], label_axis: bool
) -> None:
    """Plot a point for each finished model, and means over the setting's values."""
    done = [row for row in rows if row["status"] == "done" and row.get(setting) is not None]
    values = sorted({row[setting] for row in done}, key=lambda value: (isinstance(value, str), value))
    numbers = all(not isinstance(value, str) for value in values)
    for result, label in results.items():
        points = [(values.index(row[setting]), row[result]) for row in done if row[result] is not None]
        if not points:
            continue
        (line,) = axes.plot(*zip(*points, strict=True), "o", markersize=4, alpha=0.6, label=label)
        positions = sorted({position for position, _ in points})
        means = [np.mean([y for x, y in points if x == position]) for position in positions]
        axes.plot(positions, means, "-" if numbers else "_", color=line.get_color(), markersize=14, linewidth=1)
    axes.set_xticks(range(len(values)), [f"{v:g}" if isinstance(v, float) else str(v) for v in values])
    axes.set_xlabel(setting)
    if label_axis:
        axes.set_ylabel(" and ".join(results.values()))
        if len(results) > 1 and done:
            axes.legend(fontsize=8)
