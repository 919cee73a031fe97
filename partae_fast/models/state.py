"""Settings, spectrogram and mask in a model's state_dict, and removal of PyTorch's wrappers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

SETTINGS = "_extra_state"  # PyTorch's name for the entry that get_extra_state returns
_NAMES = {"config", "spectrogram", "mask"}
RENAMED = {"leak": "negative_slope"}  # names of arguments in older files, and their current names


class StatefulModel(nn.Module):
    """A network whose state_dict contains its settings, spectrogram and mask.

    They are JSON in a uint8 tensor, the entry `_extra_state`, so torch.save, safetensors and functional_call accept
    them. `load_state_dict` restores the spectrogram, the mask and the settings in `RESTORED`. The other settings
    determine the shapes of the tensors: if one differs, `load_state_dict` raises UserError before it changes anything.
    A state without the entry, from version 0.1.0, restores only the tensors.
    """

    RESTORED: ClassVar[tuple[str, ...]] = ("seed",)
    """Names of settings, which are attributes too, that `load_state_dict` restores; no shape depends on them."""

    spectrogram: Spectrogram | None
    mask: Mask | None

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """Return configuration, spectrogram and mask as JSON in a uint8 tensor."""
        state = {
            "config": _plain(self.config()),
            "spectrogram": None if self.spectrogram is None else self.spectrogram.to_dict(),
            "mask": None if self.mask is None else self.mask.to_dict(),
        }
        return torch.tensor(list(json.dumps(state, sort_keys=True).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore spectrogram, mask and the settings in `RESTORED` from the result of `get_extra_state`."""
        from ..audio.spectrogram import Spectrogram
        from ..masking.mask import Mask

        settings = _settings_of(state)
        for name in set(self.RESTORED) & set(settings["config"]):
            setattr(self, name, settings["config"][name])
        spectrogram, mask = settings["spectrogram"], settings["mask"]
        self.spectrogram = None if spectrogram is None else Spectrogram.from_dict(spectrogram)
        self.mask = None if mask is None else Mask.from_dict(mask)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = prefix + SETTINGS
        if key in state_dict:
            self._check_shape(_settings_of(state_dict[key])["config"])
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if key in missing_keys:  # a state of version 0.1.0
            missing_keys.remove(key)

    def _check_shape(self, config: dict[str, Any]) -> None:
        """Raise UserError if a setting that determines shapes differs from the configuration of a state."""
        model_config = _plain(self.config())
        names = (set(model_config) & set(config)) - set(self.RESTORED)
        differing = sorted(name for name in names if model_config[name] != config[name])
        if differing:
            of_state = ", ".join(f"{name}={config[name]!r}" for name in differing)
            of_model = ", ".join(f"{name}={model_config[name]!r}" for name in differing)
            raise UserError(
                f"load_state_dict: the state has {of_state}, and this {type(self).__name__} has {of_model}; "
                f"construct the model with {of_state}"
            )


def rename_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an older file with the current names of arguments.

    >>> rename_arguments({"bins": 32, "leak": 0.25})
    {'bins': 32, 'negative_slope': 0.25}

    Raises TypeError if the configuration is not a dictionary.
    """
    if not isinstance(config, dict):
        raise TypeError(f"a configuration is a dictionary, not {type(config).__name__}")
    return {RENAMED.get(name, name): value for name, value in config.items()}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers in a model's state_dict, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != SETTINGS}


def unwrapped(model: Any, caller: str) -> Any:
    """Return the model inside the wrappers of torch.compile, DataParallel and DistributedDataParallel.

    Raises TypeError if `model` is a path; the message starts with `caller`.
    """
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        raise TypeError(f"{caller}: model is the path {path!r}; load it first: pf.load({path!r})")
    while isinstance(model, nn.Module):
        if "_orig_mod" in model._modules:  # from torch.compile; importing its class takes a second
            model = model._modules["_orig_mod"]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    return model


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with JSON's types: lists for tuples, Python numbers for NumPy numbers."""
    return json.loads(json.dumps(config, default=lambda number: number.item()))


def _settings_of(state: Any) -> dict[str, Any]:
    """Return the settings in a result of `get_extra_state`; raise UserError if it is malformed."""
    try:
        settings = json.loads(bytes(state.tolist()))
        if set(settings) != _NAMES or not isinstance(settings["config"], dict):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"load_state_dict: the entry {SETTINGS} was not written by partae; remove it to load only the tensors"
        ) from None
    return {**settings, "config": rename_arguments(settings["config"])}
