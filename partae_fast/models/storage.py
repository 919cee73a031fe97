"""Models on disk: one sealed safetensors file with all that denoising needs.

The tensors are the model's parameters and buffers (weights, mean, std, foreground, noise_mean_square), all of one
floating type. The metadata's `settings` have these keys and no others:
    kind          which model, a name in `KINDS`
    config        the arguments that construct it
    spectrogram   settings of `partae_fast.audio.Spectrogram`, or null
    mask          settings of `partae_fast.masking.mask.Mask`, or null
    program       the name and version of what wrote the file, for people to read
The checksum and the rest of the container are described in `partae_fast.sealed`.
"""

import contextlib
import importlib
import math
import os
from collections.abc import Iterator
from typing import Any

import torch

from .. import sealed
from ..errors import UserError
from .state import tensors_of, unwrapped

FORMAT, VERSION = "partae-model", "1"
_SETTINGS = {"kind", "config", "spectrogram", "mask", "program"}

# What a model's weights may be: `model.double()`, `model.half()` and `model.bfloat16()` are saved as they are.
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Where the class of each kind of model is, imported when a file asks for it.
KINDS = {
    "conv_partitioned": "partae_fast.models.conv_partitioned:ConvPartitionedAutoencoder",
    "conv_denoising": "partae_fast.models.denoising_conv:ConvDenoisingAutoencoder",
    "filtered_denoising": "partae_fast.models.filtered_denoising:FilteredDenoisingAutoencoder",
    "filter": "partae_fast.models.noise_filter:FilterModel",
    "adaptive_dae": "partae_fast.models.adaptive_dae:AdaptiveDenoisingAutoencoder",
    "dense": "partae_fast.models.dense:DenseAutoencoder",
    "dense_partitioned": "partae_fast.models.dense_partitioned:DensePartitionedAutoencoder",
    "curro": "partae_fast.models.curro:CurroAutoencoder",
    "dae_30": "partae_fast.models.dae30:DAE30",
    "snmf": "partae_fast.models.snmf:SparseNMF",
    "embedding": "partae_fast.models.embedding:EmbeddingSeparator",
    "cdae": "partae_fast.models.cdae:ConvDAESeparator",
    "fnn": "partae_fast.models.fnn:FeedForwardSeparator",
}


def save(model: torch.nn.Module, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model to `path`, whole or not at all; `load` gives it back bit for bit, in the same floating type.

    Args:
        model: an instance of one of `KINDS`, with its spectrogram and mask or None for either; the wrappers of
            torch.compile, DataParallel and DistributedDataParallel are taken off.
        path: the file; its folder must exist. By convention it ends in .safetensors.
        overwrite: whether a file that exists is replaced.

    Raises UserError where the model is of another class, has NaN or infinite weights, weights of several types or a
    spectrogram of other bins, or the file cannot be written, and TypeError where model and path are swapped.
    """
    if isinstance(path, torch.nn.Module):
        raise TypeError(f"save: path is a {type(path).__name__}; the model comes first: pf.save(model, path)")
    model = unwrapped(model, "save")
    about = identity(model)
    tensors = tensors_of(model)
    _check_types(str(path), tensors, "the model has")
    _check_values(str(path), tensors, "the model has")
    _check_bins(str(path), model)
    spectrogram, mask = getattr(model, "spectrogram", None), getattr(model, "mask", None)
    settings = {
        **about,
        "spectrogram": None if spectrogram is None else spectrogram.to_dict(),
        "mask": None if mask is None else mask.to_dict(),
        "program": program(),
    }
    sealed.write(path, FORMAT, VERSION, settings, tensors, overwrite)


def load(path: str | os.PathLike[str]) -> Any:
    """The model that `save` wrote to `path`, on the CPU, in the floating type that it was saved in.

    Raises UserError, one line, where the file is missing, is no model of ours, was cut short or changed, is
    of another version, or has tensors that are missing, unknown, of another type or shape, or not finite.
    """
    file = sealed.read(path, FORMAT, VERSION)
    sealed.require_settings(path, file.settings, _SETTINGS)
    with _named(path, "its configuration makes no model"):
        kind, config = _class_of(file.settings["kind"]), file.settings["config"]
    _check_size(path, kind, config, file.tensors)
    with _named(path, "its configuration makes no model"):
        model = kind(**config)
    model.to(_common_type(file.tensors))
    sealed.require_tensors(path, file.tensors, tensors_of(model))
    _check_values(str(path), file.tensors, "the file has")
    model.load_state_dict(file.tensors)
    if file.settings["spectrogram"] is not None:
        from ..audio.spectrogram import Spectrogram

        with _named(path, "its spectrogram is none"):
            model.spectrogram = Spectrogram.from_dict(file.settings["spectrogram"])
        _check_bins(str(path), model)
    if file.settings["mask"] is not None:
        from ..masking.mask import Mask

        with _named(path, "its mask is none"):
            model.mask = Mask.from_dict(file.settings["mask"])
    return model


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model's or a checkpoint's file holds, in plain values: for `partae info`.

    Keys: format, version, sha256, bytes, tensors ({name: {"shape", "dtype"}}) and the file's own settings.
    Raises UserError where the file is missing, not ours or damaged.
    """
    file = sealed.read(path)
    tensors = {
        name: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")}
        for name, t in sorted(file.tensors.items())
    }
    return {
        "format": file.format,
        "version": file.version,
        "sha256": file.sha256,
        "bytes": file.size,
        "tensors": tensors,
        **file.settings,
    }


def identity(model: torch.nn.Module) -> dict[str, Any]:
    """What a model is, apart from its weights: its kind, and the arguments that construct it."""
    place = f"{type(model).__module__}:{type(model).__qualname__}"
    for kind, known in KINDS.items():
        if known == place:
            return {"kind": kind, "config": model.config()}  # pyright: ignore[reportCallIssue]
    name = type(model).__name__
    bases = [base for base in type(model).__mro__ if f"{base.__module__}:{base.__qualname__}" in KINDS.values()]
    if bases:
        base = bases[0].__name__
        raise UserError(
            f"a {name} cannot be saved: pf.load knows {base} and not its subclasses; save its state by "
            f"torch.save(model.state_dict(), path), or load that state into a {base} and save this"
        )
    raise UserError(
        f"a {name} cannot be saved; known models are {', '.join(KINDS)}: save another's state by "
        "torch.save(model.state_dict(), path)"
    )


def program() -> str:
    """The name and version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"partae-fast {version('partae-fast')}"
    except PackageNotFoundError:  # a checkout that was not installed
        return "partae-fast (not installed)"


def _class_of(kind: str) -> type[Any]:
    if kind not in KINDS:
        raise UserError(f"a model of kind {sealed.shown(str(kind))!r}; this program knows {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def _named(path: str | os.PathLike[str], fault: str) -> Iterator[None]:
    """What is raised by settings of a wrong kind or value, as a UserError of the file."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: {fault}: {error}; train it again") from error


def _check_size(path: str | os.PathLike[str], kind: Any, config: Any, tensors: dict[str, torch.Tensor]) -> None:
    """A model is made before its tensors are compared: make none that is larger than the file."""
    given = config if isinstance(config, dict) else {}
    if hasattr(kind, "least_numbers"):
        with _named(path, "its configuration makes no model"):
            least = kind.least_numbers(**given)
    else:
        least = math.prod(given[name] for name in ("bins", "latents", "taps") if isinstance(given.get(name), int))
    there = sum(tensor.numel() for tensor in tensors.values())
    if least > there:
        raise UserError(f"{path}: its configuration is of a larger model than its {there} numbers; train it again")


def _common_type(tensors: dict[str, torch.Tensor]) -> torch.dtype:
    """The floating type of a file's first tensor that has one; `require_tensors` refuses those that differ."""
    return next((tensor.dtype for tensor in tensors.values() if tensor.dtype in FLOATING), torch.float32)


def _check_types(path: str, tensors: dict[str, torch.Tensor], who: str) -> None:
    types = sorted({str(tensor.dtype) for tensor in tensors.values()})
    if len(types) > 1 or any(tensor.dtype not in FLOATING for tensor in tensors.values()):
        raise UserError(
            f"{path}: {who} tensors of {', '.join(types)}; they must be of one type, {', '.join(map(str, FLOATING))}: "
            "model.float() makes them so"
        )


def _check_bins(path: str, model: Any) -> None:
    spectrogram = getattr(model, "spectrogram", None)
    if spectrogram is not None and spectrogram.bins != model.bins:
        raise UserError(
            f"{path}: the spectrogram has {spectrogram.bins} bins and the model {model.bins}; train it again"
        )


def _check_values(path: str, tensors: dict[str, torch.Tensor], who: str) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {who} NaN or infinite values in {name}; train it again")
    for name in ("std", "scale"):
        if name in tensors and not (tensors[name] > 0).all():
            raise UserError(f"{path}: {who} a {name} that is not positive; train it again")
    if "noise_mean_square" in tensors and not (tensors["noise_mean_square"] >= 0).all():
        raise UserError(f"{path}: {who} a noise_mean_square below 0; train it again")
