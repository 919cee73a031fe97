"""Safetensors files byte by byte, with a right checksum where one is wanted, so that faults behind it are reached."""

import hashlib
import json
from typing import Any

NO_DIGITS = "0" * 64


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A file's header and what follows it."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header: dict[str, Any], data: bytes) -> bytes:
    """The inverse of `parts`."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_right_checksum(header: dict[str, Any], data: bytes) -> bytes:
    """A file of this header and data whose checksum is right."""
    header["__metadata__"]["sha256"] = NO_DIGITS
    blank = joined(header, data)
    return blank.replace(NO_DIGITS.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def corrupted(content: bytes, change: Any) -> bytes:
    """The file after `change(header, settings, data)`, with a right checksum; it may return other data."""
    header, data = parts(content)
    before = header["__metadata__"]["settings"]
    settings = json.loads(before)
    other = change(header, settings, data)
    if header["__metadata__"]["settings"] == before:
        header["__metadata__"]["settings"] = json.dumps(settings)
    return with_right_checksum(header, data if other is None else other)
