"""Time of a training step as one of its sizes grows and the others stay at the paper's configuration.

The cost should grow as the needed work grows. Where it does not, `text` says so, and why as far as the same run tells:
each point also has the time of a step of one item of one pool window with the same filters, which is what a step costs
however little there is to learn from: the optimizer, the sums of partial gradients, meetings of threads or blocks.
"""

import itertools
import math
from typing import Any

import numpy as np

from partae_fast.kernels._cpu.simd import VECTOR_BYTES

from . import peers
from .timing import measure
from .train_step import (
    CONFIGURATIONS,
    EAGER,
    GRAPH,
    OURS,
    build,
    floor,
    flop,
    peer_names,
    prepare,
    refusals,
    row,
)

BASE = CONFIGURATIONS[0]
AXES: dict[str, tuple[int, ...]] = {
    "B": (1, 4, 16, 64, 256, 1024, 4096),
    "N": (32, 128, 512, 2048, 8192),
    "H=K": (8, 16, 32, 64, 128, 256),
    "P": (1, 2, 4, 8, 16, 32, 64),
    "M": (1, 3, 5, 9, 17, 33),
}
GROWS = 1.2  # work that grows less between two points says nothing
FLAT = 0.5  # exponent of time over work below which the cost does not grow as the work does
LARGE = 0.25  # share of a step that is worth naming as a cause


def shape_at(axis: str, value: int) -> dict[str, int]:
    return {**BASE, **dict.fromkeys(axis.split("="), value)}


def measure_curves(device: str, ceilings: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """A point for each size of each axis: its rows, and the seconds of a step of one window."""
    compiled = _best_compiled(device, rounds)
    others = [EAGER, compiled, *(name for name in peer_names(device) if name.startswith(GRAPH))]
    known: dict[tuple, dict[str, Any]] = {}
    fixed: dict[tuple, dict[str, float]] = {}
    points = []
    for axis, values in AXES.items():
        for value in values:
            shape = shape_at(axis, value)
            if (key := tuple(shape.values())) not in known:
                known[key] = _point(shape, device, ceilings, others, rounds)
            filters = shape["H"], shape["K"], shape["M"]
            if filters not in fixed:
                fixed[filters] = _of_one_window(shape, device, rounds)
            points.append({"axis": axis, "value": value, "fixed_seconds": fixed[filters], **known[key]})
            times = ", ".join(f"{r['version']} {r['seconds'] * 1e3:.3g} ms" for r in known[key]["rows"])
            print(f"{axis} {value} ({device}): {times}", flush=True)
    return points


def _ours(shape: dict[str, int], device: str) -> list[str]:
    """What of ours is drawn: all but the plain one."""
    able, _ = refusals(shape, device)
    return [name for name in able if name != OURS + "eager"] or able


def _best_compiled(device: str, rounds: int) -> str:
    """Which way to compile is the fastest at the base, and so is drawn; eager where there is none."""
    prepared = prepare(BASE, device, [], [EAGER, *peers.compiled_ways(device)])
    medians = {name: float(np.median(s)) for name, s in prepared.measured(device, rounds).items() if name != EAGER}
    return min(medians, key=lambda name: medians[name], default=EAGER)


def _point(
    shape: dict[str, int], device: str, ceilings: dict[str, Any], others: list[str], rounds: int
) -> dict[str, Any]:
    prepared = prepare(shape, device, _ours(shape, device), list(dict.fromkeys(others)))
    samples = prepared.measured(device, rounds)
    best = min((float(np.median(s)) for name, s in samples.items() if not name.startswith(OURS)), default=None)
    rows = [
        row(
            *("train step", name, shape, device, "float32", seconds, best, prepared.errors[name]),
            floor_seconds=floor(shape, ceilings),
            steps_in_a_call=prepared.versions[name].steps,
            adadelta=None if name.startswith(OURS) else prepared.form,
            peak_bytes=None,
            held_bytes=None,
        ).to_dict()
        for name, seconds in samples.items()
    ]
    prepared.versions.clear()
    return {"flop": flop(shape), "rows": rows, "skipped": prepared.skipped, "wrong": prepared.wrong}


def _of_one_window(shape: dict[str, int], device: str, rounds: int) -> dict[str, float]:
    """Seconds of a step of one item of one window, by version."""
    least = {**shape, "B": 1, "N": shape["P"]}
    calls = {name: build(name, least, device) for name in [*_ours(least, device), EAGER]}
    return {name: float(np.median(s)) for name, s in measure(dict(calls), device, rounds).items()}


def text(report: dict[str, Any]) -> str:
    """The curves as Markdown: a table for each axis, and where the cost does not grow as the work does."""
    lines = []
    for device, points in report["curves"].items():
        for axis in dict.fromkeys(point["axis"] for point in points):
            along = [point for point in points if point["axis"] == axis]
            names = list(dict.fromkeys(r["version"] for point in along for r in point["rows"]))
            held = ", ".join(f"{k} {v}" for k, v in BASE.items() if k not in axis.split("="))
            lines += [
                f"### {device}: {axis} ({held})",
                "",
                f"| {axis} | MFLOP needed | floor, ms | " + " | ".join(f"{name}, ms" for name in names) + " | ours |",
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
    """A line for each stretch where a version's time does not grow as the work does."""
    found = []
    for name in names:
        if not (name.startswith(OURS) or name == EAGER):
            continue
        points = sorted((p for p in along if _seconds(p, name)), key=lambda p: p["flop"])
        stretch: list[dict[str, Any]] = []
        for before, after in itertools.pairwise(points):
            if flat(before["flop"], after["flop"], _seconds(before, name), _seconds(after, name)):
                stretch = [*(stretch or [before]), after]
            else:
                found += [_remark(stretch, name)] if stretch else []
                stretch = []
        found += [_remark(stretch, name)] if stretch else []
    return found or ["The cost grows as the work does all along."]


def flat(work: float, more_work: float, seconds: float, later_seconds: float) -> bool:
    """Whether the time does not grow as the work does."""
    return more_work / work >= GROWS and math.log(later_seconds / seconds) < FLAT * math.log(more_work / work)


def _seconds(point: dict[str, Any], name: str) -> float:
    return next((r["seconds"] for r in point["rows"] if r["version"] == name), 0.0)


def _remark(stretch: list[dict[str, Any]], name: str) -> str:
    first, last = stretch[0], stretch[-1]
    axis, before, after = first["axis"], _seconds(first, name), _seconds(last, name)
    return (
        f"- {name}, {axis} {first['value']} to {last['value']}: {last['flop'] / first['flop']:.3g} times the work takes"
        f" {after / before:.2f} times as long, since {why(first, last, name)}."
    )


def why(first: dict[str, Any], last: dict[str, Any], name: str) -> str:
    """Why the cost did not grow: what the figures of both points say."""
    seconds, shape = _seconds(first, name), first["rows"][0]["shapes"]
    fixed = first["fixed_seconds"].get(name, 0.0)
    reasons = []
    if fixed / seconds >= LARGE:
        what = (
            "optimizer, sums of partial gradients, meetings of those who work"
            if name.startswith(OURS)
            else "operators called one by one"
        )
        reasons.append(
            f"{fixed / seconds:.0%} of the step at {first['axis']} {first['value']} is there whatever is learnt from"
            f" ({fixed * 1e6:.3g} us for one item of one window: {what})"
        )
    lanes = VECTOR_BYTES // 4
    if name == OURS + "cpu" and shape["K"] < lanes:
        reasons.append(f"{shape['K']} latents fill {shape['K']} of the {lanes} lanes of a vector")
    if not reasons:
        rates = (point["flop"] / _seconds(point, name) / 1e9 for point in (first, last))
        reasons.append("it works at {:.0f} GFLOP/s there and at {:.0f} here: loops are longer".format(*rates))
    return "; and ".join(reasons)


def plot(report: dict[str, Any], path: Any) -> None:
    """A row of panels for each device: time over each size, and the floor of the needed work."""
    from matplotlib.figure import Figure

    devices = list(report["curves"])
    figure = Figure(figsize=(4 * len(AXES), 3.8 * len(devices)), layout="constrained")
    grid = figure.subplots(len(devices), len(AXES), squeeze=False)
    for panels, (device, points) in zip(grid, report["curves"].items(), strict=True):
        for axes, axis in zip(panels, dict.fromkeys(p["axis"] for p in points), strict=False):
            along = [p for p in points if p["axis"] == axis]
            for name in dict.fromkeys(r["version"] for p in along for r in p["rows"]):
                drawn = [(p["value"], r) for p in along for r in p["rows"] if r["version"] == name]
                values = [value for value, _ in drawn]
                ours = name.startswith(OURS)
                (line,) = axes.plot(
                    *(values, [r["seconds"] * 1e3 for _, r in drawn]),
                    marker="o" if ours else "s",
                    linewidth=2.4 if ours else 1.2,
                    label=name,
                )
                low, high = ([r[q] * 1e3 for _, r in drawn] for q in ("seconds_10", "seconds_90"))
                axes.fill_between(values, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
            floors = [p["rows"][0]["floor_seconds"] * 1e3 for p in along]
            axes.plot([p["value"] for p in along], floors, "k--", label="floor of the needed work")
            axes.set(xscale="log", yscale="log", xlabel=axis, title=f"{device}: time over {axis}")
            axes.set_xticks([p["value"] for p in along], [str(p["value"]) for p in along])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("a training step, ms")
        panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)
