"""Rows as a Markdown table and a plot.

python -m partae_fast.bench.render rows.json...     writes rows.md and rows.png beside each
"""

import json
import sys
from pathlib import Path
from typing import Any


def table(report: dict[str, Any]) -> str:
    """The report as Markdown: where it was measured, the ceilings, a row for each version."""
    env = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    lines = [
        f"Measured {env['date']} at commit {env['commit']} on {env['processor']}, {env['threads']} threads"
        + (f", {env['gpu']}" if env["gpu"] else "")
        + f"; {versions}.",
        "",
    ]
    for device, found in report["ceilings"].items():
        rates = f"{found['flop_per_s'] / 1e9:.0f} GFLOP/s in a float32 matrix product"
        lines.append(f"Ceilings, {device}: {rates}, {found['bytes_per_s'] / 1e9:.1f} GB/s in a copy.")
    if report["rows"]:
        lines += [
            "",
            "| op | device | B N H K M P | version | median ms | 10-90 % | GFLOP/s | GB/s | of floor | vs best peer |",
            "|---|---|---|---|---:|---|---:|---:|---:|---:|",
        ]
        lines += [_row(row) for row in report["rows"]]
    if "startup_seconds" in report:
        times = report["startup_seconds"]
        lines += ["", f"Import to first step: {times['cold']:.1f} s with a cold cache, {times['warm']:.1f} s warm."]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    sizes = " ".join(str(v) for v in row["shapes"].values())
    name = row["version"] if row["peer"] else f"**{row['version']}**"
    ratio = "" if row["ratio_to_best_peer"] is None or row["peer"] else f"{row['ratio_to_best_peer']:.2f}x"
    return (
        f"| {row['op']} | {row['device']} | {sizes} | {name} | {row['seconds'] * 1e3:.3g} "
        f"| {row['seconds_10'] * 1e3:.3g}-{row['seconds_90'] * 1e3:.3g} | {row['gflop_per_s']:.3g} "
        f"| {row['gbyte_per_s']:.3g} | {row['fraction_of_floor']:.0%} | {ratio} |"
    )


def plot(report: dict[str, Any], path: Path) -> None:
    """Bars of each contest's times relative to its best peer, one panel a shape."""
    from matplotlib.figure import Figure

    contests: dict[tuple, list[dict]] = {}
    for row in report["rows"]:
        contests.setdefault((row["device"], tuple(row["shapes"].items())), []).append(row)
    figure = Figure(figsize=(9, 2.6 * len(contests)), layout="constrained")
    for axes, ((device, shape), rows) in zip(
        figure.subplots(len(contests), squeeze=False)[:, 0], contests.items(), strict=True
    ):
        ops = list(dict.fromkeys(row["op"] for row in rows))
        best_peer = {op: min(r["seconds"] for r in rows if r["op"] == op and r["peer"]) for op in ops}
        ours = {op: min((r["seconds"] for r in rows if r["op"] == op and not r["peer"]), default=0.0) for op in ops}
        floors = {op: next(r["floor_seconds"] for r in rows if r["op"] == op) for op in ops}
        for i, op in enumerate(ops):
            axes.bar(i - 0.2, best_peer[op] * 1e3, 0.38, color="#9aa5b1", label="best PyTorch peer" * (i == 0))
            axes.bar(i + 0.2, ours[op] * 1e3, 0.38, color="#1f6f8b", label="partae" * (i == 0))
            axes.hlines(floors[op] * 1e3, i - 0.4, i + 0.4, color="#c0392b", label="floor" * (i == 0))
            if ours[op]:
                axes.annotate(f"{best_peer[op] / ours[op]:.1f}x", (i + 0.2, ours[op] * 1e3), ha="center", va="bottom")
        axes.set(title=f"{device}: " + ", ".join(f"{k} {v}" for k, v in shape), ylabel="median, ms", yscale="log")
        axes.set_xticks(range(len(ops)), ops, fontsize=8)
        axes.margins(y=0.2)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        file = Path(name)
        rows = json.loads(file.read_text())
        file.with_suffix(".md").write_text(table(rows) + "\n")
        if rows["rows"]:
            plot(rows, file.with_suffix(".png"))
