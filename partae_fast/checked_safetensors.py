"""Safetensors files with JSON settings and a checksum over every byte.

The metadata has four strings: `format` (the kind of file), `version` (of the format), `settings` (JSON) and `sha256`,
the SHA-256 of the file with the 64 digits of this entry replaced by zeros. Equal contents give equal bytes.
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

_ZEROS = b"0" * 64
# Quotes inside `settings` are escaped, so this matches at the entry itself only.
_DIGITS = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_LARGEST_HEADER = 2**20  # bytes; partae writes headers of a few thousand bytes
_LONGEST_QUOTE = 120  # characters of a file's text that an error message repeats


@dataclass(frozen=True)
class CheckedFile:
    """The contents of a file."""

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
    """Write settings and tensors to a file, atomically.

    Raises UserError if the file cannot be written.
    """
    from safetensors.torch import save

    metadata = {
        "format": format,
        "version": version,
        "settings": json.dumps(settings, sort_keys=True, allow_nan=False),
        "sha256": _ZEROS.decode(),
    }
    content = _sort_header(save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata))
    digits = hashlib.sha256(content).hexdigest().encode()
    match = _DIGITS.search(content)
    assert match is not None
    with atomic_path(path, overwrite) as temporary:
        temporary.write_bytes(content[: match.start(1)] + digits + content[match.end(1) :])


def shorten(text: str) -> str:
    """Shorten text from a file so that it fits into an error message."""
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def read(path: str | os.PathLike[str], format: str | None = None, version: str | None = None) -> CheckedFile:
    """Read a file and check its checksum, format and version.

    Takes a few times the size of the file in memory.

    Raises UserError if the file is missing, not a plain file, not a safetensors file written by partae, cut short or
    changed, or if it has another format or version than asked for.
    """
    from safetensors.torch import load

    content, metadata = _read_content(path)
    match = _DIGITS.search(content)
    if match is None:
        raise UserError(f"{path}: damaged: its checksum cannot be read; copy or make the file again")
    digest, view = hashlib.sha256(), memoryview(content)
    for part in (view[: match.start(1)], _ZEROS, view[match.end(1) :]):
        digest.update(part)
    if digest.hexdigest().encode() != match[1]:
        raise UserError(f"{path}: damaged: its contents differ from its checksum; copy or make the file again")
    if format is not None and metadata["format"] != format:
        raise UserError(f"{path}: is a {shorten(metadata['format'])} file; a {format} file is needed here")
    if version is not None and metadata["version"] != version:
        raise UserError(
            f"{path}: has version {shorten(metadata['version'])} of the {shorten(metadata['format'])} format; this "
            f"program reads version {version}; use the program that wrote the file, or make the file again"
        )
    try:
        tensors, settings = load(content), json.loads(metadata["settings"])
    except Exception as error:  # safetensors raises SafetensorError and several built-in exceptions
        raise UserError(f"{path}: not a readable safetensors file: {error!r}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: its settings are not a JSON object; make the file again")
    return CheckedFile(metadata["format"], metadata["version"], settings, tensors, match[1].decode(), len(content))


def require_settings(path: str | os.PathLike[str], settings: dict[str, Any], expected_names: set[str]) -> None:
    """Raise UserError unless a file's settings have exactly the expected names."""
    if set(settings) != expected_names:
        names = ", ".join(sorted(expected_names ^ set(settings)))
        raise UserError(
            f"{path}: settings unknown or missing: {shorten(names)}; another version of partae wrote the file"
        )


def require_tensors(
    path: str | os.PathLike[str], tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    """Raise UserError unless a file has exactly the expected tensors.

    Each tensor must have the expected type and shape.
    """
    if set(tensors) != set(expected):
        missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise UserError(
            f"{path}: tensors missing: {', '.join(missing) or 'none'}, "
            f"unknown: {shorten(', '.join(extra)) or 'none'}; train it again"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise UserError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, expected {expected[name].dtype} "
                f"{tuple(expected[name].shape)}; train it again"
            )


def _sort_header(content: bytes) -> bytes:
    """Sort the header entries, which the library writes in random order."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _read_content(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """Read a file and the metadata in its header.

    The rest of the file is read only if the header is valid.
    """
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # reading from a pipe would block
            kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
            raise UserError(f"{path}: is {kind}; give a file")
        with open(path, "rb") as file:
            head = file.read(9)
            if not _is_plausible(head):
                raise UserError(f"{path}: not a safetensors file; partae reads no pickles and no other formats")
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


def _is_plausible(content: bytes) -> bool:
    """Return whether a file starts with a header length and a JSON object."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def _metadata(path: str | os.PathLike[str], header: bytes) -> tuple[dict[str, str], int]:
    """Return the metadata of a header, and the number of bytes after it.

    The number follows from the offsets of the tensors.
    """
    problem = f"{path}: damaged, or a safetensors file of another program"
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__")
        length = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        has_strings = all(isinstance(metadata[name], str) for name in ("format", "version", "settings", "sha256"))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise UserError(problem) from None
    if not (has_strings and isinstance(length, int)):
        raise UserError(problem)
    return metadata, length
