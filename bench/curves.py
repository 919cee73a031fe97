"""Measure the time of a training step as one of its sizes grows.

python -m partae_fast.bench.curves FOLDER [--device cuda] [--quick]     writes curves.json, .md and .png to FOLDER

The other sizes are those of the paper's configuration. The time should grow in proportion to the needed work. `text`
lists where it does not, with the reasons that the same run shows: at each point, a step on one item of one pool window
with the same filters is timed too. That is the fixed cost of a step: the optimizer, the sums of partial gradients, and
barriers between threads or blocks.
"""

import argparse
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast.atomic import atomic_path
from partae_fast.kernels import backends
from partae_fast.kernels._cpu.simd import VECTOR_BYTES

from . import peers
from .ceilings import ceilings as measured_ceilings
from .common import GRAPH
from .declaration import BACKENDS
from .timing import environment, measure
from .train_step import CONFIGURATIONS, EAGER, OURS, build, contest, flop, peer_names

ROUNDS, QUICK_ROUNDS = 5, 3
BASE = CONFIGURATIONS[0]
AXES: dict[str, tuple[int, ...]] = {
    "B": (1, 4, 16, 64, 256, 1024, 4096),
    "N": (32, 128, 512, 2048, 8192),
    "H=K": (8, 16, 32, 64, 128, 256),
    "P": (1, 2, 4, 8, 16, 32, 64),
    "M": (1, 3, 5, 9, 17, 33),
}
GROWS = 1.2  # two points are compared if the work grows at least by this factor
FLAT = 0.5  # the time does not grow with the work if the exponent of time over work is below this
LARGE = 0.25  # the fixed cost is given as a reason if it is at least this fraction of a step


def shape_at(axis: str, value: int) -> dict[str, int]:
    return {**BASE, **dict.fromkeys(axis.split("="), value)}


def measure_curves(device: str, ceilings: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """Return a point for each size of each axis: its rows, and the seconds of a step on one window."""
    compiled = _best_compiled(device, rounds)
    others = [EAGER, compiled, *(name for name in peer_names(device) if name.startswith(GRAPH))]
    points_at: dict[tuple, dict[str, Any]] = {}
    fixed: dict[tuple, dict[str, float]] = {}
    points = []
    for axis, values in AXES.items():
        for value in values:
            shape = shape_at(axis, value)
            if (key := tuple(shape.values())) not in points_at:
                points_at[key] = _point(shape, device, ceilings, others, rounds)
            filters = shape["H"], shape["K"], shape["M"]
            if filters not in fixed:
                fixed[filters] = _seconds_of_one_window(shape, device, rounds)
            points.append({"axis": axis, "value": value, "fixed_seconds": fixed[filters], **points_at[key]})
            times = ", ".join(f"{r['version']} {r['seconds'] * 1e3:.3g} ms" for r in points_at[key]["rows"])
            print(f"{axis} {value} ({device}): {times}", flush=True)
    return points


def _ours(device: str) -> list[str]:
    """Return partae's back-ends for the device that are drawn: all available ones except eager."""
    return [name for name in BACKENDS[device] if backends()[name].available]


def _best_compiled(device: str, rounds: int) -> str:
    """Return the fastest way to compile the peer at the base configuration; eager if none can run."""
    samples = contest(BASE, device, [], [*peers.compiled_ways(device)]).run(device, rounds=rounds).samples
    return min(samples, key=lambda name: np.median(samples[name]), default=EAGER)


def _point(
    shape: dict[str, int], device: str, ceilings: dict[str, Any], others: list[str], rounds: int
) -> dict[str, Any]:
    torch.compiler.reset()
    steps = contest(shape, device, _ours(device), list(dict.fromkeys(others)))
    outcome = steps.run(device, rounds=rounds)
    rows = [row.to_dict() for row in steps.rows(outcome, shape, device, ceilings)]
    return {"flop": flop(shape), "rows": rows, "skipped": outcome.unable, "wrong": [*outcome.wrong]}


def _seconds_of_one_window(shape: dict[str, int], device: str, rounds: int) -> dict[str, float]:
    """Return the seconds of a step on one item of one pool window, by version."""
    smallest = {**shape, "B": 1, "N": shape["P"]}
    calls = {name: build(name, smallest, device) for name in [*(OURS + name for name in _ours(device)), EAGER]}
    return {name: float(np.median(s)) for name, s in measure(dict(calls), device, rounds).items()}


def text(report: dict[str, Any]) -> str:
    """Return the curves as Markdown: a table for each axis, with remarks where the time does not grow."""
    lines = []
    for device, points in report["curves"].items():
        for axis in dict.fromkeys(point["axis"] for point in points):
            along = [point for point in points if point["axis"] == axis]
            names = list(dict.fromkeys(r["version"] for point in along for r in point["rows"]))
            fixed_sizes = ", ".join(f"{k} {v}" for k, v in BASE.items() if k not in axis.split("="))
            lines += [
                f"### {device}: {axis} ({fixed_sizes})",
                "",
                f"| {axis} | MFLOP needed | floor, ms | " + " | ".join(f"{name}, ms" for name in names) + " | partae |",
                "|" + "---:|" * (4 + len(names)),
            ]
            lines += [_line(point, names) for point in along]
            lines += ["", *_remarks(along, names), ""]
    return "\n".join(lines)


def _line(point: dict[str, Any], names: list[str]) -> str:
    seconds = {r["version"]: r["seconds"] for r in point["rows"]}
    ours = min((s for name, s in seconds.items() if name.startswith(OURS)), default=math.nan)
    best = min((s for name, s in seconds.items() if not name.startswith(OURS)), default=math.nan)
    limit = point["rows"][0]["floor_seconds"]
    times = " | ".join(f"{seconds[name] * 1e3:.3g}" if name in seconds else "" for name in names)
    return (
        f"| {point['value']} | {point['flop'] / 1e6:.4g} | {limit * 1e3:.3g} | {times} "
        f"| {limit / ours:.0%} of floor, {best / ours:.1f}x |"
    )


def _remarks(along: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Return a line for each range of sizes in which the time of a version does not grow with the work."""
    remarks = []
    for name in names:
        if not (name.startswith(OURS) or name == EAGER):
            continue
        points = sorted((p for p in along if _seconds(p, name)), key=lambda p: p["flop"])
        flat_points: list[dict[str, Any]] = []
        for before, after in itertools.pairwise(points):
            if flat(before["flop"], after["flop"], _seconds(before, name), _seconds(after, name)):
                flat_points = [*(flat_points or [before]), after]
            else:
                remarks += [_remark(flat_points, name)] if flat_points else []
                flat_points = []
        remarks += [_remark(flat_points, name)] if flat_points else []
    return remarks or ["The time grows with the work everywhere."]


def flat(work: float, more_work: float, seconds: float, more_seconds: float) -> bool:
    """Return whether the time does not grow with the work between two points."""
    return more_work / work >= GROWS and math.log(more_seconds / seconds) < FLAT * math.log(more_work / work)


def _seconds(point: dict[str, Any], name: str) -> float:
    """Return the seconds of a version at a point; 0 if it was not timed there."""
    return next((r["seconds"] for r in point["rows"] if r["version"] == name), 0.0)


def _remark(flat_points: list[dict[str, Any]], name: str) -> str:
    first, last = flat_points[0], flat_points[-1]
    axis, before, after = first["axis"], _seconds(first, name), _seconds(last, name)
    return (
        f"- {name}, {axis} {first['value']} to {last['value']}: {last['flop'] / first['flop']:.3g} times the work takes"
        f" {after / before:.2f} times as long, because {why(first, last, name)}."
    )


def why(first: dict[str, Any], last: dict[str, Any], name: str) -> str:
    """Return why the time did not grow with the work, as the measurements at the two points show it."""
    seconds, shape = _seconds(first, name), first["rows"][0]["shapes"]
    fixed = first["fixed_seconds"].get(name, 0.0)
    reasons = []
    if fixed / seconds >= LARGE:
        what = (
            "optimizer, sums of partial gradients, barriers"
            if name.startswith(OURS)
            else "operators are launched one by one"
        )
        reasons.append(
            f"{fixed / seconds:.0%} of the step at {first['axis']} {first['value']} is a fixed cost"
            f" ({fixed * 1e6:.3g} us for one item of one window: {what})"
        )
    lanes = VECTOR_BYTES // 4
    if name == OURS + "cpu" and shape["K"] < lanes:
        reasons.append(f"{shape['K']} latents fill {shape['K']} of the {lanes} lanes of a vector")
    if not reasons:
        rates = (point["flop"] / _seconds(point, name) / 1e9 for point in (first, last))
        reasons.append("the rate rises from {:.0f} to {:.0f} GFLOP/s as loops become longer".format(*rates))
    return "; and ".join(reasons)


def plot(report: dict[str, Any], path: Any) -> None:
    """Plot the time of a step and the floor over each size, with one row of panels per device."""
    from matplotlib.figure import Figure

    devices = list(report["curves"])
    figure = Figure(figsize=(4 * len(AXES), 3.8 * len(devices)), layout="constrained")
    grid = figure.subplots(len(devices), len(AXES), squeeze=False)
    for panels, (device, points) in zip(grid, report["curves"].items(), strict=True):
        for axes, axis in zip(panels, dict.fromkeys(p["axis"] for p in points), strict=False):
            along = [p for p in points if p["axis"] == axis]
            for name in dict.fromkeys(r["version"] for p in along for r in p["rows"]):
                rows = [(p["value"], r) for p in along for r in p["rows"] if r["version"] == name]
                values = [value for value, _ in rows]
                ours = name.startswith(OURS)
                (line,) = axes.plot(
                    values,
                    [r["seconds"] * 1e3 for _, r in rows],
                    marker="o" if ours else "s",
                    linewidth=2.4 if ours else 1.2,
                    label=name,
                )
                low, high = ([r[q] * 1e3 for _, r in rows] for q in ("seconds_10", "seconds_90"))
                axes.fill_between(values, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
            floors = [p["rows"][0]["floor_seconds"] * 1e3 for p in along]
            axes.plot([p["value"] for p in along], floors, "k--", label="floor of the needed work")
            axes.set(xscale="log", yscale="log", xlabel=axis, title=f"{device}: time over {axis}")
            axes.set_xticks([p["value"] for p in along], [str(p["value"]) for p in along])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("time of a training step, ms")
        panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the results")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    args = parser.parse_args(arguments)
    from .render import main as render  # which imports this module

    limits = measured_ceilings(args.device)
    points = measure_curves(args.device, limits, QUICK_ROUNDS if args.quick else ROUNDS)
    report = {
        "environment": environment(),
        "ceilings": {args.device: limits},
        "curves": {args.device: points},
    }
    args.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.folder / "curves.json") as file:
        file.write_text(json.dumps(report, indent=1) + "\n")
    render([str(args.folder / "curves.json")])
    return int(any(point["wrong"] or any(row["fault"] for row in point["rows"]) for point in points))


if __name__ == "__main__":
    sys.exit(main())
