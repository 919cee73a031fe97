"""Sealed files: tensors and settings in one safetensors file that is whole, checked and free of code.

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
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class Sealed:
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


def read(path: str | os.PathLike[str], format: str | None = None, version: str | None = None) -> Sealed:
    """The contents of a sealed file, checked.

    Raises UserError where the file is missing, is no safetensors file or none of ours, is cut short or
    changed, or has another format or version than asked for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(path)
    metadata = _metadata(path, content)
    found = _DIGITS.search(content)
    if found is None:
        raise UserError(f"{path}: damaged: its checksum cannot be read; copy or make the file again")
    blank = content[: found.start(1)] + _NO_DIGITS + content[found.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise UserError(f"{path}: damaged: its contents differ from its checksum; copy or make the file again")
    if format is not None and metadata["format"] != format:
        raise UserError(f"{path}: a {metadata['format']} file, and a {format} file is wanted")
    if version is not None and metadata["version"] != version:
        raise UserError(
            f"{path}: version {metadata['version']} of the {metadata['format']} format, and version "
            f"{version} is read here; use the program that wrote it, or make the file again"
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from error
    settings = json.loads(metadata["settings"])
    return Sealed(metadata["format"], metadata["version"], settings, tensors, found[1].decode(), len(content))


def _ordered(content: bytes) -> bytes:
    """The same safetensors file with its header's entries in order; the library's order is random."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _content(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            head = file.read(9)
            return head + file.read() if _plausible(head) else head
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, and a file is wanted") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _plausible(content: bytes) -> bool:
    """Whether this may begin a safetensors file: the header's length, then the header."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def _metadata(path: str | os.PathLike[str], content: bytes) -> dict[str, str]:
    """The header's metadata, once the file's length is what the header says."""
    length = int.from_bytes(content[:8], "little")
    if not _plausible(content):
        raise UserError(f"{path}: not a safetensors file; models are never read from pickles or other formats")
    try:
        header = json.loads(content[8 : 8 + length])
        metadata = header["__metadata__"]
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        short = len(content) < 8 + length + end
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        if len(content) < 8 + length:
            raise UserError(f"{path}: cut short; copy or make the file again") from None
        raise UserError(f"{path}: damaged, or a safetensors file of another program") from None
    if short:
        raise UserError(f"{path}: cut short; copy or make the file again")
    if not isinstance(metadata, dict) or not {"format", "version", "settings", "sha256"} <= set(metadata):
        raise UserError(f"{path}: damaged, or a safetensors file of another program")
    return metadata
