"""Measure training by several processes: steps per second, bytes sent, an estimate for more ranks.

Each shape is trained by one process in launches of many steps, as `partae train` does, by one process op by op, and by
several processes (ranks) op by op, each with one thread. Training on one machine without a GPU does not become faster
this way. The measurement shows the time of exchanging gradients compared with the work that is shared, and that the
losses agree with those of one process.
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
TOLERANCE = 1e-5  # largest relative difference of the losses of the first SAME_STEPS steps
SAME_STEPS = 10
# Bytes per second in one direction, from the specifications.
LINKS = {"10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 32e9, "NVLink of an H100": 450e9}
# Seconds per item on a GPU in the paper's configuration: 0.2 ms for 4096, predicted (bench/results/gpu/predictions.md).
GPU_ITEM = 0.2e-3 / 4096


@dataclass(frozen=True)
class Shape:
    """The sizes B, N, H, K, M and P of a training step, with a name."""

    name: str
    batch: int
    frames: int
    bins: int
    latents: int
    taps: int
    pool: int

    @property
    def gradient_bytes(self) -> int:
        """Return the size in bytes of a step's gradients, in float32."""
        return 4 * 2 * self.taps * self.bins * self.latents


SHAPES = (
    Shape("the paper's", 16, 512, 32, 32, 9, 16),
    Shape("preset field", 8, 128, 128, 64, 9, 4),
    Shape("128 items of the paper's", 128, 512, 32, 32, 9, 16),
)


def main(arguments: list[str]) -> int:
    parser = options("ddp", __doc__ or "")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes (default 1 2 4)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of training per row (default %(default)s)")
    args = parser.parse_args(arguments)
    rows = []
    for shape in SHAPES:
        in_launches = _measure(shape, 1, "launches", args.seconds)
        of_shape = [in_launches, *(_measure(shape, ranks, "ops", args.seconds) for ranks in args.ranks)]
        true_losses = in_launches["losses"]
        for row in of_shape:
            row["loss_differs"] = float(np.max(np.abs(np.divide(row.pop("losses"), true_losses) - 1)))
            say(f"{row['shape']}, {row['ranks']} ranks, {row['by']}: {row['steps_per_second']:.1f} steps/s")
        rows += of_shape
    report = {"rows": rows, "claims": _claims(rows), "on_paper": _estimates(rows)}
    return write(args.results, "ddp", report, "Training by several processes", _lines(report))


def _measure(shape: Shape, ranks: int, by: str, seconds: float) -> dict[str, Any]:
    """Train in `ranks` new processes; return a row of results."""
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


class _WholeBatches(pf.CropSampler):
    """A sampler that overrides `batch_at`, so that training calls the ops one by one."""

    def batch_at(self, step: int, items: range | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return super().batch_at(step, items)


def _work(shape: Shape, by: str, seconds: float) -> None:
    """Train as one rank; the first rank prints the row of results."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        trainer = _trainer(shape, ranks, by)
        losses = list(trainer.run(SAME_STEPS).loss)
        elapsed, rate, steps = 0.0, 0.0, SAME_STEPS
        while elapsed < seconds:
            start = time.perf_counter()
            trainer.run(steps)
            elapsed = max(ranks.gather(time.perf_counter() - start))
            rate = steps / elapsed
            steps *= 2
        row = {
            "shape": shape.name,
            "ranks": ranks.count,
            "by": by,
            "steps_per_second": rate,
            "bytes_to_each": shape.gradient_bytes if ranks.count > 1 else 0,
            "exchange_seconds": _exchange_seconds(shape, ranks),
            "losses": losses,
        }
        if ranks.leads:
            print(json.dumps(row))


def _trainer(shape: Shape, ranks: Ranks, by: str) -> pf.Trainer:
    random = np.random.default_rng(0)
    groups = [[random.gamma(1.0, 0.1, (4000, shape.bins)).astype(np.float32)] for _ in range(2)]
    sampler_class = _WholeBatches if by == "ops" and ranks.count == 1 else pf.CropSampler
    sampler = sampler_class([groups[0]], [groups[1]], shape.frames, shape.batch, 0.25, 0)
    model = pf.ConvPartitionedAutoencoder(shape.bins, shape.latents, shape.taps, shape.pool)
    return pf.Trainer(model, sampler, optimizer="adam", backend="cpu", ranks=ranks)


def _exchange_seconds(shape: Shape, ranks: Ranks) -> float:
    """Return the seconds of one sum of gradients over the ranks, the median of 50."""
    if ranks.count == 1:
        return 0.0
    gradients, times = torch.zeros(shape.gradient_bytes // 4), []
    for _ in range(50):
        start = time.perf_counter()
        ranks.sum(gradients)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _claims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {
        f"with every number of ranks, the losses of {SAME_STEPS} steps agree with one process to {TOLERANCE:g}": all(
            row["loss_differs"] <= TOLERANCE for row in rows
        )
    }


def _estimates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the estimated number of ranks beyond which training becomes little faster.

    A rank computes for B t / R seconds, where t is the time of an item. A ring sum sends 2 (R - 1) S / R bytes to each
    rank, at L bytes per second. Both take the same time if R - 1 = B t L / (2 S).
    """
    limits = []
    for shape in SHAPES:
        (row,) = (r for r in rows if r["shape"] == shape.name and r["by"] == "ops" and r["ranks"] == 1)
        item = 1 / row["steps_per_second"] / shape.batch
        for link, rate in LINKS.items():
            limits.append(
                _limit(f"{shape.name}, one core per rank", shape.batch, item, shape.gradient_bytes, link, rate)
            )
    for batch in (4096, 32768):
        for link, rate in LINKS.items():
            limits.append(
                _limit("the paper's, one GPU per rank", batch, GPU_ITEM, SHAPES[0].gradient_bytes, link, rate)
            )
    return limits


def _limit(work: str, batch: int, item: float, gradient_bytes: int, link: str, rate: float) -> dict[str, Any]:
    ranks = 1 + batch * item * rate / (2 * gradient_bytes)
    return {
        "what": work,
        "batch": batch,
        "bytes_an_item": gradient_bytes / batch,
        "link": link,
        "ranks": min(ranks, batch),
    }


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        "Each process has one thread; ranks communicate by gloo. Exchange: the time of the sum of gradients alone.",
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
        "Estimate: a rank computes for B t / R and receives 2 (R - 1) S / R bytes, for any batch size. Both take the"
        " same time if R - 1 = B t L / (2 S), at L bytes per second. With more ranks, a step becomes little faster. The"
        " time t of an item is measured above (one core per rank) or predicted (one GPU per rank). Latency is not"
        " included.",
        "",
        "| work | B | bytes per item | link | saturates at R |",
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
