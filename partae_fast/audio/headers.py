"""Check the length in an audio file's header against the file itself.

libsndfile trusts the length in a header. If it is too large, the file is refused before anything is allocated; if it is
too small, samples would be lost without a warning.
"""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import phones
from .wave import id3_length, is_followed_by_wave, layout_of, read_chunk_header

# Lossy formats: a damaged file is decoded as far as possible.
LOSSY = ("MP3", "OGG", phones.FORMAT)
# Formats whose size in bytes does not give the number of samples, and whose samples end with the file.
COMPRESSED = ("MP3", "OGG", "FLAC")
# The most frames that one byte can encode. FLAC: a block of 65535 in a frame of at least 11 bytes. Ogg: 4096 in a
# packet of one byte, with its entry in the page. MP3: 1152 in 24 bytes. AAC: 2048 in a packet. CAF may hold ALAC: 4096
# in a packet. In the other formats the smallest sample is one bit.
_FRAMES_PER_BYTE = {"FLAC": 6000, "OGG": 4096, "MP3": 48, "CAF": 4096, phones.FORMAT: 4096}
# Warnings about samples that are read without the header; Source fills in the file and the length.
UNCLOSED = "its header has no length, as after a loss of power: all {seconds} up to its end are used"
CUT_SHORT = "its header says more than it holds, as after an interrupted copy or recording; the {seconds} are used"
WAVE = ("WAV", "WAVEX", "RF64")
# libsndfile's number of frames for a FLAC header without a length.
_UNKNOWN = 2**63 - 1
# libsndfile's log lines for a file that ends before its header says, or was never closed.
_CUT = re.compile(
    r"\b(data|riff|SSND|Data Size) *: \d+ \(should be|does not match value from 'ds64'|"
    r"Last page lacks an end-of-stream|Junk after the last page"
)
# Its log lines for damage inside an Ogg file. It starts decoding after the damage, so all times are wrong.
_HOLE = re.compile(r"Corrupted bitstream|reports a hole")
# Its log line for a WAV file whose samples are followed by bytes that are neither a chunk nor zeros.
_STRAY = "nknown chunk marker"
# Bytes after the samples that may be tags.
_TAIL = 2**12
_WRAP = 2**32
# Frames at the ends of an MP3 file that an encoder may count and a decoder leaves out.
_MP3_ENDS = 2 * 1152


class Source(io.FileIO):
    """Bytes of a file from `start` on, for libsndfile and FFmpeg.

    An error of the disk cannot pass through them. They see the end of the file instead; `disk_error` holds the error.

    Args:
        path: the file.
        start, end: bytes between which it is read.
        warning: what to say about the file after reading it; "{seconds}" stands for how long it is.
    """

    def __init__(self, path: Path, start: int = 0, end: int | None = None, warning: str = ""):
        super().__init__(path)
        self._start, self._end, self.warning = start, end, warning
        self.disk_error: OSError | None = None
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET:
            offset += self._start
        elif whence == os.SEEK_END and self._end is not None:
            offset, whence = self._end + offset, os.SEEK_SET
        # A damaged header can send libsndfile to a place before the start, or beyond all files.
        with contextlib.suppress(OSError, OverflowError):
            super().seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return super().tell() - self._start

    def readinto(self, buffer: Any, /) -> int:
        left = len(buffer) if self._end is None else max(0, self._end - super().tell())
        try:
            return super().readinto(memoryview(buffer)[:left]) or 0
        except OSError as error:
            self.disk_error = error
            return 0

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size) or b""
        except OSError as error:
            self.disk_error = error
            return b""


def first_byte(path: Path) -> int:
    """Return where libsndfile has to begin: after an ID3 tag before WAV or AIFF, of which it reads too few samples."""
    with open(path, "rb") as file:
        length = id3_length(file.read(10))
        file.seek(length)
        return length if file.read(4) in (b"RIFF", b"RF64", b"FORM") else 0


def is_lossy(file: Any) -> bool:
    """Return whether a SoundFile or AudioInfo is lossy. MP3 may lie in a WAV file."""
    return file.format in LOSSY or "MPEG" in file.subtype


def check_claim(path: Path, file: Any) -> None:
    """Raise UserError if the header of an open SoundFile has no length or one that the file cannot hold."""
    size = path.stat().st_size
    densest = "MP3" if "MPEG" in file.subtype else file.format
    if file.frames == _UNKNOWN:
        raise UserError(
            f"{path}: its header has no length, as in a saved stream; convert it to .wav or .flac, for example with "
            "ffmpeg"
        )
    if file.frames > size * _FRAMES_PER_BYTE.get(densest, 8):
        raise UserError(
            f"{path}: its header claims {file.frames} samples per channel, "
            f"{file.frames / file.samplerate / 3600:.3g} h, but its {size} bytes cannot hold them; copy or convert it "
            "again"
        )
    if _HOLE.search(file.extra_info):
        raise UserError(f"{path}: damaged inside, so the times after the damage are unknown; copy or convert it again")


def shortfall(path: Path, source: Source, file: Any, frames: int) -> str | None:
    """Return a warning about an open SoundFile on `source`, of which `frames` frames could be read, or None.

    Raises UserError if samples would be lost: a lossless file has fewer than its header says, or the file continues
    after the last of them.
    """
    if isinstance(file, phones.PhoneFile):
        return file.shortfall(frames)
    claimed, readable = f"{file.frames / file.samplerate:.2f} s", f"{frames / file.samplerate:.2f} s"
    if is_followed_by_wave(path):
        raise UserError(
            f"{path}: another WAV file follows the {readable} of the first, as after joining files with cat; split it "
            "there, and join the parts with an audio editor"
        )
    if file.format == "RAW":
        return f"{path}: {source.warning.format(seconds=readable)}" if source.warning else None
    if frames < file.frames and (not is_lossy(file) or not frames):
        raise UserError(
            f"{path}: cut short: its header says {claimed} but only {readable} can be read; copy or convert it again"
        )
    if frames + _MP3_ENDS < file.frames:
        return f"{path}: damaged or cut short: its header says {claimed}; the {readable} that could be decoded are used"
    layout = layout_of(path) if file.format in WAVE else None
    cut = _CUT.search(file.extra_info) if layout is None else not layout.is_complete
    if cut:
        fault = "its end is missing" if is_lossy(file) else "its header says more than it holds"
        return f"{path}: {fault}, as after an interrupted copy or recording; the {readable} that could be read are used"
    size = path.stat().st_size
    unread = size - source.tell() if file.format in COMPRESSED or _STRAY in file.extra_info else 0
    if unread > max(_TAIL, 0.05 * size):
        raise UserError(
            f"{path}: has {unread} more bytes after the {readable} that its header says; convert it to .wav or .flac, "
            "for example with ffmpeg"
        )
    return None


def unclosed_start(path: Path) -> int | None:
    """Return the offset of the samples in a WAV or RF64 file whose header has a wrong length, or None.

    A file that was never closed has length 0 in its header, and a WAV file of more than 4 GiB, written by a program
    that counts in 32 bits, has its length modulo 2**32. Its samples extend to the end of the file. Returns None if the
    length is right, and for other formats.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start_of_file, rf64_length = file.read(12), None
        if start_of_file[:4] not in (b"RIFF", b"RF64") or start_of_file[8:] != b"WAVE":
            return None
        while (chunk := read_chunk_header(file, size)) is not None:
            name, length = chunk
            start = file.tell()
            if name == b"data":
                available = size - start
                length = length if rf64_length is None else rf64_length
                if length == 0 and available and read_chunk_header(file, size) is None:
                    return start
                longer = rf64_length is None and available > length
                return start if longer and (length >= _WRAP - 2**16 or (available - length) % _WRAP == 0) else None
            if name == b"ds64":  # RF64: the 64-bit length of the file, then that of the samples
                rf64_length = int.from_bytes(file.read(16)[8:], "little")
            file.seek(start + length + length % 2)
    return None
