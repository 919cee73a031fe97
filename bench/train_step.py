"""Contests of whole training steps: drawing and mixing crops, loss, gradients and AdaDelta (rho 0.95).

First every version takes CHECKED steps from the same weights. It is timed only if their losses agree with those in
float64. Every sample starts from the weights and the optimizer's state after these steps. So all versions time the same
steps, with the same number of active latents, which changes as a model learns. After the timing, the first of these
steps must give the same loss as before.
"""

import gc
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partae_fast.kernels import OPS, implementation
from partae_fast.kernels.tf32 import tf32
from partae_fast.kernels.train_steps import RULES, TrainingRun, fresh_state
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.steps import train_steps

from . import memory, peers
from .common import GRAPH, LOSS_GATES, Check, Contest, Deviation
from .passes import STEP
from .shapes import dense, sparse_flop
from .timing import Work, measure

PENALTY = 0.75
RHO = 0.95
CHECKED = 10  # number of steps from the same weights whose losses must agree
LAUNCH_SECONDS = 0.02  # approximate length of a call of partae's versions; ten times that in training
LAUNCH_STEPS = 2048  # most steps in such a call
DRAWN = 1024  # number of steps whose crops are drawn together, for peers on a GPU
OURS = "partae "  # prefix of the names of partae's versions
EAGER = "PyTorch eager"
COMPILED_FORM = "compiled"  # of the optimizer, which PyTorch does not have in one fused pass

# The paper's configuration; a large batch; many bins and latents; the setting that denoised best; that with more bins.
CONFIGURATIONS = [
    {"B": 16, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 128, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16},
    {"B": 16, "N": 512, "H": 128, "K": 128, "M": 9, "P": 16},
    {"B": 16, "N": 320, "H": 64, "K": 32, "M": 9, "P": 4},
    {"B": 16, "N": 320, "H": 128, "K": 32, "M": 9, "P": 4},
]
ON_GPU = [{"B": 4096, "N": 512, "H": 32, "K": 32, "M": 9, "P": 16}]


def rounding(kind: str, device: str = "cuda") -> AbstractContextManager:
    """Set the rounding of products and convolutions, PyTorch's and partae's: "float32", "tf32" or "bfloat16".

    In bfloat16 the calls run under autocast, which casts their inputs, as in training with mixed precision.
    """
    return torch.autocast(device, torch.bfloat16) if kind == "bfloat16" else tf32(kind == "tf32")


def make_sampler(shape: dict[str, int], device: str, seed: int = 0) -> CropSampler:
    """Return a sampler of crops from two recordings of random magnitudes, one of them noise-only."""
    random = np.random.default_rng(seed)
    size = (max(4096, 2 * shape["N"]), shape["H"])
    signal, noise = (random.gamma(1.0, 0.2, size).astype(np.float32) for _ in range(2))
    share = 0.25 if shape["B"] > 2 else 0.0  # a quarter of one or two items rounds to none
    return CropSampler([[signal]], [[noise]], shape["N"], shape["B"], share, seed).to(device)


def make_run(
    shape: dict[str, int], sampler: CropSampler, seed: int = 0, penalty: float = PENALTY, background: float = 0.25
) -> TrainingRun:
    """Return the training run of a model with random filters, on the sampler's crops and their device."""
    device = sampler.source.device
    generator = torch.Generator().manual_seed(seed)
    bins, latents, taps = shape["H"], shape["K"], shape["M"]
    w_enc = torch.randn(taps, bins, latents, generator=generator) / (taps * bins) ** 0.5
    w_dec = torch.randn(taps, latents, bins, generator=generator) / (taps * latents) ** 0.5
    w_enc, w_dec = w_enc.to(device), w_dec.to(device)
    foreground = (torch.arange(latents, device=device) >= round(latents * background)).float()
    return TrainingRun(
        w_enc=w_enc,
        w_dec=w_dec,
        state=fresh_state(w_enc, w_dec, "adadelta"),
        crops=sampler.crops,
        mean=sampler.mean.to(device),
        std=sampler.std.to(device),
        foreground=foreground,
        penalty=penalty,
        pool=shape["P"],
        optimizer="adadelta",
        options={**RULES["adadelta"].options, "rho": RHO},
    )


class _Rewindable:
    """A training run; `rewind` restores its state after the checked steps, which `remember` saves."""

    step = 0

    def remember(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = list(tensors)
        self._copies = [t.detach().clone() for t in self._tensors]

    def rewind(self) -> None:
        with torch.no_grad():
            for tensor, copy in zip(self._tensors, self._copies, strict=True):
                tensor.copy_(copy)
        self.step = CHECKED


class Ours(_Rewindable):
    """A call of partae that takes `steps` steps of all runs in one launch of about `launch_seconds`."""

    def __init__(
        self,
        runs: Sequence[TrainingRun],
        backend: str,
        threads: int | None = None,
        launch_seconds: float = LAUNCH_SECONDS,
    ) -> None:
        self.runs, self.backend, self.threads = list(runs), backend, threads or torch.get_num_threads()
        self.steps = CHECKED
        self.losses = self().tolist()  # (runs, CHECKED)
        self.first_losses = self.losses[0]
        tensors = [(r.w_enc, r.w_dec, *r.state["w_enc"], *r.state["w_dec"]) for r in self.runs]
        self.remember([t for of_run in tensors for t in of_run])
        self.steps, seconds = 1, 0.0
        while seconds < launch_seconds / 2 and self.steps < LAUNCH_STEPS:
            self.steps *= 2
            start = time.perf_counter()
            self().sum().item()
            seconds = time.perf_counter() - start
        self.rewind()

    def __call__(self) -> Tensor:
        if self.threads != torch.get_num_threads():
            torch.set_num_threads(self.threads)
        losses = train_steps(self.runs, self.step, self.steps, self.backend)
        self.step += self.steps
        return losses


class _TableOfCrops:
    """A table on a GPU of where crops start, filled every DRAWN steps, from which batches are gathered."""

    def __init__(self, sampler: CropSampler) -> None:
        crops = sampler.crops
        if len(crops.group_first) != 2:
            raise ValueError(f"{len(crops.group_first)} groups; peers on a GPU take one of signal and one of noise")
        self.sampler, self.crops = sampler, crops
        device = crops.source.device
        self.starts = torch.zeros(DRAWN, crops.batch, dtype=torch.int64, device=device)
        self.offsets = torch.arange(crops.frames, device=device)
        self.noise_only = (torch.arange(crops.batch, device=device) < crops.noise_items).float()
        self.first = -1

    def draw_for(self, step: int) -> None:
        """Fill the table, unless it has this step."""
        if step - step % DRAWN != self.first:
            self.first = step - step % DRAWN
            starts = [self.sampler.starts_at(i) for i in range(self.first, self.first + DRAWN)]
            self.starts.copy_(torch.from_numpy(np.stack(starts)))

    def batch(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return x, (B, N, H), and noise_only, (B,), of the step in a row of the table; `row` is (1,)."""
        rows = self.starts.index_select(0, row).view(-1, 1) + self.offsets
        x = self.crops.source.index_select(0, rows.view(-1))
        return x.view(self.crops.batch, self.crops.frames, -1), self.noise_only


class Peer(_Rewindable):
    """A call of PyTorch that draws a batch and takes one step."""

    steps = 1

    def __init__(self, loss: Callable[..., Tensor], run: TrainingRun, sampler: CropSampler, form: str) -> None:
        self.loss, self.run, self.sampler = loss, run, sampler
        self.weights = [w.requires_grad_() for w in (run.w_enc, run.w_dec)]
        self.optimizer = adadelta(self.weights, form)
        self.update = update_of(self.optimizer, form)
        on_gpu = run.w_enc.device.type == "cuda"
        self.table = _TableOfCrops(sampler) if on_gpu else None
        self.table_row = torch.zeros(1, dtype=torch.int64, device=run.w_enc.device)
        self.first_losses = [float(self()) for _ in range(CHECKED)]
        self.remember_all()

    def remember_all(self) -> None:
        states = [t for state in self.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        self.remember([*self.weights, *states, self.table_row])

    def __call__(self) -> Tensor:
        if self.table is not None:
            self.table.draw_for(self.step)
            self.table_row.fill_(self.step % DRAWN)
            x, noise_only = self.table.batch(self.table_row)
        else:
            x, noise_only = self.sampler.batch_at(self.step)
        self.step += 1
        return self.learn(x, noise_only)

    def learn(self, x: Tensor, noise_only: Tensor) -> Tensor:
        run = self.run
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, run.mean, run.std, *self.weights, noise_only, run.foreground, run.penalty, run.pool)
        loss.backward()
        self.update()
        return loss.detach()


class GraphPeer(Peer):
    """A call of PyTorch that replays a whole step from a CUDA graph, including the gathering of crops."""

    def __init__(self, loss: Callable[..., Tensor], run: TrainingRun, sampler: CropSampler, form: str) -> None:
        self.loss, self.run, self.sampler = loss, run, sampler
        self.weights = [w.requires_grad_() for w in (run.w_enc, run.w_dec)]
        initial_weights = [w.detach().clone() for w in self.weights]
        self.optimizer = adadelta(self.weights, form, capturable=True)
        self.update = update_of(self.optimizer, form)
        self.table = _TableOfCrops(sampler)
        self.table.draw_for(0)
        self.table_row = torch.zeros(1, dtype=torch.int64, device=run.w_enc.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.body()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.captured_loss = self.body()
        with torch.no_grad():
            for weight, initial in zip(self.weights, initial_weights, strict=True):
                weight.copy_(initial)
            for state in self.optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()
            self.table_row.zero_()
        self.first_losses = [float(self()) for _ in range(CHECKED)]
        self.remember_all()

    def body(self) -> Tensor:
        loss = self.learn(*self.table.batch(self.table_row))
        self.table_row += 1
        return loss

    def __call__(self) -> Tensor:
        if self.step % DRAWN == 0 and self.step:
            self.table_row.zero_()
        self.table.draw_for(self.step)
        self.step += 1
        self.graph.replay()
        return self.captured_loss


def forms(device: str) -> list[str]:
    """Return the implementations of torch.optim.Adadelta in this PyTorch: plain, foreach, fused, on a GPU compiled."""
    arguments = inspect.signature(torch.optim.Adadelta).parameters
    names = ["plain", *(form for form in ("foreach", "fused") if form in arguments)]
    return [*names, COMPILED_FORM] if device == "cuda" else names


def adadelta(weights: Sequence[Tensor], form: str, **options: Any) -> torch.optim.Optimizer:
    """Return torch.optim.Adadelta in one of its `forms`; `update_of` returns its step."""
    form_options = {"plain": {"foreach": False}, "fused": {"fused": True}}.get(form, {"foreach": True})
    if form == COMPILED_FORM and weights[0].is_cuda:
        options["capturable"] = True  # keeps the number of the step on the device
    return torch.optim.Adadelta(weights, rho=RHO, **form_options, **options)


def update_of(optimizer: torch.optim.Optimizer, form: str) -> Callable[[], Any]:
    """Return the step of an optimizer: in the compiled form, one kernel for all its elementwise operations."""
    return torch.compile(optimizer.step) if form == COMPILED_FORM else optimizer.step


def seconds_of_forms(shape: dict[str, int], device: str) -> dict[str, float]:
    """Return the seconds of an update by each form of torch.optim.Adadelta, the fastest first."""
    calls = {}
    for form in forms(device):
        run = make_run(shape, make_sampler({**shape, "B": 1}, device))
        weights = [run.w_enc.requires_grad_(), run.w_dec.requires_grad_()]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        calls[form] = update_of(adadelta(weights, form), form)
    medians = {form: float(np.median(s)) for form, s in measure(calls, device, rounds=5).items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))


def peer_names(device: str) -> list[str]:
    names = [EAGER, *peers.compiled_ways(device)]
    if device == "cuda":
        names += [GRAPH + name for name in (EAGER, *peers.COMPILED)]
    return names


def form_of(version: str, fastest: str) -> str:
    """Return the form of AdaDelta of a peer: a captured compiled step has it compiled too, others the fastest form."""
    return COMPILED_FORM if version.startswith(GRAPH) and version != GRAPH + EAGER else fastest


def build(version: str, shape: dict[str, int], device: str, form: str = "foreach") -> Ours | Peer:
    """Return the version of this name, after its checked steps."""
    sampler = make_sampler(shape, device)
    run = make_run(shape, sampler)
    if version.startswith(OURS):
        return Ours([run], version.removeprefix(OURS))
    kind = GraphPeer if version.startswith(GRAPH) else Peer
    name, loss = version.removeprefix(GRAPH), peers.model_loss
    form = form_of(version, form)
    if name != EAGER:
        loss = torch.compile(loss, **peers.compiled_ways(device)[name])
    return kind(loss, run, sampler, form)


def flop(shape: dict[str, int]) -> float:
    """Return the number of operations that a step needs."""
    return dense(shape).flop + sparse_flop(shape, 4)


def floor(shape: dict[str, int], ceilings: dict[str, Any], kind: str = "float32") -> float:
    """Return the shortest possible time of a step in seconds.

    It is the time of the arithmetic or of the memory traffic, whichever is longer, plus two barriers:

        max((2 B N M H K + 4 * 2 B W K M H) / flop_per_s, bytes / bytes_per_s) + 2 barrier_seconds,  W = ceil(N / P)

    The first term is the dense encode. The second is four passes over the M*H numbers under each pooled value: decode,
    the gradient of the value, and the two gradients of weights. On a GPU, the tensor cores can compute encode at the
    same time as the rest, in TF32 or with three TF32 products for one in float32. The arithmetic then takes max(encode
    / rate of the tensor cores, rest / flop_per_s) if that is shorter. `bytes` is the size of x, or of all recordings if
    that is smaller, because a fused step reads crops from the recordings. It counts only if it exceeds the last-level
    cache. The barriers are necessary: the gradient of each weight is a sum over all items, and each item of the next
    step needs all weights. All rates are measured in the same run (`ceilings.py`).
    """
    rate, encode_flop, rest = ceilings["flop_per_s"], dense(shape).flop, sparse_flop(shape, 4)
    arithmetic = (encode_flop + rest) / rate
    if "tf32_flop_per_s" in ceilings:
        tensor_rate = ceilings["tf32_flop_per_s"] / (1 if kind == "tf32" else 3)
        arithmetic = min(arithmetic, max(encode_flop / tensor_rate, rest / rate))
    frames = 2 * max(4096, 2 * shape["N"])  # in the recordings of make_sampler
    x_bytes = 4 * min(shape["B"] * shape["N"], frames) * shape["H"]
    moved = x_bytes if x_bytes > ceilings["cache_bytes"] else 0
    return max(arithmetic, moved / ceilings["bytes_per_s"]) + 2 * ceilings["barrier_seconds"]


@dataclass(frozen=True)
class StepWork(Work):
    """The needed work of a step; its floor includes two barriers."""

    shape: dict[str, int]

    def floor(self, ceilings: dict[str, Any], kind: str = "float32") -> float:
        return floor(self.shape, ceilings, kind)


def step_work(shape: dict[str, int]) -> StepWork:
    return StepWork(flop(shape), 4.0 * shape["B"] * shape["N"] * shape["H"], shape)


def losses_differ(losses: Sequence[float], truth: Sequence[float]) -> float:
    """Return the largest relative difference of two series of losses; NaN if one of them has a NaN."""
    return float(np.max(np.abs(np.subtract(losses, truth)) / np.abs(truth)))


def true_losses(run: TrainingRun, steps: int = CHECKED) -> list[float]:
    """Return the losses of the first steps of a run, computed in float64 from copies of its weights."""
    weights = run.w_enc.double(), run.w_dec.double()
    constants = {name: getattr(run, name).double() for name in ("mean", "std", "foreground")}
    float64_run = replace(
        run, w_enc=weights[0], w_dec=weights[1], state=fresh_state(*weights, run.optimizer), **constants
    )
    return implementation("train_steps", "eager").train_steps([float64_run], 0, steps)[0].tolist()


class Deferred:
    """A version that is built on its first use, so that an error in building excludes only this version."""

    def __init__(self, build: Callable[[], Ours | Peer]) -> None:
        self.build = build

    @cached_property
    def version(self) -> Ours | Peer:
        return self.build()

    @property
    def steps(self) -> int:
        return self.version.steps

    def __call__(self) -> Tensor:
        return self.version()

    def rewind(self) -> None:
        self.version.rewind()

    def results(self) -> tuple[Tensor]:
        """Return the losses of the checked steps and of the first step after them, which is repeated now."""
        self.rewind()
        next_loss = self.version().reshape(-1)[:1].double().cpu()
        return (torch.cat([torch.tensor(self.version.first_losses, dtype=torch.float64), next_loss]),)


def check_losses(truth: Sequence[float], kind: str) -> Callable[[Any], Check]:
    """Return a function that returns a check of the results of `Deferred`."""

    def check(outputs: Sequence[Tensor]) -> Iterator[Deviation]:
        for losses in outputs:
            difference = losses_differ(losses.tolist(), truth)
            yield Deviation("a loss of the first steps", difference, allowance=LOSS_GATES[kind])

    return lambda copies: check


def contest(
    shape: dict[str, int],
    device: str,
    ours: Sequence[str] | None = None,
    others: Sequence[str] | None = None,
    kind: str = "float32",
) -> Contest:
    """Return the contest of a training step by the back-ends `ours` and the peers `others` (default: all)."""
    gc.collect()
    form = next(iter(seconds_of_forms(shape, device)))
    ours = OPS["train_steps"].backends[::-1] if ours is None else ours
    others = peer_names(device) if others is None else others

    def versions(names: Iterable[str]) -> dict[str, Callable[[], Any]]:
        return {name: Deferred(partial(build, name, shape, device, form)) for name in names}

    truth = true_losses(make_run(shape, make_sampler(shape, device)), CHECKED + 1)
    return Contest(
        "train step",
        STEP,
        {},
        ours=versions(OURS + name for name in ours),
        peers=versions(others),
        work=step_work(shape),
        truth=check_losses(truth, kind),
        cold=False,
        about={name: {"adadelta": form_of(name, form)} for name in others},
        type=kind,
    )


def peak_memory(version: str, shape: dict[str, int], device: str, form: str = "foreach") -> dict[str, Any]:
    """Return the peak memory of a version, and on the CPU what it keeps between steps, in bytes."""
    if device == "cuda":
        return {"peak_bytes": memory.device_peak(partial(build, version, shape, device, form))}
    request = {"version": version, "shape": shape, "threads": torch.get_num_threads(), "form": form}
    return memory.peaks([request])[0]
