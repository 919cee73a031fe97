"""Check audio arrays and tensors for type, shape and level."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from .files import LOUDEST

logger = logging.getLogger("partae_fast")

MOST_CHANNELS = 64
UNSCALED_PEAK = 100.0  # a peak above this, 40 dB over full scale, comes from integers that were not scaled


def float_array(audio: Any, name: str) -> NDArray[np.floating]:
    """Return floating-point samples of any shape as a NumPy array.

    Tensors are detached and copied to the CPU. Types of 16 bits or fewer become float32. Messages begin with `name`.

    Raises TypeError if `audio` is neither an array nor a tensor, and UserError if it is not floating-point.
    """
    if isinstance(audio, str | os.PathLike):
        raise TypeError(
            f"{name}: audio is the path {os.fspath(audio)!r}; read it first: audio, rate = soundfile.read(path)"
        )
    if isinstance(audio, torch.Tensor):
        _require_floating(audio.is_floating_point(), audio.dtype, audio.shape, name)
        samples = audio.detach().cpu()
        return (samples if samples.dtype == torch.float64 else samples.float()).numpy()
    if not hasattr(audio, "__array__"):
        raise TypeError(
            f"{name}: audio is a {type(audio).__name__}; give a NumPy array or a PyTorch tensor of floating-point "
            "samples, such as np.asarray(audio, np.float32)"
        )
    samples = np.asarray(audio)
    _require_floating(np.issubdtype(samples.dtype, np.floating), samples.dtype, samples.shape, name)
    return samples.astype(np.float32) if samples.dtype == np.float16 else samples


def columns_of(audio: Any, name: str) -> NDArray[np.floating]:
    """Return samples (T,) or (T, channels), an array or a tensor, as an array (T, channels).

    Logs a warning if the peak is above `UNSCALED_PEAK`. Raises the errors of `float_array`, and UserError for any other
    shape, for more channels than samples, and for more than `MOST_CHANNELS` channels.
    """
    samples = float_array(audio, name)
    if samples.ndim not in (1, 2):
        raise UserError(
            f"{name}: audio has shape {samples.shape}; it must have shape (samples,) or (samples, channels): pass the "
            "recordings of a batch one at a time"
        )
    columns = samples[:, None] if samples.ndim == 1 else samples
    length, channels = columns.shape
    if not 1 <= channels <= MOST_CHANNELS or channels > length > 0:
        raise UserError(
            f"{name}: audio has shape {samples.shape}, {channels} channels of {length} samples; it must have shape "
            f"(samples, channels) with at most {MOST_CHANNELS} channels, and no more channels than samples: "
            "transpose it with audio.T"
        )
    _warn_if_unscaled(columns, name)
    return columns


def shaped_like(samples: NDArray[np.float32], audio: Any) -> Any:
    """Return samples in the shape of `audio`; if that is a tensor, as a tensor of its type on its device."""
    shaped = samples.reshape(tuple(audio.shape) if isinstance(audio, torch.Tensor) else np.shape(audio))
    if isinstance(audio, torch.Tensor):
        return torch.from_numpy(shaped).to(audio.device, audio.dtype)
    return shaped


def _require_floating(floating: bool, dtype: Any, shape: Any, name: str) -> None:
    if not floating:
        raise UserError(
            f"{name}: audio is {dtype} of shape {tuple(shape)}; it must be floating-point with full scale at 1: divide "
            "integers by their full scale, 32768 for int16"
        )


def _warn_if_unscaled(samples: NDArray[np.floating], name: str) -> None:
    """Log a warning if samples look like integers that were cast to float and not scaled."""
    peak = max(samples.max(), -samples.min()) if samples.size else 0.0
    if UNSCALED_PEAK < peak <= LOUDEST:
        logger.warning(
            "%s: the peak is %g and full scale is 1; divide int16 samples that were cast to float by 32768",
            name,
            peak,
        )
