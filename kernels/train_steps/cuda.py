"""train_steps in CUDA C: one launch runs all steps of a run, or of many runs side by side.

`train_steps.cuh` describes the kernel. This module makes a `Plan` of the work for a GPU, packs the runs for the kernel,
compiles the kernel once for each plan, and launches it.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._cuda.common import CLUSTERS, Kernel, Limits, compiled, cupy_failure, device_limits, installed
from ..registry import BackendUnavailable
from ..tf32 import tf32_allowed
from .optimizer import RULES
from .training_run import TrainingRun

OPTIMIZERS = tuple(RULES)  # in the order of the kernel's enum
PRECISIONS = ("ffma", "tf32", "3xtf32")  # of the encoder's products, in the order of the kernel's PRECISION
THREADS = 256  # of a block, with up to 255 registers each
REGISTERS = 244  # of 255: the estimate may be too low
EXTRAS = (
    "corruption",
    "negative_slope",
    "rectified_output",
)  # each a flag of the kernel, which is compiled without those that are not needed
TAPS_MAX = 64  # the encoder's loop over taps is unrolled
Shape = tuple[int, int, int, int, int, int]  # B, N, H, K, M, P

TABLES = ("starts_before", "shift", "group_first", "group_starts")  # of Crops
# struct TrainingRun of the kernel, without padding.
RUN = np.dtype(
    [
        ("weights", "u8", 2),
        ("state", "u8", (2, 2)),
        *((name, "u8") for name in ("source", "mean", "inverse_std", "foreground", *TABLES)),
        ("options", "f8", 4),
        ("weight_decay", "f8"),
        ("latent_weight", "f8"),
        ("seed", "u8"),
        ("recordings", "i4"),
        ("noise_items", "i4"),
        ("step", "u4"),
        ("barriers", "u4"),
    ]
)
# struct Launch.
LAUNCH = np.dtype(
    [
        *((name, "u8") for name in ("runs", "partials", "loss_partials", "losses", "counter")),
        *((name, "i4") for name in ("steps", "batch", "frames")),
        *((name, "i4") for name in ("signal_groups", "noise_groups", "corruption_groups", "optimizer")),
        ("negative_slope", "f4"),
    ],
    align=True,
)


def _cover(count: int, by: int) -> int:
    return -(-count // by)


def _up(count: int, to: int) -> int:
    return _cover(count, to) * to


@dataclass(frozen=True)
class Plan:
    """The division of the work by the kernel; `train_steps.cuh` describes each number."""

    bins: int
    latents: int
    taps: int
    pool: int
    own: int  # windows in a tile, without its halo
    frames: int  # frames that a thread encodes at a time; on tensor cores a warp encodes 16 times as many
    slices: int  # parts of the encoder's sums
    taps_each: int  # taps whose gradients a thread sums
    threads: int = 256
    split: int = 1  # blocks that share the latents of a tile
    lanes: int = 1  # tiles at a time in a cluster
    precision: str = "ffma"
    population: bool = False
    extras: tuple[str, ...] = ()  # those of EXTRAS that the runs need

    @property
    def cluster(self) -> int:
        return self.split * self.lanes

    @property
    def halo(self) -> int:
        return _cover(self.taps - 1, self.pool)

    @property
    def windows(self) -> int:
        """Windows of a tile, with its halo."""
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
        """Groups of taps x 4 bins of a latent, which the threads share."""
        return _cover(self.taps, self.taps_each) * self.block_latents * self.block_bins // 4

    @property
    def columns_each(self) -> int:
        return _cover(self.columns, self.threads)

    @property
    def gradient(self) -> int:
        """Numbers in a block's partial gradients, of both filter banks."""
        return 2 * self.block_latents * self.taps * self.block_bins

    def shared_bytes(self, groups: int) -> int:
        """Return the bytes of shared memory of a block, for items of at most `groups` crops."""
        bins, latents, stride = self.block_bins, self.block_latents, self.block_bins + 4
        filter_stride = latents if self.precision == "ffma" or latents % 16 == 8 else latents + 8
        exchange = self.error_rows * bins if self.split > 1 else 0
        pooled = self.windows * latents
        floats = (
            self.taps * bins * (filter_stride + latents)
            + (self.encoded + self.taps - 1 + self.error_rows) * stride
            + max(self.slices * self.encoded * filter_stride, exchange)
            + self.own * latents * (_cover(self.taps, self.taps_each) * bins // 4 + 1)
            + 4 * pooled
            + _up(self.windows * (self.pool + 1), 4)
            + 4 * self.threads
        )
        return 4 * floats + RUN.itemsize + 8 * groups

    def tiles(self, batch: int, frames: int) -> int:
        return batch * _cover(_cover(frames, self.pool), self.own)

    def macros(self) -> dict[str, int]:
        """Return the macros that the compiler gets by -D."""
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
            **{name.upper(): int(name in self.extras) for name in EXTRAS},
        }


@dataclass(frozen=True)
class Packed:
    """A launch in the layout of the kernel, and the tensors that its pointers refer to."""

    launch: np.ndarray  # one LAUNCH
    losses: Tensor  # (runs, steps) float64, filled by the launch
    kept: tuple[Tensor, ...]


def packed(runs: Sequence[TrainingRun], plan: Plan, blocks: int, first: int, steps: int) -> Packed:
    """Return the launch of `steps` steps of the runs on `blocks` blocks, with memory on the runs' device.

    What the host knows is copied there once, from pinned memory: no copy waits for the stream.
    """
    device, crops = runs[0].w_enc.device, runs[0].crops
    kept: list[Tensor] = []

    def pointer(numbers: Tensor) -> int:
        kept.append(numbers.contiguous())
        return kept[-1].data_ptr()

    tables = [[np.ascontiguousarray(getattr(run.crops, name), dtype=np.int64) for name in TABLES] for run in runs]
    head = np.dtype([("counter", "u8"), ("runs", RUN, len(runs))])
    size = head.itemsize + sum(table.nbytes for own in tables for table in own)
    on_host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    on_device = torch.empty(size, dtype=torch.uint8, device=device)
    data, address = on_host.numpy(), pointer(on_device)
    begin = data[: head.itemsize].view(head)
    begin[:] = 0
    end = head.itemsize
    for row, run, own in zip(begin["runs"][0], runs, tables, strict=True):
        row["weights"] = run.w_enc.data_ptr(), run.w_dec.data_ptr()
        for bank, name in enumerate(("w_enc", "w_dec")):
            for i, tensor in enumerate(run.state[name]):
                row["state"][bank, i] = tensor.data_ptr()
        row["source"] = pointer(run.crops.source)
        row["mean"] = pointer(run.mean.float())
        row["inverse_std"] = pointer((1 / run.std.double()).float())
        row["foreground"] = pointer(run.foreground.float())
        for name, table in zip(TABLES, own, strict=True):
            row[name] = address + end
            data[end : end + table.nbytes] = table.view(np.uint8)
            end += table.nbytes
        options = [run.options[name] for name in RULES[run.optimizer].options if name != "weight_decay"]
        row["options"][: len(options)] = options
        row["weight_decay"] = run.options["weight_decay"]
        row["latent_weight"] = run.latent_weight
        row["seed"] = run.crops.seed
        row["recordings"] = len(run.crops.shift)
        row["noise_items"] = run.crops.noise_items
        row["step"] = first
    on_device.copy_(on_host, non_blocking=True)

    losses = torch.empty(len(runs), steps, dtype=torch.float64, device=device)
    partials = 0 if plan.population else blocks // plan.cluster * plan.split * plan.gradient
    launch = np.zeros(1, LAUNCH)
    launch["runs"] = address + begin["runs"].ctypes.data - data.ctypes.data
    launch["partials"] = pointer(torch.empty(partials, device=device))
    launch["loss_partials"] = pointer(torch.empty(2 * blocks, dtype=torch.float64, device=device))
    launch["losses"] = losses.data_ptr()
    launch["counter"] = address
    launch["steps"] = steps
    launch["batch"], launch["frames"] = crops.batch, crops.frames
    launch["signal_groups"] = crops.signal_groups
    launch["noise_groups"], launch["corruption_groups"] = crops.noise_groups, crops.corruption_groups
    launch["negative_slope"] = runs[0].negative_slope
    launch["optimizer"] = OPTIMIZERS.index(runs[0].optimizer)
    return Packed(launch, losses, tuple(kept))


def groups_of(run: TrainingRun) -> int:
    """Return the maximum number of crops in an item."""
    return max(run.crops.signal_groups, run.crops.noise_groups) + run.crops.corruption_groups


def extras_of(run: TrainingRun) -> tuple[str, ...]:
    """Return the EXTRAS that the run needs."""
    needs = run.crops.corruption_groups > 0, run.negative_slope > 0, run.rectified_output
    return tuple(name for name, needed_here in zip(EXTRAS, needs, strict=True) if needed_here)


def encode_cycles(plan: Plan) -> float:
    """Return a multiprocessor's cycles to encode a tile: those of its busiest unit."""
    warps = plan.threads // 32
    if plan.precision == "ffma":
        tasks = plan.encoded // plan.frames * plan.block_latents // 4 * plan.slices
        # For a tap and 4 bins a warp issues 16 FMA for each frame and 5 loads of about 3 lines of banks each.
        each = max((16 * plan.frames + 6) / 4, 5 * 3)
        return _cover(tasks, plan.threads) * plan.taps * _cover(plan.block_bins // 4, plan.slices) * warps * each * 1.1
    tasks = plan.encoded // (16 * plan.frames) * plan.slices
    terms, splitting = (3, 3) if plan.precision == "3xtf32" else (1, 1)
    across = plan.block_latents // 8
    fragments = 4 * plan.frames + 2 * across  # numbers that a lane loads and rounds
    each = max(6.5 * terms * plan.frames * across, fragments * (1 + splitting) + terms * plan.frames * across + 6)
    return _cover(tasks, warps) * plan.taps * _cover(plan.block_bins // 8, plan.slices) * each * warps / 4


def step_cycles(plan: Plan, batch: int, frames: int, runs: int, limits: Limits) -> float:
    """Estimate the cycles of a step of all runs together, to compare plans.

    Sparse passes run at the bandwidth of shared memory, 128 bytes per cycle. L2 delivers 28 bytes per cycle to a
    multiprocessor, and another block's shared memory 13. A grid barrier takes 2200 cycles and a cluster's 300.
    """
    warps, resident = plan.threads // 32, limits.resident(plan.cluster)
    tiles = plan.tiles(batch, frames)
    lanes = plan.lanes if plan.population else plan.lanes * min(resident, _cover(tiles, plan.lanes))
    gradient = 4 * plan.gradient
    passes = plan.columns_each * plan.own * warps * (8 * plan.taps_each + 8)
    decode = 1.4 * plan.error_rows * plan.block_latents * plan.taps / plan.pool * plan.block_bins / 32
    pooling = _cover(plan.windows * plan.block_latents, plan.threads) * plan.pool * (plan.slices + 3) * warps / 4
    ordered = plan.windows * (plan.block_latents + plan.pool + 1)
    sort = _cover(ordered, plan.threads) * 2 * plan.block_latents * warps / 4
    drawn = _cover(plan.encoded * plan.block_bins // 4, plan.threads) * 30 * warps / 4 + 600
    tile = encode_cycles(plan) + pooling + sort + decode + passes + 600
    if plan.split > 1:
        moved = 1 if plan.split == 2 else 2 * (plan.split - 1) / plan.split
        tile += (600 if plan.split == 2 else 900) + moved * 4 * plan.error_rows * plan.block_bins / 13
    rounds = _cover(tiles, lanes)
    step = rounds * tile + (rounds - 1) * drawn + gradient / 28 + 700
    if plan.population or plan.lanes > 1:
        step += gradient / 128 + gradient * (plan.lanes - 1) / plan.lanes / 13 + 300
    if plan.population:
        step += 300 + 1000 * plan.gradient / plan.lanes / (4 * plan.threads)
        return step * _cover(runs, resident)
    return runs * (step + 2 * gradient / plan.lanes / 28 + 900 + 2 * 2200)


def _registers(plan: Plan) -> int:
    """Estimate the registers of a thread: sums of gradients plus those of the encoder or of a filter."""
    sums = 8 * plan.columns_each * plan.taps_each
    encoder = 8 * plan.frames + 16 if plan.precision == "ffma" else plan.frames * plan.block_latents // 2 + 40
    return sums + max(encoder, 4 * plan.taps_each + 8) + 60


def candidates(shape: Shape, limits: Limits, population: bool) -> Iterator[Plan]:
    """Yield every plan whose registers fit a block; shared memory is not checked."""
    _, frames, bins, latents, taps, pool = shape
    windows = _cover(frames, pool)
    owns = sorted({_cover(windows, parts) for parts in range(1, windows + 1)})
    for precision in PRECISIONS:
        for split in CLUSTERS:
            for lanes in CLUSTERS:
                if not limits.resident(split * lanes):
                    continue
                sample = Plan(bins, latents, taps, pool, 1, 1, 1, taps, THREADS, split, lanes, precision, population)
                if sample.block_latents * (split - 1) >= latents > 1:
                    continue  # a block without latents
                cuts = [(t, _cover(sample.columns * _cover(taps, t), THREADS)) for t in range(1, taps + 1)]
                taps_each = min(cuts, key=lambda cut: (cut[1] * (cut[0] + 1), cut[1]))[0]
                most = limits.shared // (8 * sample.block_bins * pool)  # windows whose xn and e fill it
                for own in (own for own in owns if own <= max(most, 1)):
                    for at_once in (2, 4, 6, 8) if precision == "ffma" else (1, 2):
                        for slices in (1, 2, 4, 8):
                            if slices > sample.block_bins // sample.vector:
                                continue
                            cut = own, at_once, slices, taps_each, THREADS, split, lanes, precision, population
                            plan = Plan(bins, latents, taps, pool, *cut)
                            if _registers(plan) <= REGISTERS:
                                yield plan


@functools.cache
def plan(
    shape: Shape,
    limits: Limits,
    groups: int = 1,
    runs: int = 1,
    tf32: bool = False,
    extras: tuple[str, ...] = (),
    **fields,
) -> Plan | None:
    """Return the plan for `shape` with the lowest estimate on a GPU, or None if none fits.

    An item is the sum of at most `groups` crops. More than one run is a population. TF32 is used only if allowed;
    `extras` are of EXTRAS. `fields` fixes fields of the plan, for measurements, such as precision="ffma", split=2.
    """
    batch, frames = shape[:2]
    best, least = None, float("inf")
    for candidate in candidates(shape, limits, runs > 1):
        if candidate.precision == "tf32" and not (tf32 or fields.get("precision") == "tf32"):
            continue
        if any(getattr(candidate, name) != value for name, value in fields.items()):
            continue
        if candidate.shared_bytes(groups) > limits.shared:
            continue
        cycles = step_cycles(candidate, batch, frames, runs, limits)
        if cycles < least:
            best, least = candidate, cycles
    return best and replace(best, extras=extras)


def why_not(shape: Shape, limits: Limits, groups: int, runs: int) -> str | None:
    """Return why no plan for `shape` fits the GPU, with numbers, or None if one does."""
    _, _, bins, latents, taps, pool = shape
    if limits.capability < 80:
        major, minor = divmod(limits.capability, 10)
        return f"it needs compute capability 8.0 or higher and this GPU has {major}.{minor}; use triton or eager"
    if taps > TAPS_MAX:
        return f"it takes up to {TAPS_MAX} taps and the model has {taps}; use triton or eager"
    if plan(shape, limits, groups, runs) is not None:
        return None
    size = f"H {bins}, K {latents}, M {taps}, P {pool}"
    if not any(count for _, count in limits.clusters):
        return "the driver finds no room for a block of the kernel; use triton or eager"
    needed = [p.shared_bytes(groups) for p in candidates(shape, limits, runs > 1)]
    most = max(size for size, count in limits.clusters if count)
    if not needed:
        return (
            f"the gradients of {size} over {most} blocks of {THREADS} threads do not fit their registers;"
            " use triton or eager"
        )
    return (
        f"{size} need at least {min(needed)} bytes of shared memory a block, latents split over up to {most} blocks,"
        f" and this GPU has {limits.shared}; use triton or eager"
    )


def refusal(runs: Sequence[TrainingRun]) -> str | None:
    run = runs[0]
    if not installed():
        return "cupy is not installed; pip install 'partae-fast[gpu]'"
    if run.w_enc.device.type != "cuda":
        return f"it needs tensors on a CUDA device and these are on {run.w_enc.device}; move them or use cpu or eager"
    if any(run.crops.target is not None for run in runs):
        return "it does not take recordings with targets of their own; use eager"
    if broken := cupy_failure():
        return broken
    for each in runs:
        if reason := each.memory_refusal((torch.float32,)):
            return reason
    limits = device_limits(run.w_enc.device.index or 0)
    return why_not(run.shape, limits, groups_of(run), len(runs))


def patience() -> int:
    """Return the milliseconds after which a block that waits in a grid barrier ends the launch; 0 is for ever.

    The environment variable PARTAE_PATIENCE sets them, for the first runs on a machine.
    """
    text = os.environ.get("PARTAE_PATIENCE", "0")
    if not text.isdecimal():
        raise ValueError(f"PARTAE_PATIENCE is {text!r}; give whole milliseconds, such as 1000, or 0 to wait for ever")
    return int(text)


@functools.cache
def prepared(
    shape: Shape, groups: int, runs: int, tf32: bool, extras: tuple[str, ...], device: int, **fields
) -> tuple[Plan, Kernel, int]:
    """Return the plan, its kernel and the blocks of a launch on `device`, which is current; `fields` is for `plan`."""
    limits = device_limits(device)
    while True:
        cut = plan(shape, limits, groups, runs, tf32, extras, **fields)
        if cut is None:
            reason = why_not(shape, limits, groups, runs) or f"no plan has {fields}"
            raise BackendUnavailable(f"back-end cuda cannot run train_steps here: {reason}")
        file, shared = "train_steps/train_steps.cuh", cut.shared_bytes(groups)
        macros = cut.macros() | {"PATIENCE": patience()}
        kernel = compiled(file, "train_steps", macros, cut.threads, cut.cluster, shared, cooperative=not cut.population)
        resident = kernel.resident()
        if resident >= limits.resident(cut.cluster):
            break
        limits = limits.with_resident(cut.cluster, resident)  # fewer than assumed: another plan may be better
    clusters = runs if cut.population else min(resident, _cover(cut.tiles(*shape[:2]), cut.lanes))
    return cut, kernel, clusters * cut.cluster


def train_steps(runs: Sequence[TrainingRun], first: int, steps: int, **fields) -> Tensor:
    """Train; `fields` fixes fields of the plan, for measurements."""
    reason = refusal(runs)
    if reason:
        raise BackendUnavailable(f"back-end cuda cannot run train_steps here: {reason}")
    with torch.cuda.device(runs[0].w_enc.device):
        tf32, device = tf32_allowed("convolution"), torch.cuda.current_device()
        needs = groups_of(runs[0]), len(runs), tf32, extras_of(runs[0])
        cut, kernel, blocks = prepared(runs[0].shape, *needs, device, **fields)
        launch_data = packed(runs, cut, blocks, first, steps)
        kernel.launch(blocks, launch_data.launch, torch.cuda.current_stream().cuda_stream)
    return launch_data.losses
