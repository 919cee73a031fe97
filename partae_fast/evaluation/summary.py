"""Means of the scores and paired differences with 95 % intervals, as numbers and as Markdown.

Intervals are percentile bootstraps over the scenes; the seeds of a scene are averaged first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import speech
from .evaluate import CEILING, FULL, METRICS, MODES, OURS, Row

_DRAWS = 10_000
_INTERVAL = 2.5, 97.5  # percent
_ALL = "all"
_TITLES = {"si_sdr": "SI-SDR", "snr": "SNR", "sdr": "SDR", "sir": "SIR", "sar": "SAR", "stoi": "STOI", "pesq": "PESQ"}
_DECIMALS = {"stoi": 3, "pesq": 2}  # of scores that are not in dB


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Return means and differences of the rows that `evaluate` returns.

    Returns:
        A dictionary with these keys:

        scenes, levels      the names of the scenes; the levels in dB
        means               by metric and method, for each level and "all": mean, low and high; low and high are None
                            for a single scene
        differences         by method, of SI-SDR in the band, partae minus the method: for each level and "all", mean,
                            low and high; "each", the differences (scenes, levels); "below", the cases where partae is
                            worse, [scene, level, difference], the worst first
        seconds             of partae, training and denoising for one scene and level: "mean" and "most"
    """
    scenes, levels, methods = ([*dict.fromkeys(row[name] for row in rows)] for name in ("scene", "level", "method"))
    names = [*METRICS, *(name + FULL for name in METRICS), *speech.METRICS]
    metrics = [name for name in names if name in rows[0]]
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
    """Return means over seeds, (scenes, levels)."""
    scores: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["method"] == method:
            scores.setdefault((row["scene"], row["level"]), []).append(row[metric])
    return np.array([[float(np.mean(scores[scene, level])) for level in levels] for scene in scenes])


def _intervals(grid: NDArray[np.float64], levels: list[float]) -> dict[str, list[float | None]]:
    """Return mean, low and high over the scenes, for each level and for the mean of all levels."""
    columns = {f"{level:g}": grid[:, i] for i, level in enumerate(levels)} | {_ALL: grid.mean(1)}
    return {name: [float(column.mean()), *bootstrap(column)] for name, column in columns.items()}


def bootstrap(values: NDArray[np.float64]) -> list[float | None]:
    """Return the 95 % interval of the mean of `values` (scenes,): low and high, both None for a single scene."""
    if len(values) < 2:
        return [None, None]
    draws = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    return [float(end) for end in np.percentile(values[draws].mean(1), _INTERVAL)]


def _below(difference: NDArray[np.float64], scenes: list[str], levels: list[float]) -> list[list[Any]]:
    """Return [scene, level, difference] for each negative difference (scenes, levels), the lowest first."""
    indices = zip(*np.nonzero(difference < 0), strict=True)
    cases = [[scenes[i], levels[j], float(difference[i, j])] for i, j in indices]
    return sorted(cases, key=lambda case: case[2])


def markdown(summary: dict[str, Any]) -> str:
    """Return the result of `summarise` as Markdown tables and lists."""
    levels = [f"{level:g}" for level in summary["levels"]]
    count = len(summary["scenes"])
    cases = count * len(levels)
    heads = [f"{level} dB" for level in levels] + ["all"]
    lines = [f"SI-SDR in band in dB, mean over {_counted(count, 'scene')} [95 % interval], by the input's level:", ""]
    means_by_metric = summary["means"]
    means = means_by_metric["si_sdr"]
    lines += _table(["method", *heads], [[name, *map(_interval, columns.values())] for name, columns in means.items()])
    lines += ["", f"SI-SDR in band, {OURS} minus the method, in dB [95 % interval of the paired difference]:", ""]
    rows = []
    for name, columns in summary["differences"].items():
        cells = [_interval(columns[column], "+") for column in [*levels, _ALL]]
        rows.append([name, *cells, f"{len(columns['below'])} of {cases}"])
    lines += _table(["method", *heads, "cases below"], rows)
    others = " (STOI from 0 to 1, PESQ from 1 to 4.6)" if "stoi" in means_by_metric else ""
    lines += ["", f"All scores in dB{others}, means over scenes and levels:", "", *_scores(means_by_metric), ""]
    for name, columns in summary["differences"].items():
        if name not in (*MODES, CEILING):
            below = "; ".join(f"{scene} at {level:g} dB by {-by:.1f}" for scene, level, by in columns["below"])
            lines.append(f"- below {name}: {below or 'no case'}")
    seconds = summary["seconds"]
    lines.append(f"- {OURS} took {seconds['mean']:.1f} s per scene and level, {seconds['most']:.1f} s at most")
    return "\n".join(lines) + "\n"


def scene_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of SI-SDR in the band for each scene, level and method, means over seeds."""
    methods = [*dict.fromkeys(row["method"] for row in rows)]
    cases: dict[tuple[str, float], dict[str, list[float]]] = {}
    for row in rows:
        cases.setdefault((row["scene"], row["level"]), {}).setdefault(row["method"], []).append(row["si_sdr"])
    lines = _table(
        ["scene", "level", *methods],
        [
            [scene, f"{level:g}", *(f"{np.mean(scores[method]):.1f}" for method in methods)]
            for (scene, level), scores in cases.items()
        ],
    )
    return "\n".join(["SI-SDR in band in dB, scene by scene:", "", *lines]) + "\n"


def _scores(means: dict[str, Any]) -> list[str]:
    """Return a Markdown table of all metrics, in the band and over all frequencies."""
    heads = [_TITLES[metric.removesuffix(FULL)] + (", full" if metric.endswith(FULL) else "") for metric in means]
    methods = [*means["si_sdr"]]
    return _table(
        ["method", *heads],
        [
            [name, *(f"{grid[name][_ALL][0]:.{_DECIMALS.get(metric, 1)}f}" for metric, grid in means.items())]
            for name in methods
        ],
    )


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    ruler = "|---|" + "---:|" * (len(heads) - 1)
    return [f"| {' | '.join(heads)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows)]


def _interval(value: list[float | None], sign: str = "") -> str:
    mean, low, high = value
    return f"{mean:{sign}.1f}" + ("" if low is None else f" [{low:{sign}.1f}, {high:{sign}.1f}]")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
