"""CheckedFile files: tensors and settings in one safetensors file that is whole, checked and free of code.

The file's metadata has four strings: `format` (what kind of file), `version` (of that format), `settings`
(JSON) and `sha256`: the SHA-256 of the whole file with the 64 digits of this entry as zeros. Header,
tensors, lengths and the digits themselves are all covered, so no bit can change unseen. Equal contents give
equal bytes.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any

import torch

from .atomic import atomic_path
from .errors import UserError

_NO_DIGITS = b"0" * 64
# Quotes inside `settings` are escaped, so that this is found at the entry itself and nowhere else.
_DIGITS = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_LARGEST_HEADER = 2**20  # bytes; ours have a few thousand
_SHOWN = 120  # characters of what a file says of itself that a message repeats


@dataclass(frozen=True)
class CheckedFile:
    """What a sealed file holds."""

    format: str
    version: str
    settings: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    sha256: str
    size: int  # bytes in the file


def write(
    path: str | os.PathLike[str],
    format: str,
    version: str,
    settings: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    overwrite: bool = True,
) -> None:
    """Write a sealed file, whole or not at all. Raises UserError where it cannot be written."""
    from safetensors.torch import save

    metadata = {
        "format": format,
        "version": version,
        "settings": json.dumps(settings, sort_keys=True, allow_nan=False),
        "sha256": _NO_DIGITS.decode(),
    }
    content = _ordered(save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata))
    digits = hashlib.sha256(content).hexdigest().encode()
    found = _DIGITS.search(content)
    assert found is not None
    with atomic_path(path, overwrite) as place:
        place.write_bytes(content[: found.start(1)] + digits + content[found.end(1) :])


def shorten(text: str) -> str:
    """What a file says, short enough for a line."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def read(path: str | os.PathLike[str], format: str | None = None, version: str | None = None) -> CheckedFile:
    """The contents of a sealed file, checked; no more memory is taken than a few times what the file has.

    Raises UserError where the file is missing, no plain file, no safetensors file or none of ours, is cut short or
    changed, or has another format or version than asked for.
    """
    from safetensors.torch import load

    content, metadata = _content(path)
    found = _DIGITS.search(content)
    if found is None:
        raise UserError(f"{path}: damaged: its checksum cannot be read; copy or make the file again")
    digest, whole = hashlib.sha256(), memoryview(content)
    for part in (whole[: found.start(1)], _NO_DIGITS, whole[found.end(1) :]):
        digest.update(part)
    if digest.hexdigest().encode() != found[1]:
        raise UserError(f"{path}: damaged: its contents differ from its checksum; copy or make the file again")
    if format is not None and metadata["format"] != format:
        raise UserError(f"{path}: a {shorten(metadata['format'])} file, and a {format} file is wanted")
    if version is not None and metadata["version"] != version:
        raise UserError(
            f"{path}: version {shorten(metadata['version'])} of the {shorten(metadata['format'])} format, and version "
            f"{version} is read here; use the program that wrote it, or make the file again"
        )
    try:
        tensors, settings = load(content), json.loads(metadata["settings"])
    except Exception as error:  # the library has a kind of its own for what it found, and others for what it met
        raise UserError(f"{path}: not a readable safetensors file: {error!r}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: its settings have no names; make the file again")
    return CheckedFile(metadata["format"], metadata["version"], settings, tensors, found[1].decode(), len(content))


def require_settings(path: str | os.PathLike[str], found: dict[str, Any], wanted: set[str]) -> None:
    """Raise UserError where a file's settings have other names than these."""
    if set(found) != wanted:
        odd = ", ".join(sorted(wanted ^ set(found)))
        raise UserError(f"{path}: settings unknown or missing: {shorten(odd)}; the file is of another version")


def require_tensors(
    path: str | os.PathLike[str], found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> None:
    """Raise UserError where a file's tensors are not those wanted, each of the same type and shape."""
    if set(found) != set(wanted):
        missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        raise UserError(
            f"{path}: tensors missing: {', '.join(missing) or 'none'}, "
            f"unknown: {shorten(', '.join(extra)) or 'none'}; train it again"
        )
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise UserError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, wanted {wanted[name].dtype} "
                f"{tuple(wanted[name].shape)}; train it again"
            )


def _ordered(content: bytes) -> bytes:
    """The same safetensors file with its header's entries in order; the library's order is random."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _content(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """The whole file and its header's metadata; of a file that is not ours no more than the header is read."""
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # a pipe would have us wait for ever
            what = "a folder" if os.path.isdir(path) else "a pipe or a device"
            raise UserError(f"{path}: {what}, and a file is wanted")
        with open(path, "rb") as file:
            head = file.read(9)
            if not _plausible(head):
                raise UserError(f"{path}: not a safetensors file; models are never read from pickles or other formats")
            size, end = os.fstat(file.fileno()).st_size, 8 + int.from_bytes(head[:8], "little")
            head += file.read(end - len(head))
            if len(head) < end:
                raise UserError(f"{path}: cut short; copy or make the file again")
            metadata, length = _metadata(path, head[8:])
            if size < end + length:
                raise UserError(f"{path}: cut short; copy or make the file again")
            if size > end + length:
                raise UserError(f"{path}: damaged: {size - end - length} bytes too many; copy or make the file again")
            return head + file.read(length), metadata
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _plausible(content: bytes) -> bool:
    """Whether this may begin a safetensors file of ours: the header's length, then the header."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def _metadata(path: str | os.PathLike[str], header: bytes) -> tuple[dict[str, str], int]:
    """A header's metadata, and how many bytes follow it as it says."""
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__")
        length = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        ours = all(isinstance(metadata[name], str) for name in ("format", "version", "settings", "sha256"))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise UserError(f"{path}: damaged, or a safetensors file of another program") from None
    if not (ours and isinstance(length, int)):
        raise UserError(f"{path}: damaged, or a safetensors file of another program")
    return metadata, length
