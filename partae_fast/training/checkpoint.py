"""Training checkpoints: everything that a run needs to resume, bit for bit.

A checkpoint is a checked safetensors file (see `partae_fast.checked_safetensors`) with a format of its own.
"""
# Its tensors are
#     model.NAME                the model's parameters and buffers
#     optimizer.PARAMETER.NAME  the optimizer's state tensors of each parameter (`training.optimizers.OPTIMIZERS`)
#     loss                      (step,) float64, the loss of each step so far
#     held_out                  (epochs,) float64, the losses that the schedule depends on, if it depends on any
# and its settings
#     step        number of steps taken; the next step has this number
#     run         kind and config of the model, penalty, optimizer and its options, and the sampler's fingerprint. A run
#                 resumes only if all of it is the same
#     place       back-end, device and library versions. If these differ the run resumes, but not to the same bits
#     program     name and version of the program that wrote the file, for people to read

import logging
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import checked_safetensors
from ..errors import UserError
from ..models.state import rename_arguments, tensors_of
from ..models.storage import program
from .optimizers import Optimizer

logger = logging.getLogger("partae_fast")

FORMAT, VERSION = "partae-checkpoint", "2"
_SETTINGS = {"step", "run", "place", "program"}
# Settings that older checkpoints lack, and their values then: those of the run, and those of its model.
LATER, LATER_CONFIG = {"weight_decay": 0.0}, {"negative_slope": 0.0, "rectified_output": False}
LATER_PLACE = {"ranks": "1"}
RECORDINGS = "sampler.recordings_sha256"
# Descriptions of settings, for messages.
DESCRIPTIONS = {
    "sampler.bins": "bins of the band",
    "sampler.frames": "frames in a crop",
    "sampler.batch": "items in a batch",
    "sampler.noise_only": "share of noise-only items",
    "sampler.seed": "seed",
    "falling_over": "steps over which the learning rate falls",
}


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a Trainer writes its checkpoint.

    path: the file.
    every: seconds from one checkpoint to the next.
    resume: continue from the file, to the bits of a run without a stop; start at step 0 if it does not exist.
    overwrite: replace an existing file, which is otherwise refused.
    """

    path: str | os.PathLike[str]
    every: float = 60.0
    resume: bool = False
    overwrite: bool = False


def write_checkpoint(
    path: str | os.PathLike[str],
    model: torch.nn.Module,
    optimizer: Optimizer,
    losses: Sequence[float],
    run: dict[str, Any],
    place: dict[str, Any],
    held_out: Sequence[float] | None = None,
) -> None:
    """Write a checkpoint atomically: the previous one stays until the new one is complete.

    Raises UserError if the file cannot be written, or if weights are not finite: a good checkpoint is never replaced by
    a bad one.
    """
    tensors = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name} has NaN or infinite values after {len(losses)} steps; the checkpoint is kept")
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.tensors().items()}
    tensors["loss"] = torch.from_numpy(np.array(losses, np.float64))
    if held_out is not None:
        tensors["held_out"] = torch.from_numpy(np.array(held_out, np.float64))
    settings = {"step": len(losses), "run": run, "place": place, "program": program()}
    checked_safetensors.write(path, FORMAT, VERSION, settings, tensors)


def read_checkpoint(
    path: str | os.PathLike[str],
    model: torch.nn.Module,
    optimizer: Optimizer,
    run: dict[str, Any],
    place: dict[str, Any],
    held_out: "array[float] | None" = None,
) -> list[float]:
    """Load a checkpoint into model and optimizer, and return the loss of each step so far.

    `held_out` is filled with the losses that the run's schedule depends on, if it depends on any.

    Raises UserError if the file is missing, damaged or not a checkpoint, or belongs to a run with other settings.
    """
    file = checked_safetensors.read(path, FORMAT, VERSION)
    losses = _losses(path, file)
    saved_run = {**LATER, **file.settings["run"]}
    later = {name: value for name, value in LATER_CONFIG.items() if name in run.get("config", {})}
    saved_run["config"] = {**later, **rename_arguments(saved_run.get("config", {}))}
    changed = differences(saved_run, run)
    if changed:
        raise UserError(
            f"{path}: a checkpoint of another run ({'; '.join(changed)}); resume with the same settings "
            "and recordings, or start again (--overwrite)"
        )
    for difference in differences({**LATER_PLACE, **file.settings["place"]}, place):
        logger.warning("%s: the run resumes, but not to the same bits: %s", path, difference)
    tensors = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.tensors().items()}
    lists = {"loss": file.tensors["loss"]}
    if held_out is not None:
        saved = file.tensors.get("held_out")
        if saved is None or saved.dtype != torch.float64 or saved.ndim != 1:
            raise UserError(f"{path}: has no losses of held-out data; start again (--overwrite)")
        lists["held_out"] = saved
        held_out[:] = array("d", saved.numpy().tobytes())
    checked_safetensors.require_tensors(path, file.tensors, {**tensors, **lists})
    for name, tensor in file.tensors.items():
        if not name.startswith("optimizer.") and not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} has NaN or infinite values; start again (--overwrite)")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(file.tensors[name])
    return losses


def read_losses(path: str | os.PathLike[str]) -> list[float]:
    """Return the loss of each step; raises UserError if the file is missing, damaged or not a checkpoint."""
    return _losses(path, checked_safetensors.read(path, FORMAT, VERSION))


def falling_over(path: str | os.PathLike[str]) -> int:
    """Return the number of steps over which the learning rate falls; 0 if it is constant or there is no file.

    Raises UserError if the file is damaged or not a checkpoint.
    """
    if not os.path.exists(path):
        return 0
    file = checked_safetensors.read(path, FORMAT, VERSION)
    _losses(path, file)
    return file.settings["run"].get("falling_over", 0)


def _losses(path: str | os.PathLike[str], file: checked_safetensors.CheckedFile) -> list[float]:
    """Return the losses of a file after checking its settings."""
    checked_safetensors.require_settings(path, file.settings, _SETTINGS)
    loss = file.tensors.get("loss")
    if loss is None or loss.dtype != torch.float64 or tuple(loss.shape) != (file.settings["step"],):
        raise UserError(f"{path}: must have {file.settings['step']} losses, one a step; start again (--overwrite)")
    run, place = file.settings["run"], file.settings["place"]
    if not (isinstance(run, dict) and isinstance(run.get("config", {}), dict) and isinstance(place, dict)):
        raise UserError(f"{path}: has no settings of a run; start again (--overwrite)")
    return loss.tolist()


def current_environment(backend: str, device: torch.device) -> dict[str, Any]:
    """Return what the bits of a run depend on besides its settings."""
    return {"backend": backend, "device": device.type, "torch": torch.__version__, "numpy": np.__version__}


def differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the differences between two nested settings, a phrase for each."""
    phrases = []
    for name in sorted(set(then) | set(now)):
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            phrases += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            full_name = prefix + name
            if full_name == RECORDINGS:
                phrases.append("the recordings, their labels or their band differ")
                continue
            phrases.append(f"{DESCRIPTIONS.get(full_name, full_name)} was {_short(before)}, is {_short(after)}")
    return phrases


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
