"""Training checkpoints: all that a run needs to go on as if it had never stopped, bit for bit.

A checkpoint is a checked safetensors file (see `partae_fast.checked_safetensors`) of its own format, not a model. Its
tensors are
    model.NAME                the model's parameters and buffers
    optimizer.PARAMETER.NAME  what the optimiser keeps for each parameter (`kernels.optimiser.RULES`)
    loss                      (step,) float64, the loss of each step so far
    held_out                  (epochs,) float64, the losses of `plateau`, where the learning rate follows one
and its settings
    step        how many steps are done; the next has this number
    run         what the run is: kind and config of the model, penalty, optimizer and its options, and the
                sampler's fingerprint. A run goes on only where all of it is the same
    place       back-end, device and versions of the libraries; where these differ the run goes on, in
                other bits
    program     the name and version of what wrote the file, for people to read
"""

import logging
import os
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .. import checked_safetensors
from ..errors import UserError
from ..models.state import rename_arguments, tensors_of
from ..models.storage import program
from .optimisers import Optimiser

logger = logging.getLogger("partae_fast")

FORMAT, VERSION = "partae-checkpoint", "2"
_SETTINGS = {"step", "run", "place", "program"}
# Settings of a run that an older checkpoint lacks, and what they were: its own, and those of its model.
LATER, LATER_CONFIG = {"weight_decay": 0.0}, {"negative_slope": 0.0, "rectified_output": False}
LATER_PLACE = {"ranks": "1"}
RECORDINGS = "sampler.recordings_sha256"
# What settings of a run are called where a user is told that they differ.
IN_WORDS = {
    "sampler.bins": "bins of the band",
    "sampler.frames": "frames in a crop",
    "sampler.batch": "items in a batch",
    "sampler.noise_only": "share of noise-only items",
    "sampler.seed": "seed",
    "falling_over": "steps over which the learning rate falls",
}


def write_checkpoint(
    path: str | os.PathLike[str],
    model: torch.nn.Module,
    optimiser: Optimiser,
    losses: Sequence[float],
    run: dict[str, Any],
    place: dict[str, Any],
    held_out: Sequence[float] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all; the one before it stays until then.

    Raises UserError where the weights are not finite, so that a good checkpoint is never replaced by a bad
    one, and where the file cannot be written.
    """
    tensors = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name} has NaN or infinite values after {len(losses)} steps; the checkpoint is kept")
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimiser.tensors().items()}
    tensors["loss"] = torch.from_numpy(np.array(losses, np.float64))
    if held_out is not None:
        tensors["held_out"] = torch.from_numpy(np.array(held_out, np.float64))
    settings = {"step": len(losses), "run": run, "place": place, "program": program()}
    checked_safetensors.write(path, FORMAT, VERSION, settings, tensors)


def read_checkpoint(
    path: str | os.PathLike[str],
    model: torch.nn.Module,
    optimiser: Optimiser,
    run: dict[str, Any],
    place: dict[str, Any],
    held_out: "array[float] | None" = None,
) -> list[float]:
    """Put model and optimiser where the checkpoint's run was; returns the losses so far, one per step.

    `held_out` is filled with the losses of the run's plateau, where it has one.

    Raises UserError where the file is missing, damaged or no checkpoint, or is of another run, saying what
    differs.
    """
    file = checked_safetensors.read(path, FORMAT, VERSION)
    losses = _losses(path, file)
    then = {**LATER, **file.settings["run"]}
    later = {name: value for name, value in LATER_CONFIG.items() if name in run.get("config", {})}
    then["config"] = {**later, **rename_arguments(then.get("config", {}))}
    changed = differences(then, run)
    if changed:
        raise UserError(
            f"{path}: a checkpoint of another run ({'; '.join(changed)}); go on with the same settings "
            "and recordings, or begin anew (--overwrite)"
        )
    for difference in differences({**LATER_PLACE, **file.settings["place"]}, place):
        logger.warning("%s: the run goes on, but not in the same bits: %s", path, difference)
    ours = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    ours |= {f"optimizer.{name}": tensor for name, tensor in optimiser.tensors().items()}
    lists = {"loss": file.tensors["loss"]}
    if held_out is not None:
        kept = file.tensors.get("held_out")
        if kept is None or kept.dtype != torch.float64 or kept.ndim != 1:
            raise UserError(f"{path}: it has no losses of what was held out; begin anew")
        lists["held_out"] = kept
        held_out[:] = array("d", kept.numpy().tobytes())
    checked_safetensors.require_tensors(path, file.tensors, {**ours, **lists})
    for name, tensor in file.tensors.items():
        if not name.startswith("optimizer.") and not torch.isfinite(tensor).all():
            raise UserError(f"{path}: NaN or infinite values in {name}; begin anew")
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(file.tensors[name])
    return losses


def read_losses(path: str | os.PathLike[str]) -> list[float]:
    """The loss of each step in a checkpoint; raises UserError where it is missing, damaged or no checkpoint."""
    return _losses(path, checked_safetensors.read(path, FORMAT, VERSION))


def falling_over(path: str | os.PathLike[str]) -> int:
    """Over how many steps the learning rate of a checkpoint's run falls; 0 where it stays, or there is no checkpoint.

    Raises UserError where the file is damaged or no checkpoint.
    """
    if not os.path.exists(path):
        return 0
    file = checked_safetensors.read(path, FORMAT, VERSION)
    _losses(path, file)
    return file.settings["run"].get("falling_over", 0)


def _losses(path: str | os.PathLike[str], file: checked_safetensors.CheckedFile) -> list[float]:
    """The losses in a file whose settings are a checkpoint's."""
    checked_safetensors.require_settings(path, file.settings, _SETTINGS)
    loss = file.tensors.get("loss")
    if loss is None or loss.dtype != torch.float64 or tuple(loss.shape) != (file.settings["step"],):
        raise UserError(f"{path}: it has not one loss for each of its {file.settings['step']} steps; begin anew")
    run, place = file.settings["run"], file.settings["place"]
    if not (isinstance(run, dict) and isinstance(run.get("config", {}), dict) and isinstance(place, dict)):
        raise UserError(f"{path}: it does not say which run it is of; begin anew")
    return loss.tolist()


def current_place(backend: str, device: torch.device) -> dict[str, Any]:
    """Where a run runs: what its bits depend on besides its settings."""
    return {"backend": backend, "device": device.type, "torch": torch.__version__, "numpy": np.__version__}


def differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested settings, one line each."""
    found = []
    for name in sorted(set(then) | set(now)):
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            full = prefix + name
            if full == RECORDINGS:
                found.append("the recordings, their labels or their band are others")
                continue
            found.append(f"{IN_WORDS.get(full, full)} was {_short(before)}, is {_short(after)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
