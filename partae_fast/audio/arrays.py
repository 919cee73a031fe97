"""Audio in memory: NumPy arrays and PyTorch tensors, checked for type, shape and level."""

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
LEAST_UNSCALED = 100.0  # a peak above this, 40 dB over full scale, is one of integers that were not divided


def float_array(audio: Any, name: str) -> NDArray[np.floating]:
    """Return floating-point samples as a NumPy array, of any shape; tensors are detached and copied from a GPU.

    Types of 16 bits and fewer become float32. Raises TypeError where `audio` is neither an array nor a tensor and
    UserError where it is not floating-point; `name` begins the message.
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
    """Return samples (T,) or (T, channels), an array or a tensor, as (T, channels).

    A warning is logged where the peak is above `LEAST_UNSCALED`. Raises what `float_array` raises, and UserError where
    the shape is another, or has more channels than samples or than `MOST_CHANNELS`.
    """
    samples = float_array(audio, name)
    if samples.ndim not in (1, 2):
        raise UserError(
            f"{name}: audio is of shape {samples.shape}; it must be of shape (samples,) or (samples, channels): give "
            "the recordings of a batch one by one"
        )
    columns = samples[:, None] if samples.ndim == 1 else samples
    length, channels = columns.shape
    if not 1 <= channels <= MOST_CHANNELS or channels > length > 0:
        raise UserError(
            f"{name}: audio is of shape {samples.shape}, {channels} channels of {length} samples; it must be of shape "
            f"(samples, channels), of at most {MOST_CHANNELS} channels and no more than samples: transpose it, audio.T"
        )
    _warn_of_integers(columns, name)
    return columns


def as_given(samples: NDArray[np.float32], audio: Any) -> Any:
    """Return samples in the shape of `audio`; where that is a tensor, as a tensor of its type on its device."""
    shaped = samples.reshape(tuple(audio.shape) if isinstance(audio, torch.Tensor) else np.shape(audio))
    if isinstance(audio, torch.Tensor):
        return torch.from_numpy(shaped).to(audio.device, audio.dtype)
    return shaped


def _require_floating(floating: bool, dtype: Any, shape: Any, name: str) -> None:
    if not floating:
        raise UserError(
            f"{name}: audio is {dtype} of shape {tuple(shape)}; it must be float, full scale at 1: divide "
            "integers by their full scale, 32768 for int16"
        )


def _warn_of_integers(samples: NDArray[np.floating], name: str) -> None:
    """Log a warning where samples look like integers that were cast to float and not scaled."""
    peak = max(samples.max(), -samples.min()) if samples.size else 0.0
    if LEAST_UNSCALED < peak <= LOUDEST:
        logger.warning(
            "%s: the peak is %g and full scale is 1: samples of int16 that were cast to float must be divided by 32768",
            name,
            peak,
        )
