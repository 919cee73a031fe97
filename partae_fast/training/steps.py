"""Whole training steps in one call: the checks and the choice of back-end for the op `train_steps`."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..kernels import BackendUnavailable, dispatch, resolve
from ..kernels.train_steps import RULES, TrainingRun

# From this batch size on Triton's kernels, a few launches a step, fill a GPU; below it the persistent kernel serves.
LARGE_BATCH = 256

_finite = WeakIdKeyDictionary()  # the version at which each source and target was checked


def serving_backend(runs: Sequence[TrainingRun], backend: str = "auto") -> str:
    """Return the back-end that `train_steps` would run on; raises BackendUnavailable if there is none."""
    return resolve("train_steps", backend, **_request(runs))


def _request(runs: Sequence[TrainingRun], preferred: str | None = None) -> dict[str, Any]:
    """Return the arguments of `resolve` and `dispatch` by which "auto" selects a back-end."""
    weight, batch = runs[0].w_enc, runs[0].crops.batch
    return {
        "device": weight.device,
        "dtype": weight.dtype,
        "refuses": lambda module: module.refusal(runs),
        "preferred": preferred or ("triton" if batch >= LARGE_BATCH and len(runs) == 1 else None),
    }


def train_steps(
    runs: Sequence[TrainingRun], first: int, steps: int, backend: str = "auto", preferred: str | None = None
) -> Tensor:
    """Take the training steps first .. first + steps - 1 of each run; weights and state are changed in place.

    A step draws crops from resident recordings, mixes, normalises, encodes and decodes them, computes the loss and its
    gradients, and updates the weights. Neither the number of steps in a call nor the number of threads changes any
    bit; on the CPU neither does the number of runs.

    Args:
        runs: one or more (see `partae_fast.kernels.train_steps.TrainingRun`). They must agree in B, N, H, K, M, P,
            optimizer, type, device, number of groups, negative_slope, rectified_output, and in whether recordings have
            targets of their own. Several runs are a population, trained side by side.
        first: number of the first step, from 0; draws and Adam's correction depend on it.
        steps: number of steps. No interrupt is served before the end, so the caller bounds it.
        backend: "auto" or a name of `pf.backends()`. "auto" passes over a back-end that cannot compile or launch.
        preferred: the back-end that "auto" tries first, such as that of the steps before; None to choose by size.

    Returns the losses (len(runs), steps), float64, of each step before its update.

    Raises ValueError if runs differ or a source has NaN or infinite magnitudes; BackendUnavailable if no back-end can
    serve them.
    """
    _check(runs, first, steps)
    before = [run.copy() for run in runs] if backend == "auto" else []

    def call(module: ModuleType) -> Tensor:
        try:
            return module.train_steps(runs, first, steps)
        except BackendUnavailable:  # some of its kernels may have run; the next back-end starts from the same weights
            for run, copy in zip(runs, before, strict=False):
                run.assign(copy)
            raise

    return dispatch("train_steps", backend, call=call, **_request(runs, preferred))


def _check(runs: Sequence[TrainingRun], first: int, steps: int) -> None:
    if not runs:
        raise ValueError("runs is empty; give at least one run")
    if steps < 1 or first < 0 or first + steps > 2**32:
        raise ValueError(f"first {first} and steps {steps}: give one step or more, numbered from 0 to 2**32 - 1")
    kinds = {alike(run) for run in runs}
    if len(kinds) > 1:
        one, other = sorted(kinds)[:2]
        raise ValueError(f"runs differ: one has {one}, another {other}; train them in separate calls")
    for run in runs:
        _check_run(run)


def alike(run: TrainingRun) -> str:
    """Return a description of the values that all runs of a call must share."""
    shape = " ".join(f"{name} {size}" for name, size in zip("BNHKMP", run.shape, strict=True))
    crops = run.crops
    groups = f"{crops.signal_groups} of {len(crops.group_first)} groups signal and {crops.corruption_groups} corruption"
    targets = "no targets of their own" if crops.target is None else "targets of their own"
    rectifiers = (
        f"negative_slope {run.negative_slope:g}, output {'rectified' if run.rectified_output else 'as decoded'}"
    )
    return f"{shape}, {run.optimizer}, {run.w_enc.dtype} on {run.w_enc.device}, {groups}, {targets}, {rectifiers}"


def _check_run(run: TrainingRun) -> None:
    taps, bins, latents = run.w_enc.shape
    shapes = {"w_dec": (taps, latents, bins), "mean": (bins,), "std": (bins,), "foreground": (latents,)}
    for name, shape in shapes.items():
        actual = tuple(getattr(run, name).shape)
        if actual != shape:
            raise ValueError(f"{name} is {actual} and w_enc {tuple(run.w_enc.shape)}; {name} must be {shape}")
    if run.crops.source.shape[1] != bins:
        raise ValueError(f"the source has {run.crops.source.shape[1]} bins and w_enc {bins}; give both the same")
    if run.optimizer not in RULES or set(run.options) != set(RULES[run.optimizer].options):
        raise ValueError(f"optimizer {run.optimizer!r} with {sorted(run.options)}: see kernels.train_steps.RULES")
    if not 0 <= run.negative_slope < 1:
        raise ValueError(f"negative_slope is {run.negative_slope}; it must be from 0 up to, not including, 1")
    _check_finite("source", run.crops.source)
    if run.crops.target is not None:
        _check_target(run.crops.target, run.crops.source)


def _check_target(target: Tensor, source: Tensor) -> None:
    own, source_form = (f"{tuple(t.shape)}, {t.dtype} on {t.device}" for t in (target, source))
    if own != source_form:
        raise ValueError(f"the target is {own} and the source {source_form}; give both the same")
    _check_finite("target", target)


def _check_finite(name: str, recordings: Tensor) -> None:
    if _finite.get(recordings) != recordings._version:
        if not torch.isfinite(recordings).all():
            raise ValueError(f"a {name} has NaN or infinite magnitudes; repair or leave out that recording")
        _finite[recordings] = recordings._version
