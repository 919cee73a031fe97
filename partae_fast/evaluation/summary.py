"""What the scores of all scenes come to: means and paired differences with intervals, as numbers and as Markdown.

The scenes are what is sampled: an interval holds 95 % of the means of as many scenes, drawn from them with replacement
(percentile bootstrap). Seeds of a scene are averaged before that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluate import CEILING, FULL, METRICS, MODES, OURS, Row

_DRAWS = 10_000
_INTERVAL = 2.5, 97.5  # percent
_ALL = "all"
_TITLES = {"si_sdr": "SI-SDR", "snr": "SNR", "sdr": "SDR", "sir": "SIR", "sar": "SAR"}


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Means and differences of the rows that `evaluate` returns.

    Returns:
        scenes, levels: how many, and which.
        means: for each metric and method, for each level and "all": mean, low, high; None for low and high with one
            scene.
        differences: of SI-SDR in the band, ours less each other method's: for each level and "all" likewise; `each`, by
            scene and level; and `below`, where ours is less: [scene, level, difference], the worst first.
        seconds: mean and most, of ours, for a scene and level: training and denoising.
    """
    scenes, levels, methods = ([*dict.fromkeys(row[name] for row in rows)] for name in ("scene", "level", "method"))
    metrics = [name + where for where in ("", FULL) for name in METRICS if name + where in rows[0]]
    values = {metric: {method: _grid(rows, method, metric, scenes, levels) for method in methods} for metric in metrics}
    ours = values["si_sdr"][OURS]
    seconds = [row["seconds"] for row in rows if row["method"] == OURS]
    return {
        "scenes": scenes,
        "levels": levels,
        "means": {
            metric: {method: _intervals(grid, levels) for method, grid in grids.items()}
            for metric, grids in values.items()
        },
        "differences": {
            method: {
                **_intervals(ours - grid, levels),
                "each": (ours - grid).tolist(),
                "below": _below(ours - grid, scenes, levels),
            }
            for method, grid in values["si_sdr"].items()
            if method != OURS
        },
        "seconds": {"mean": float(np.mean(seconds)), "most": float(np.max(seconds))},
    }


def _grid(rows: Sequence[Row], method: str, metric: str, scenes: list[str], levels: list[float]) -> NDArray[np.float64]:
    """Means over seeds, (scenes, levels)."""
    found: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault((row["scene"], row["level"]), []).append(row[metric])
    return np.array([[float(np.mean(found[scene, level])) for level in levels] for scene in scenes])


def _intervals(grid: NDArray[np.float64], levels: list[float]) -> dict[str, list[float | None]]:
    """Mean, low and high over the scenes, for each level and for all of them."""
    columns = {f"{level:g}": grid[:, i] for i, level in enumerate(levels)} | {_ALL: grid.mean(1)}
    return {name: [float(column.mean()), *bootstrap(column)] for name, column in columns.items()}


def bootstrap(values: NDArray[np.float64]) -> list[float | None]:
    """The ends of the interval of the mean of `values` (scenes,); None and None for one scene."""
    if len(values) < 2:
        return [None, None]
    draws = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    return [float(end) for end in np.percentile(values[draws].mean(1), _INTERVAL)]


def _below(difference: NDArray[np.float64], scenes: list[str], levels: list[float]) -> list[list[Any]]:
    places = zip(*np.nonzero(difference < 0), strict=True)
    found = [[scenes[i], levels[j], float(difference[i, j])] for i, j in places]
    return sorted(found, key=lambda place: place[2])


def markdown(summary: dict[str, Any]) -> str:
    """The summary as tables and sentences."""
    levels = [f"{level:g}" for level in summary["levels"]]
    count = len(summary["scenes"])
    cases = count * len(levels)
    heads = [f"{level} dB" for level in levels] + ["all"]
    lines = [f"SI-SDR in band in dB, mean over {_counted(count, 'scene')} [95 % interval], by the input's level:", ""]
    means = summary["means"]["si_sdr"]
    lines += _table(["method", *heads], [[name, *map(_told, found.values())] for name, found in means.items()])
    lines += ["", f"SI-SDR in band, {OURS} less another, in dB [95 % interval of the paired difference]:", ""]
    rows = []
    for name, found in summary["differences"].items():
        told = [_told(found[column], "+") for column in [*levels, _ALL]]
        rows.append([name, *told, f"{len(found['below'])} of {cases}"])
    lines += _table(["than", *heads, "below it in"], rows)
    lines += ["", "All scores in dB, means over scenes and levels:", "", *_scores(summary["means"]), ""]
    for name, found in summary["differences"].items():
        if name not in (*MODES, CEILING):
            where = "; ".join(f"{scene} at {level:g} dB by {-by:.1f}" for scene, level, by in found["below"])
            lines.append(f"- below {name}: {where or 'nowhere'}")
    seconds = summary["seconds"]
    lines.append(f"- {OURS} took {seconds['mean']:.1f} s a scene and level, {seconds['most']:.1f} s at most")
    return "\n".join(lines) + "\n"


def cases(rows: Sequence[Row]) -> str:
    """A table of SI-SDR in the band for each scene, level and method, means over seeds."""
    methods = [*dict.fromkeys(row["method"] for row in rows)]
    found: dict[tuple[str, float], dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault((row["scene"], row["level"]), {}).setdefault(row["method"], []).append(row["si_sdr"])
    lines = _table(
        ["scene", "level", *methods],
        [
            [scene, f"{level:g}", *(f"{np.mean(scores[method]):.1f}" for method in methods)]
            for (scene, level), scores in found.items()
        ],
    )
    return "\n".join(["SI-SDR in band in dB, scene by scene:", "", *lines]) + "\n"


def _scores(means: dict[str, Any]) -> list[str]:
    """A table of all metrics, in the band and over all frequencies."""
    heads = [_TITLES[metric.removesuffix(FULL)] + (", full" if metric.endswith(FULL) else "") for metric in means]
    methods = [*means["si_sdr"]]
    return _table(
        ["method", *heads], [[name, *(f"{grid[name][_ALL][0]:.1f}" for grid in means.values())] for name in methods]
    )


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    ruler = "|---|" + "---:|" * (len(heads) - 1)
    return [f"| {' | '.join(heads)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows)]


def _told(value: list[float | None], sign: str = "") -> str:
    mean, low, high = value
    return f"{mean:{sign}.1f}" + ("" if low is None else f" [{low:{sign}.1f}, {high:{sign}.1f}]")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
