"""The plot of a sweep: losses over steps, and what came out against each setting that differs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..atomic import atomic_path
from ..audio.files import PathLike
from .grid import RESULTS

_POINTS = 200  # of a curve: each the mean of as many steps as that leaves
_NAMED = 16  # curves that a legend can name
_SETTINGS = 6  # columns; further settings are in the table


def figure(path: PathLike, rows: Sequence[dict[str, Any]], losses: Mapping[str, Sequence[float]]) -> None:
    """Draw a sweep to `path`, in the format of its suffix.

    Arguments:
        rows: as `Sweep.rows` gives them.
        losses: by name, a loss for each step.

    Raises UserError where `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    differing = _differing(rows)
    columns = max(1, len(differing))
    page = Figure(figsize=(max(9.0, 3.2 * columns), 9.5), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.add_gridspec(3, columns, height_ratios=(1.5, 1, 1))
    _curves(page.add_subplot(grid[0, :]), rows, losses)
    for column, name in enumerate(differing):
        first = column == 0
        _against(page.add_subplot(grid[1, column]), rows, name, {"loss_last": "loss, last tenth"}, first)
        _against(page.add_subplot(grid[2, column]), rows, name, {"keep": "keep", "leak": "leak"}, first)
    with atomic_path(path) as temporary:
        page.savefig(temporary, dpi=110)


def _differing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that have more than one value, as many as are drawn."""
    names = dict.fromkeys(key for row in rows for key in row if key not in ("name", *RESULTS))
    return [name for name in names if len({row.get(name) for row in rows}) > 1][:_SETTINGS]


def _curves(axes: Any, rows: Sequence[dict[str, Any]], losses: Mapping[str, Sequence[float]]) -> None:
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
    if 0 < len(axes.get_legend_handles_labels()[0]) <= _NAMED:
        axes.legend(fontsize=7)


def _against(axes: Any, rows: Sequence[dict[str, Any]], setting: str, results: dict[str, str], named: bool) -> None:
    """A point for each model that is done, and the mean for each value of the setting."""
    done = [row for row in rows if row["status"] == "done" and row.get(setting) is not None]
    values = sorted({row[setting] for row in done}, key=lambda value: (isinstance(value, str), value))
    numbers = all(not isinstance(value, str) for value in values)
    for result, label in results.items():
        points = [(values.index(row[setting]), row[result]) for row in done if row[result] is not None]
        if not points:
            continue
        (line,) = axes.plot(*zip(*points, strict=True), "o", markersize=4, alpha=0.6, label=label)
        places = sorted({place for place, _ in points})
        means = [np.mean([y for at, y in points if at == place]) for place in places]
        axes.plot(places, means, "-" if numbers else "_", color=line.get_color(), markersize=14, linewidth=1)
    axes.set_xticks(range(len(values)), [f"{v:g}" if isinstance(v, float) else str(v) for v in values])
    axes.set_xlabel(setting)
    if named:
        axes.set_ylabel(" and ".join(results.values()))
        if len(results) > 1 and done:
            axes.legend(fontsize=8)
