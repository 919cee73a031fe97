"""Model files: a safetensors file with a checksum that contains everything for denoising.

The tensors are the model's parameters and buffers, all of one floating-point type. The `settings` in the metadata have
exactly these keys:

    kind          of the model, a name in `KINDS`
    config        the arguments that construct it
    spectrogram   settings of `partae_fast.audio.Spectrogram`, or null
    mask          settings of `partae_fast.masking.mask.Mask`, or null
    program       name and version of the program that wrote the file, for information

`partae_fast.checked_safetensors` describes the checksum and the container.
"""

import contextlib
import importlib
import math
import os
from collections.abc import Iterator
from typing import Any

import torch

from .. import checked_safetensors
from ..errors import UserError
from .state import rename_arguments, tensors_of, unwrapped

FORMAT, VERSION = "partae-model", "1"
_SETTINGS = {"kind", "config", "spectrogram", "mask", "program"}

# The largest values of settings that no tensor's size bounds: a file must not claim any amount of memory or time.
_MOST = {"pool": 4096, "iterations": 10_000, "frames": 4096, "patch": 4096}
_MOST_OVERLAP = 256  # windows that a sample is in

# The types of weights: models after `model.double()`, `model.half()` and `model.bfloat16()` can be saved too.
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Module and class of each kind of model, imported when they are needed.
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
    """Write a model to a file atomically; `load` returns an equal model, bit for bit.

    Args:
        model: an instance of a class in `KINDS`, also in a wrapper of torch.compile, DataParallel or
            DistributedDataParallel. Its spectrogram and mask may be None.
        path: of the file, in a folder that exists; by convention it ends in .safetensors.
        overwrite: whether to replace an existing file.

    Raises UserError if the class of the model is unknown, if its tensors are not finite or have several types, if its
    spectrogram has another number of bins, or if the file cannot be written; TypeError if model and path are swapped.
    """
    if isinstance(path, torch.nn.Module):
        raise TypeError(f"save: path is a {type(path).__name__}; the model comes first: pf.save(model, path)")
    model = unwrapped(model, "save")
    kind_and_config = identity(model)
    tensors = tensors_of(model)
    _check_types(str(path), tensors, "the model has")
    _check_values(str(path), tensors, "the model has")
    _check_bins(str(path), model)
    spectrogram, mask = getattr(model, "spectrogram", None), getattr(model, "mask", None)
    settings = {
        **kind_and_config,
        "spectrogram": None if spectrogram is None else spectrogram.to_dict(),
        "mask": None if mask is None else mask.to_dict(),
        "program": program(),
    }
    checked_safetensors.write(path, FORMAT, VERSION, settings, tensors, overwrite)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote, on the CPU, in the floating-point type that it was saved in.

    Raises UserError if the file is missing, is not a model file, is damaged or has another version, or if its tensors
    are missing, unknown, not finite, or have another type or shape.
    """
    file = checked_safetensors.read(path, FORMAT, VERSION)
    checked_safetensors.require_settings(path, file.settings, _SETTINGS)
    with _user_error(path, "invalid configuration"):
        kind, config = _class_of(file.settings["kind"]), rename_arguments(file.settings["config"])
    _check_size(path, kind, config, file.tensors)
    with _user_error(path, "invalid configuration"):
        model = kind(**config)
    model.to(_common_type(file.tensors))
    checked_safetensors.require_tensors(path, file.tensors, tensors_of(model))
    _check_values(str(path), file.tensors, "the file has")
    model.load_state_dict(file.tensors)
    if file.settings["spectrogram"] is not None:
        from ..audio.spectrogram import Spectrogram

        with _user_error(path, "invalid spectrogram"):
            model.spectrogram = Spectrogram.from_dict(file.settings["spectrogram"])
            if model.spectrogram.n_fft > _MOST_OVERLAP * model.spectrogram.hop:
                raise UserError(f"hop is {model.spectrogram.hop}; it must be at least n_fft / {_MOST_OVERLAP}")
        _check_bins(str(path), model)
    if file.settings["mask"] is not None:
        from ..masking.mask import Mask

        with _user_error(path, "invalid mask"):
            model.mask = Mask.from_dict(file.settings["mask"])
    return model


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the contents of a model file or a checkpoint as plain values, for `partae info`.

    Returns:
        A dictionary with format, version, sha256, bytes, tensors ({name: {"shape", "dtype"}}) and the settings of the
        file.

    Raises UserError if the file is missing, damaged or of another format.
    """
    file = checked_safetensors.read(path)
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
    """Return the kind of a model and the arguments that construct it; raise UserError for an unknown class."""
    class_name = f"{type(model).__module__}:{type(model).__qualname__}"
    for kind, known_class in KINDS.items():
        if known_class == class_name:
            return {"kind": kind, "config": model.config()}  # pyright: ignore[reportCallIssue]
    name = type(model).__name__
    bases = [base for base in type(model).__mro__ if f"{base.__module__}:{base.__qualname__}" in KINDS.values()]
    if bases:
        base = bases[0].__name__
        raise UserError(
            f"a {name} cannot be saved: pf.load knows {base} but not its subclasses; save its state with "
            f"torch.save(model.state_dict(), path), or load the state into a {base} and save that"
        )
    raise UserError(
        f"a {name} cannot be saved; pf.save accepts {', '.join(KINDS)}: save the state of other models with "
        "torch.save(model.state_dict(), path)"
    )


def program() -> str:
    """Return the name and version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"partae-fast {version('partae-fast')}"
    except PackageNotFoundError:  # a source tree that is not installed
        return "partae-fast (not installed)"


def _class_of(kind: str) -> type[Any]:
    if kind not in KINDS:
        raise UserError(f"kind is {checked_safetensors.shorten(str(kind))!r}; known kinds are {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def _user_error(path: str | os.PathLike[str], fault: str) -> Iterator[None]:
    """Raise errors about invalid settings as a UserError that names the file."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: {fault}: {error}; train it again") from error


def _check_size(path: str | os.PathLike[str], kind: Any, config: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Raise UserError if a configuration needs more values than the file has, before the model is constructed."""
    arguments = config if isinstance(config, dict) else {}
    if hasattr(kind, "min_values"):
        with _user_error(path, "invalid configuration"):
            minimum = kind.min_values(**arguments)
    else:
        minimum = math.prod(
            arguments[name] for name in ("bins", "latents", "taps") if isinstance(arguments.get(name), int)
        )
    for name, most in {**_MOST, "layers": len(tensors)}.items():
        value = arguments.get(name, 0)
        if isinstance(value, int) and value > most:
            claim = checked_safetensors.shorten(str(value))
            raise UserError(f"{path}: {name} is {claim}; in this file it must be at most {most}; train it again")
    stored = sum(tensor.numel() for tensor in tensors.values())
    if minimum > stored:
        raise UserError(f"{path}: the configuration needs more values than the {stored} in the file; train it again")


def _common_type(tensors: dict[str, torch.Tensor]) -> torch.dtype:
    """Return the first floating-point type among the tensors; `require_tensors` rejects other types."""
    return next((tensor.dtype for tensor in tensors.values() if tensor.dtype in FLOATING), torch.float32)


def _check_types(path: str, tensors: dict[str, torch.Tensor], subject: str) -> None:
    types = sorted({str(tensor.dtype) for tensor in tensors.values()})
    if len(types) > 1 or any(tensor.dtype not in FLOATING for tensor in tensors.values()):
        raise UserError(
            f"{path}: {subject} tensors of {', '.join(types)}; they must have one type of "
            f"{', '.join(map(str, FLOATING))}: call model.float()"
        )


def _check_bins(path: str, model: Any) -> None:
    spectrogram = getattr(model, "spectrogram", None)
    if spectrogram is not None and spectrogram.bins != model.bins:
        raise UserError(
            f"{path}: the spectrogram has {spectrogram.bins} bins and the model {model.bins}; train it again"
        )


def _check_values(path: str, tensors: dict[str, torch.Tensor], subject: str) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {subject} NaN or infinite values in {name}; train it again")
    for name in ("std", "scale"):
        if name in tensors and not (tensors[name] > 0).all():
            raise UserError(f"{path}: {subject} a {name} that is not positive; train it again")
    if "noise_mean_square" in tensors and not (tensors["noise_mean_square"] >= 0).all():
        raise UserError(f"{path}: {subject} a noise_mean_square below 0; train it again")
