"""Render benchmark results as Markdown tables and plots.

python -m partae_fast.bench.render FILE.json...              writes FILE.md and FILE.png next to each file
python -m partae_fast.bench.render FILE.json --split FOLDER  writes the files of each benchmark to FOLDER

A file is one written by `partae bench --json`, by `--benchmark-json` or by curves.py, or has rows in an earlier format.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import curves
from .timing import QUANTILES

POPULATION, DENOISE, STARTUP = "population", "denoise", "startup"
APART = ("train step", POPULATION, DENOISE, STARTUP)  # ops with a separate table
UNPLOTTED = (POPULATION, DENOISE, STARTUP)
FACTS = ("commit", "versions")  # of a row, that the report of a run has too


def rows_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a report, which pytest-benchmark keeps as `extra_info`."""
    return report["rows"] if "rows" in report else [_row_of(entry) for entry in report["benchmarks"]]


def _row_of(entry: dict[str, Any]) -> dict[str, Any]:
    data = entry["stats"].get("data", [entry["stats"]["median"]])
    low, middle, high = (float(q) for q in np.quantile(data, QUANTILES))
    return {"seconds_10": low, "seconds": middle, "seconds_90": high, **entry["extra_info"]}


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown: the machine, its ceilings, and a row for each version."""
    lines, rows = _head(report), rows_of(report)
    ops = [row for row in rows if row["op"] not in APART]
    if ops:
        lines += [
            "",
            "| op, pass | device | sizes | version | median ms | 10-90 % | GFLOP/s | GB/s | of floor | vs best peer |",
            "|---|---|---|---|---:|---|---:|---:|---:|---:|",
        ]
        lines += [_row(row) for row in ops]
    lines += _steps([row for row in rows if row["op"] == "train step"])
    lines += _population([row for row in rows if row["op"] == POPULATION])
    lines += _denoising([row for row in rows if row["op"] == DENOISE])
    lines += _startup(report, [row for row in rows if row["op"] == STARTUP])
    if report.get("skipped"):
        lines += ["", "Not timed:"] + [f"- {name}: {reason}" for name, reason in report["skipped"].items()]
    return "\n".join(lines)


def _startup(report: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    times = {row["version"].split()[0]: row["seconds"] for row in rows} or report.get("startup_seconds", {})
    parts = [f"{seconds:.1f} s with a {name} cache" for name, seconds in times.items()]
    return ["", f"From import to the end of the first step: {', '.join(parts)}."] if parts else []


def curves_text(report: dict[str, Any]) -> str:
    """Return curves as Markdown: the machine, its ceilings, a table for each axis and remarks."""
    return "\n".join([*_head(report), "", curves.text(report)])


def _head(report: dict[str, Any]) -> list[str]:
    env = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    lines = [
        f"Measured {env['date']} at commit {env['commit']} on {env['processor']}, {env['threads']} threads"
        + (f", {env['gpu']}" if env["gpu"] else "")
        + f"; {versions}."
    ]
    if env.get("load", 0.0) > 0.5:
        lines += ["", f"Other programs ran: the load of the machine was {env['load']:.1f} before the measurements."]
    lines.append("")
    return lines + [_ceiling(device, limits) for device, limits in report["ceilings"].items()]


def _ceiling(device: str, limits: dict[str, Any]) -> str:
    rates = limits.get("rates") or {"matrix product": limits["flop_per_s"]}
    each = ", ".join(f"{rate / 1e9:.0f} in {name}" for name, rate in rates.items())
    figures = [f"float32 GFLOP/s: {each}", f"{_bandwidth(limits)}"]
    if "one_thread_flop_per_s" in limits:
        figures.append(f"{limits['one_thread_flop_per_s'] / 1e9:.0f} GFLOP/s on one thread")
    if "tf32_flop_per_s" in limits:
        figures.append(f"{limits['tf32_flop_per_s'] / 1e9:.0f} GFLOP/s in TF32")
    for key, label in (
        ("barrier_seconds", "a barrier"),
        ("launch_seconds", "a launch"),
        ("graph_node_seconds", "a node of a graph"),
    ):
        if limits.get(key):
            figures.append(f"{limits[key] * 1e6:.2g} us for {label}")
    figures += [f"{name} not measured: {reason}" for name, reason in limits.get("skipped", {}).items()]
    return f"Ceilings, {device}: {'; '.join(figures)}."


def _bandwidth(limits: dict[str, Any]) -> str:
    if "bandwidths" not in limits:  # an earlier format, in which only one size was measured
        return f"{limits['bytes_per_s'] / 1e9:.1f} GB/s in a copy"
    return ", ".join(f"{rate / 1e9:.1f} GB/s over {size / 2**20:.0f} MB" for size, rate in limits["bandwidths"])


def _share(row: dict[str, Any], digits: int = 0) -> str:
    """Return the floor as a percentage of the time; a time below the floor is marked as an error."""
    return f"{'ERROR: ' if row.get('fault') else ''}{row['fraction_of_floor']:.{digits}%}"


def _row(row: dict[str, Any]) -> str:
    name = row["version"] if row["peer"] else f"**{row['version']}**"
    ratio = "" if row["ratio_to_best_peer"] is None or row["peer"] else f"{row['ratio_to_best_peer']:.2f}x"
    return (
        f"| {_contest(row)} | {row['device']} | {_sizes(row)} | {name} | {row['seconds'] * 1e3:.3g} "
        f"| {row['seconds_10'] * 1e3:.3g}-{row['seconds_90'] * 1e3:.3g} | {row['gflop_per_s']:.3g} "
        f"| {row['gbyte_per_s']:.3g} | {_share(row)} | {ratio} |"
    )


def _contest(row: dict[str, Any]) -> str:
    return " ".join([row["op"], *([row["pass"]] if "pass" in row else [])])


def _sizes(row: dict[str, Any]) -> str:
    return " ".join(str(v) for v in row["shapes"].values())


def _steps(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of whole training steps."""
    if not rows:
        return []
    lines = [
        "",
        "Training steps: drawing crops, loss, gradients and AdaDelta. Frames are spectrogram frames. GFLOP/s count"
        " the needed work. MB a step is what a step allocates; MB held is what a version keeps between steps,"
        " including compiled code.",
        "",
        "| device, type | B N H K M P | version | median ms | 10-90 % | steps/s | frames/s | GFLOP/s | floor ms"
        " | of floor | vs best peer | MB a step | MB held | loss differs |",
        "|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        form = f", {row['adadelta']} AdaDelta" if row.get("adadelta") else ""
        name = row["version"] + form if row["peer"] else f"**{row['version']}**"
        ratio = "" if row["ratio_to_best_peer"] is None else f"{row['ratio_to_best_peer']:.2f}x"
        lines.append(
            f"| {row['device']}, {row['type']} | {_sizes(row)} | {name} | {row['seconds'] * 1e3:.3g}"
            f" | {row['seconds_10'] * 1e3:.3g}-{row['seconds_90'] * 1e3:.3g} | {1 / row['seconds']:.4g}"
            f" | {_frames(row):.3g} | {row['gflop_per_s']:.3g} | {row['floor_seconds'] * 1e3:.3g}"
            f" | {_share(row, 1)} | {ratio} | {_megabytes(row.get('peak_bytes'))}"
            f" | {_megabytes(row.get('held_bytes'))} | {row['error']:.0e} |"
        )
    return lines


def _frames(row: dict[str, Any]) -> float:
    """Return the spectrogram frames per second."""
    return row["shapes"]["B"] * row["shapes"]["N"] / row["seconds"]


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}"


def _population(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of several models in one launch."""
    if not rows:
        return []
    lines = [
        "",
        "Several models in one launch. The last column is their rate as a percentage of the number of threads times"
        " the rate of one model on one thread (on a GPU: of the rate of one model alone).",
        "",
        "| device | B N H K M P | version | models | threads | median ms | 10-90 % | models x steps/s | GFLOP/s"
        " | of floor | of threads x single |",
        "|---|---|---|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        share = _of_threads_times_single(row, rows)
        lines.append(
            f"| {row['device']} | {_sizes(row)} | **{row['version']}** | {row['models']} | {row['threads']}"
            f" | {row['seconds'] * 1e3:.3g} | {row['seconds_10'] * 1e3:.3g}-{row['seconds_90'] * 1e3:.3g}"
            f" | {row['models'] / row['seconds']:.4g} | {row['gflop_per_s']:.3g} | {_share(row, 1)}"
            f" | {'' if share is None else f'{share:.1%}'} |"
        )
    return lines


def _of_threads_times_single(row: dict[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """Return a population's rate divided by the number of threads times the rate of one model alone."""
    alone = next((other for other in rows if other["models"] == 1), None)
    if alone is None or row is alone:
        return None
    return row["models"] / row["seconds"] * alone["seconds"] / (row["threads"] / alone["threads"])


def _denoising(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of denoising from file to file."""
    if not rows:
        return []
    lines = [
        "",
        f"Denoising from file to file: {rows[0]['audio_seconds']} s of one channel at {rows[0]['rate']} Hz.",
        "",
        "| version | median s | 10-90 % | times real time | vs best peer |",
        "|---|---:|---|---:|---:|",
    ]
    for row in rows:
        name = row["version"] if row["peer"] else f"**{row['version']}**"
        ratio = "" if row["ratio_to_best_peer"] is None or row["peer"] else f"{row['ratio_to_best_peer']:.1f}x"
        lines.append(
            f"| {name} | {row['seconds']:.3g} | {row['seconds_10']:.3g}-{row['seconds_90']:.3g}"
            f" | {row['audio_seconds'] / row['seconds']:.0f} | {ratio} |"
        )
    return lines


def plot(report: dict[str, Any], path: Path) -> None:
    """Plot curves, or the times of each contest as bars, with one panel per shape."""
    if "curves" in report:
        curves.plot(report, path)
        return
    from matplotlib.figure import Figure

    contests: dict[tuple, list[dict]] = {}
    for row in rows_of(report):
        if row["op"] not in UNPLOTTED:
            key = row["device"], row["type"], tuple(row["shapes"].items())
            contests.setdefault(key, []).append(row)
    figure = Figure(figsize=(9, 2.6 * len(contests)), layout="constrained")
    for axes, ((device, kind, shape), rows) in zip(
        figure.subplots(len(contests), squeeze=False)[:, 0], contests.items(), strict=True
    ):
        bars = _versions if {row["op"] for row in rows} == {"train step"} else _best
        bars(axes, rows)
        sizes = ", ".join(f"{k} {v}" for k, v in shape)
        axes.set(title=f"{device}, {kind}: {sizes}", ylabel="median, ms", yscale="log")
        axes.margins(y=0.2)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


OURS, PEER, FLOOR = "#1f6f8b", "#9aa5b1", "#c0392b"


def _best(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw, for each op, partae's best version and the best peer."""
    ops = list(dict.fromkeys(_contest(row) for row in rows))
    best_peer = {op: min((r["seconds"] for r in rows if _contest(r) == op and r["peer"]), default=0.0) for op in ops}
    ours = {op: min((r["seconds"] for r in rows if _contest(r) == op and not r["peer"]), default=0.0) for op in ops}
    floors = {op: next(r["floor_seconds"] for r in rows if _contest(r) == op) for op in ops}
    for i, op in enumerate(ops):
        axes.bar(i - 0.2, best_peer[op] * 1e3, 0.38, color=PEER, label="best PyTorch peer" * (i == 0))
        axes.bar(i + 0.2, ours[op] * 1e3, 0.38, color=OURS, label="partae" * (i == 0))
        axes.hlines(floors[op] * 1e3, i - 0.4, i + 0.4, color=FLOOR, label="floor" * (i == 0))
        if ours[op]:
            axes.annotate(f"{best_peer[op] / ours[op]:.1f}x", (i + 0.2, ours[op] * 1e3), ha="center", va="bottom")
    axes.set_xticks(range(len(ops)), ops, fontsize=8)


def _versions(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw every version of a training step."""
    for i, row in enumerate(rows):
        first = i == next(j for j, other in enumerate(rows) if other["peer"] == row["peer"])
        label = ("PyTorch" if row["peer"] else "partae") if first else ""
        height = row["seconds"] * 1e3
        spread = [[height - row["seconds_10"] * 1e3], [row["seconds_90"] * 1e3 - height]]
        axes.bar(i, height, 0.7, yerr=spread, capsize=3, color=PEER if row["peer"] else OURS, label=label)
        if row["ratio_to_best_peer"] is not None:
            axes.annotate(f"{row['ratio_to_best_peer']:.1f}x", (i, height), ha="center", va="bottom")
    axes.axhline(rows[0]["floor_seconds"] * 1e3, color=FLOOR, label="floor")
    axes.set_xticks(range(len(rows)), [row["version"].replace(" ", "\n", 1) for row in rows], fontsize=8)


def split(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a report for each benchmark file of a run, by the name of its benchmarks, without the single samples."""
    parts: dict[str, dict[str, Any]] = {}
    for entry in report["benchmarks"]:
        name = Path(entry["fullname"].partition("::")[0]).stem.removeprefix("bench_")
        part = parts.setdefault(name, {**report, "benchmarks": [], "skipped": {}})
        stats = {key: value for key, value in entry["stats"].items() if key != "data"}
        row = {key: value for key, value in _row_of(entry).items() if key not in FACTS}
        part["benchmarks"].append({**entry, "stats": stats, "extra_info": row})
    for part in parts.values():
        groups = {entry["group"] for entry in part["benchmarks"]}
        skipped = report.get("skipped", {}).items()
        part["skipped"] = {name: why for name, why in skipped if name.rpartition(", ")[0] in groups}
    return parts


def render(report: dict[str, Any], file: Path) -> None:
    """Write the table, and the plot if there is one, next to the JSON file of a report."""
    file.with_suffix(".md").write_text((curves_text if "curves" in report else table)(report) + "\n")
    if "curves" in report or any(row["op"] not in UNPLOTTED for row in rows_of(report)):
        plot(report, file.with_suffix(".png"))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--split", type=Path, metavar="FOLDER")
    args = parser.parse_args(arguments)
    for file in args.files:
        report = json.loads(file.read_text())
        if not args.split:
            render(report, file)
            continue
        args.split.mkdir(parents=True, exist_ok=True)
        for name, part in split(report).items():
            path = args.split / f"{name}.json"
            path.write_text(json.dumps(part) + "\n")
            render(part, path)


if __name__ == "__main__":
    main(sys.argv[1:])
