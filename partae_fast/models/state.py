"""What a model's state_dict holds besides its tensors, and the model inside a wrapper of PyTorch's."""

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

SETTINGS = "_extra_state"  # PyTorch's name of the entry that get_extra_state fills
_NAMES = {"config", "spectrogram", "mask"}
RENAMED = {"leak": "negative_slope"}  # arguments of models in older files, and their names now


class StatefulModel(nn.Module):
    """A network whose state_dict holds its settings, its spectrogram and its mask besides its tensors.

    They are one entry, `_extra_state`: JSON in a uint8 tensor, which torch.save, safetensors and functional_call take
    as they take any other tensor. `load_state_dict` sets the spectrogram, the mask and the settings in `RESTORED`. The
    other settings shape the network: where one differs UserError is raised before anything is changed. A state without
    the entry, as of version 0.1.0, sets tensors alone.
    """

    RESTORED: ClassVar[tuple[str, ...]] = ("seed",)
    """Settings, attributes of the same name, that `load_state_dict` sets; they change no tensor's shape."""

    spectrogram: Spectrogram | None
    mask: Mask | None

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """Configuration, spectrogram and mask, as JSON in a uint8 tensor."""
        state = {
            "config": _plain(self.config()),
            "spectrogram": None if self.spectrogram is None else self.spectrogram.to_dict(),
            "mask": None if self.mask is None else self.mask.to_dict(),
        }
        return torch.tensor(list(json.dumps(state, sort_keys=True).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Set spectrogram, mask and the settings in `RESTORED` to those of `get_extra_state`."""
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
        """Raise UserError where a setting that shapes the network differs from that of a state's model."""
        own = _plain(self.config())
        differing = sorted(name for name in (set(own) & set(config)) - set(self.RESTORED) if own[name] != config[name])
        if differing:
            theirs = ", ".join(f"{name}={config[name]!r}" for name in differing)
            ours = ", ".join(f"{name}={own[name]!r}" for name in differing)
            raise UserError(
                f"load_state_dict: the state is of a model with {theirs}, and this {type(self).__name__} has {ours}; "
                f"construct it with {theirs}"
            )


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a model's configuration from a file with the arguments' present names.

    >>> renamed({"bins": 32, "leak": 0.25})
    {'bins': 32, 'negative_slope': 0.25}

    Raises TypeError if the configuration is not a dictionary.
    """
    if not isinstance(config, dict):
        raise TypeError(f"a configuration is a dictionary, not {type(config).__name__}")
    return {RENAMED.get(name, name): value for name, value in config.items()}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers in a model's state_dict, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != SETTINGS}


def unwrapped(model: Any, caller: str) -> Any:
    """Return the model inside torch.compile's, DataParallel's and DistributedDataParallel's wrappers.

    Raises TypeError where a path was given in place of a model; `caller` begins the message.
    """
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        raise TypeError(f"{caller}: model is the path {path!r}; load it first: pf.load({path!r})")
    while isinstance(model, nn.Module):
        if "_orig_mod" in model._modules:  # of torch.compile; to import its class would take a second
            model = model._modules["_orig_mod"]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    return model


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back: lists for tuples, Python's numbers for NumPy's."""
    return json.loads(json.dumps(config, default=lambda number: number.item()))


def _settings_of(state: Any) -> dict[str, Any]:
    """The settings in what `get_extra_state` gave."""
    try:
        settings = json.loads(bytes(state.tolist()))
        if set(settings) != _NAMES or not isinstance(settings["config"], dict):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"load_state_dict: the entry {SETTINGS} is not one that partae wrote; remove it to load the tensors alone"
        ) from None
    return {**settings, "config": renamed(settings["config"])}
