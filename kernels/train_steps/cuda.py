"""train_steps in CUDA C: one launch takes all steps of a run, or of many runs beside one another.

`train_steps.cuh` explains the kernel. Here a `Plan` cuts the work for a card, runs are packed as the kernel reads them,
and the kernel is compiled, once for each plan, and launched.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..optimiser import RULES
from .run import Run

OPTIMISERS = ("adadelta", "adam", "sgd")  # in the order of the kernel's enum
PRECISIONS = ("ffma", "tf32", "3xtf32")  # of the encoder's products, in the order of the kernel's PRECISION
WARP = 32

# struct Run of the kernel, without padding.
RUN = np.dtype(
    [
        ("weights", "u8", 2),
        ("state", "u8", (2, 2)),
        *((name, "u8") for name in ("source", "mean", "inverse_std", "foreground")),
        *((name, "u8") for name in ("starts_before", "shift", "group_first", "group_starts")),
        ("options", "f8", 4),
        ("latent_weight", "f8"),
        ("seed", "u8"),
        ("recordings", "i4"),
        ("noise_items", "i4"),
    ]
)
# struct Launch.
LAUNCH = np.dtype(
    [
        *((name, "u8") for name in ("runs", "partials", "loss_partials", "losses", "counter")),
        ("first", "u4"),
        *((name, "i4") for name in ("steps", "batch", "frames", "signal_groups", "noise_groups", "optimiser")),
    ],
    align=True,
)


def _cover(count: int, by: int) -> int:
    return -(-count // by)


def _up(count: int, to: int) -> int:
    return _cover(count, to) * to


@dataclass(frozen=True)
class Plan:
    """How the kernel cuts its work; `train_steps.cuh` says what each number is."""

    bins: int
    latents: int
    taps: int
    pool: int
    own: int  # windows that a tile owns
    frames: int  # that a thread encodes at once; on tensor cores: times 16, a warp
    slices: int  # into which the encoder's sums are cut
    taps_each: int  # taps whose gradients a thread keeps
    threads: int = 256
    split: int = 1  # blocks that share a tile's latents
    lanes: int = 1  # tiles at once in a cluster
    precision: str = "ffma"
    population: bool = False

    @property
    def cluster(self) -> int:
        return self.split * self.lanes

    @property
    def halo(self) -> int:
        return _cover(self.taps - 1, self.pool)

    @property
    def windows(self) -> int:
        """Of a tile, with its halo."""
        return self.own + 2 * self.halo

    @property
    def vector(self) -> int:
        return 4 if self.precision == "ffma" else 8

    @property
    def block_bins(self) -> int:
        return _up(self.bins, self.vector)

    @property
    def block_latents(self) -> int:
        return _up(_cover(self.latents, self.split), self.vector)

    @property
    def encoded(self) -> int:
        """Frames that are encoded for a tile."""
        return _up(self.windows * self.pool, self.frames * (2 if self.precision == "ffma" else 16))

    @property
    def error_rows(self) -> int:
        return self.own * self.pool + self.taps - 1

    @property
    def columns(self) -> int:
        """Groups of taps x 4 bins of a latent, of which each thread has some."""
        return _cover(self.taps, self.taps_each) * self.block_latents * self.block_bins // 4

    @property
    def columns_each(self) -> int:
        return _cover(self.columns, self.threads)

    @property
    def gradient(self) -> int:
        """Numbers in a block's partial gradients, of both filter banks."""
        return 2 * self.block_latents * self.taps * self.block_bins

    def shared_bytes(self, groups: int) -> int:
        """Shared memory of a block, where an item is the sum of at most `groups` crops."""
        bins, latents, stride = self.block_bins, self.block_latents, self.block_bins + 4
        filter_stride = latents if self.precision == "ffma" or latents % 16 == 8 else latents + 8
        exchange = self.error_rows * bins if self.split > 1 else 0
        mine = self.windows * latents
        floats = (
            self.taps * bins * (filter_stride + latents)
            + (self.encoded + self.taps - 1 + self.error_rows) * stride
            + max(self.slices * self.encoded * latents, exchange)
            + self.own * latents * (_cover(self.taps, self.taps_each) * bins // 4 + 1)
            + 4 * mine
            + _up(self.windows * (self.pool + 1), 4)
            + 4 * self.threads
        )
        return 4 * floats + RUN.itemsize + 8 * groups

    def tiles(self, batch: int, frames: int) -> int:
        return batch * _cover(_cover(frames, self.pool), self.own)

    def macros(self) -> dict[str, int]:
        """What the compiler is given by -D."""
        return {
            "H": self.bins,
            "K": self.latents,
            "M": self.taps,
            "P": self.pool,
            "OWN": self.own,
            "FRAMES": self.frames,
            "SLICES": self.slices,
            "TAPS": self.taps_each,
            "THREADS": self.threads,
            "SPLIT": self.split,
            "LANES": self.lanes,
            "PRECISION": PRECISIONS.index(self.precision),
            "POPULATION": int(self.population),
        }


@dataclass(frozen=True)
class Packed:
    """A launch as the kernel reads it, and the tensors that its pointers lead to."""

    launch: np.ndarray  # one LAUNCH
    losses: Tensor  # (runs, steps) float64, filled by the launch
    kept: tuple[Tensor, ...]


def packed(runs: Sequence[Run], plan: Plan, blocks: int, first: int, steps: int) -> Packed:
    """The launch of `steps` steps of the runs on `blocks` blocks, its memory on the runs' device."""
    device = runs[0].w_enc.device
    kept: list[Tensor] = []

    def pointer(numbers: Tensor | np.ndarray) -> int:
        kept.append(torch.as_tensor(numbers).to(device).contiguous())
        return kept[-1].data_ptr()

    table = np.zeros(len(runs), RUN)
    for row, run in zip(table, runs, strict=True):
        crops = run.crops
        row["weights"] = run.w_enc.data_ptr(), run.w_dec.data_ptr()
        for bank, name in enumerate(("w_enc", "w_dec")):
            for i, tensor in enumerate(run.state[name]):
                row["state"][bank, i] = tensor.data_ptr()
        row["source"] = pointer(crops.source)
        row["mean"] = pointer(run.mean.float())
        row["inverse_std"] = pointer((1 / run.std.double()).float())
        row["foreground"] = pointer(run.foreground.float())
        for name in ("starts_before", "shift", "group_first", "group_starts"):
            row[name] = pointer(np.ascontiguousarray(getattr(crops, name), dtype=np.int64))
        options = [run.options[name] for name in RULES[run.optimizer].options]
        row["options"][: len(options)] = options
        row["latent_weight"] = run.latent_weight
        row["seed"] = crops.seed
        row["recordings"] = len(crops.shift)
        row["noise_items"] = crops.noise_items

    crops = runs[0].crops
    losses = torch.empty(len(runs), steps, dtype=torch.float64, device=device)
    partials = 0 if plan.population else blocks // plan.cluster * plan.split * plan.gradient
    launch = np.zeros(1, LAUNCH)
    launch["runs"] = pointer(table.view(np.uint8))
    launch["partials"] = pointer(torch.empty(partials, device=device))
    launch["loss_partials"] = pointer(torch.empty(2 * blocks, dtype=torch.float64, device=device))
    launch["losses"] = losses.data_ptr()
    launch["counter"] = pointer(torch.zeros(1, dtype=torch.int32, device=device))
    launch["first"], launch["steps"] = first, steps
    launch["batch"], launch["frames"] = crops.batch, crops.frames
    launch["signal_groups"] = crops.signal_groups
    launch["noise_groups"] = len(crops.group_first) - crops.signal_groups
    launch["optimiser"] = OPTIMISERS.index(runs[0].optimizer)
    return Packed(launch, losses, tuple(kept))


def groups_of(run: Run) -> int:
    """How many crops an item is the sum of, at most."""
    return max(run.crops.signal_groups, len(run.crops.group_first) - run.crops.signal_groups)
