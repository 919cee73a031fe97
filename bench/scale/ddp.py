"""Training by several processes: steps a second with one and two ranks, what they send, and how it goes on on paper.

Each shape is trained by one process in whole launches, as `partae train` does it, by one op by op, and by ranks, which
call ops as well, each with one thread. On one machine without a GPU that is no way to train faster; what it tells is
what an exchange costs beside the work that it shares out, and that the losses are those of one process.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import partae_fast as pf
from partae_fast.training.distributed import Ranks, joined

from .common import options, say, write

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5  # of the losses of the first ten steps
SAME_STEPS = 10
# Bytes a second in one direction, as their makers print them.
LINKS = {"10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 32e9, "NVLink of an H100": 450e9}
# Seconds for an item on a GPU at the paper's sizes: 0.2 ms for 4096, predicted (bench/results/gpu/predictions.md).
GPU_ITEM = 0.2e-3 / 4096


@dataclass(frozen=True)
class Shape:
    """B, N, H, K, M, P."""

    name: str
    batch: int
    frames: int
    bins: int
    latents: int
    taps: int
    pool: int

    @property
    def sent(self) -> int:
        """Bytes of a step's gradients, float32."""
        return 4 * 2 * self.taps * self.bins * self.latents


SHAPES = (
    Shape("the paper's", 16, 512, 32, 32, 9, 16),
    Shape("preset field", 8, 128, 128, 64, 9, 4),
    Shape("128 items of the paper's", 128, 512, 32, 32, 9, 16),
)


def main(arguments: list[str]) -> int:
    parser = options("ddp", __doc__ or "")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="default 1 2 4")
    parser.add_argument("--seconds", type=float, default=3.0, help="of training for each row (default %(default)s)")
    args = parser.parse_args(arguments)
    rows = []
    for shape in SHAPES:
        whole = _measure(shape, 1, "launches", args.seconds)
        rows += [whole, *(_measure(shape, ranks, "ops", args.seconds) for ranks in args.ranks)]
        for row in rows[-1 - len(args.ranks) :]:
            row["loss_differs"] = float(np.max(np.abs(np.array(row.pop("losses")) / whole["reference"] - 1)))
        whole.pop("reference")
        for row in rows[-1 - len(args.ranks) :]:
            row.pop("reference", None)
            say(f"{row['shape']}, {row['ranks']} ranks, {row['by']}: {row['steps_per_second']:.1f} steps/s")
    report = {"rows": rows, "claims": _claims(rows), "on_paper": _on_paper(rows)}
    return write(args.results, "ddp", report, "Training by several processes", _lines(report))


def _measure(shape: Shape, ranks: int, by: str, seconds: float) -> dict[str, Any]:
    """A row, by processes of their own."""
    work = json.dumps({"shape": shape.name, "by": by, "seconds": seconds})
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        [*command, "-m", "partae_fast.bench.scale.ddp", work],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


class _Asked(pf.CropSampler):
    """Is asked for its batches, so ops are called one by one."""

    def batch_at(self, step: int, items: range | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return super().batch_at(step, items)


def _work(shape: Shape, by: str, seconds: float) -> None:
    """What a rank does; the first prints the row."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        trainer = _trainer(shape, ranks, by)
        losses = list(trainer.run(SAME_STEPS).loss)
        took, rate, steps = 0.0, 0.0, SAME_STEPS
        while took < seconds:
            start = time.perf_counter()
            trainer.run(steps)
            took = max(ranks.gather(time.perf_counter() - start))
            rate = steps / took
            steps *= 2
        row = {
            "shape": shape.name,
            "ranks": ranks.count,
            "by": by,
            "steps_per_second": rate,
            "bytes_to_each": shape.sent if ranks.count > 1 else 0,
            "exchange_seconds": _exchange(shape, ranks),
            "losses": losses,
            "reference": losses,
        }
        if ranks.leads:
            print(json.dumps(row))


def _trainer(shape: Shape, ranks: Ranks, by: str) -> pf.Trainer:
    random = np.random.default_rng(0)
    groups = [[random.gamma(1.0, 0.1, (4000, shape.bins)).astype(np.float32)] for _ in range(2)]
    kind = _Asked if by == "ops" and ranks.count == 1 else pf.CropSampler
    sampler = kind([groups[0]], [groups[1]], shape.frames, shape.batch, 0.25, 0)
    model = pf.ConvPartitionedAutoencoder(shape.bins, shape.latents, shape.taps, shape.pool)
    return pf.Trainer(model, sampler, optimizer="adam", backend="cpu", ranks=ranks)


def _exchange(shape: Shape, ranks: Ranks) -> float:
    """Return the seconds of one sum of gradients over the ranks: the median of 50."""
    if ranks.count == 1:
        return 0.0
    gradients, times = torch.zeros(shape.sent // 4), []
    for _ in range(50):
        start = time.perf_counter()
        ranks.sum(gradients)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _claims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {
        f"{SAME_STEPS} steps of every number of ranks have the losses of one process to {TOLERANCE:g}": all(
            row["loss_differs"] <= TOLERANCE for row in rows
        )
    }


def _on_paper(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the number of ranks beyond which more of them do not help.

    A rank works for B t / R, where t is an item's time, and a ring's sum moves 2 (R - 1) S / R bytes to each rank, at
    L bytes a second. Both take as long where R - 1 = B t L / (2 S).
    """
    limits = []
    for shape in SHAPES:
        (row,) = (r for r in rows if r["shape"] == shape.name and r["by"] == "ops" and r["ranks"] == 1)
        item = 1 / row["steps_per_second"] / shape.batch
        for link, rate in LINKS.items():
            limits.append(_limit(f"{shape.name}, a core each", shape.batch, item, shape.sent, link, rate))
    for batch in (4096, 32768):
        for link, rate in LINKS.items():
            limits.append(_limit("the paper's, a GPU each", batch, GPU_ITEM, SHAPES[0].sent, link, rate))
    return limits


def _limit(work: str, batch: int, item: float, sent: int, link: str, rate: float) -> dict[str, Any]:
    ranks = 1 + batch * item * rate / (2 * sent)
    return {"what": work, "batch": batch, "bytes_an_item": sent / batch, "link": link, "ranks": min(ranks, batch)}


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        "A thread to each process; ranks talk by gloo. Exchange: the sum of gradients, timed alone.",
        "",
        "| shape | ranks | by | steps/s | gradients | exchange | losses of ten steps differ by |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['shape']} | {row['ranks']} | {row['by']} | {row['steps_per_second']:.1f} | "
        f"{row['bytes_to_each'] / 1e3:.0f} kB | {1e3 * row['exchange_seconds']:.2f} ms | {row['loss_differs']:.1e} |"
        for row in report["rows"]
    ]
    lines += [
        "",
        "On paper: a rank works for B t / R and receives 2 (R - 1) S / R bytes, however large the batch. Both take as"
        " long where R - 1 = B t L / (2 S), at L bytes a second; with more ranks a step gets little faster. t, an"
        " item's time, is measured above (a core each) or predicted (a GPU each); latency is left out.",
        "",
        "| work | B | bytes an item | link | saturates at R |",
        "|---|---:|---:|---|---:|",
    ]
    lines += [
        f"| {row['what']} | {row['batch']} | {row['bytes_an_item']:.0f} | {row['link']} | {row['ranks']:.0f} |"
        for row in report["on_paper"]
    ]
    return lines


if __name__ == "__main__":
    row = json.loads(sys.argv[1])
    _work(next(shape for shape in SHAPES if shape.name == row["shape"]), row["by"], row["seconds"])
