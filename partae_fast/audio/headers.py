"""What the header of an audio file claims, held against the file itself.

libsndfile believes most of what a header says of a file's length. Where that is too much, it is refused here before
anything is allocated for it; where it is too little, samples that are in the file would be lost without a word.
"""

import io
import os
import re
from pathlib import Path
from typing import IO, Any

from ..errors import UserError

# Formats that lose samples: of a damaged one, what can be decoded is taken.
LOSSY = ("MP3", "OGG")
# Formats whose bytes do not tell how many samples there are.
COMPRESSED = (*LOSSY, "FLAC")
# The most frames that a byte can stand for. FLAC: a block of 65535 in a frame of at least 11 bytes. Ogg: 4096 new
# ones in a packet of a byte, with its entry in the page. MP3: 1152 in 24 bytes. CAF may hold ALAC: 4096 in a packet.
# Of the others, the smallest sample is a bit.
_FRAMES_PER_BYTE = {"FLAC": 6000, "OGG": 4096, "MP3": 48, "CAF": 4096}
# libsndfile's count of frames where the header of a FLAC has none.
_UNKNOWN = 2**63 - 1
# What libsndfile notes of a file that ends before its header says so, or was never closed.
_CUT = re.compile(
    r"\b(data|riff|SSND|Data Size) *: \d+ \(should be|does not match value from 'ds64'|"
    r"Last page lacks an end-of-stream|Junk after the last page"
)
# What it notes of damage inside an Ogg file. It then begins behind it, at another time than the file's own.
_HOLE = re.compile(r"Corrupted bitstream|reports a hole")
# What it notes of a WAV where something follows its samples that is no chunk, zeros excepted.
_STRAY = "nknown chunk marker"
# So many bytes behind the samples may be tags.
_TAIL = 2**12
_WRAP = 2**32
# Frames of MPEG audio that an encoder may count and a decoder leave out at the ends.
_MP3_ENDS = 2 * 1152


class Source(io.FileIO):
    """A file's bytes from `start` on, for libsndfile.

    An error of the disk cannot pass through libsndfile, which then sees the end of the file: `fault` holds it.
    """

    def __init__(self, path: Path, start: int = 0):
        super().__init__(path)
        self._start = start
        self.fault: OSError | None = None
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return super().seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return super().tell() - self._start

    def readinto(self, buffer: Any, /) -> int:
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            self.fault = error
            return 0


def check_claim(path: Path, file: Any) -> None:
    """Raise UserError where the header of an open SoundFile claims what the file cannot hold, or nothing."""
    size = path.stat().st_size
    if file.frames == _UNKNOWN:
        raise UserError(
            f"{path}: its header does not say how long it is, as of a stream; convert it anew, for example with "
            "ffmpeg, to .wav or .flac"
        )
    if file.frames > size * _FRAMES_PER_BYTE.get(file.format, 8):
        raise UserError(
            f"{path}: its header claims {file.frames} samples a channel, {file.frames / file.samplerate / 3600:.3g} h, "
            f"and its {size} bytes cannot hold them; get it again or convert it anew"
        )
    if _HOLE.search(file.extra_info):
        raise UserError(
            f"{path}: damaged inside, so that the times of what follows are lost; get it again or convert it anew"
        )


def shortfall(path: Path, source: Source, file: Any, done: int) -> str | None:
    """What is to be said of an open SoundFile on `source`, of which `done` frames could be read, once none is left.

    Returns a warning, or None where the file is whole. Raises UserError where samples would be lost: a lossless
    file gives fewer than its header promises, or the file goes on behind the last of them.
    """
    promised, there = file.frames / file.samplerate, f"{done / file.samplerate:.2f} s"
    if file.format == "RAW":
        return f"{path}: its header gives no length, as of a recorder that died: all {there} to its end are taken"
    if done < file.frames and (file.format not in LOSSY or not done):
        raise UserError(
            f"{path}: cut short: its header promises {promised:.2f} s and {there} can be read; get it again or convert "
            "it anew"
        )
    if done + _MP3_ENDS < file.frames:
        return (
            f"{path}: damaged or cut short: {promised:.2f} s are promised and {there} could be decoded: these are taken"
        )
    if _CUT.search(file.extra_info):
        ending = "its end is missing" if file.format in LOSSY else "its header promises more than it holds"
        return (
            f"{path}: {ending}, as of a copy cut short or a recorder that was not stopped: the {there} in it are taken"
        )
    size = path.stat().st_size
    unread = size - source.tell() if file.format in COMPRESSED or _STRAY in file.extra_info else 0
    if unread > max(_TAIL, 0.05 * size):
        raise UserError(
            f"{path}: goes on for {unread} bytes behind the {there} that its header promises; convert it anew, for "
            "example with ffmpeg, to .wav or .flac"
        )
    return None


def unclosed_start(path: Path) -> int | None:
    """Where the samples begin of a WAV or RF64 that was never closed, so that its header gives their length as 0.

    Also of a WAV longer than 4 GiB, by a program that counts in 32 bits, so that its header gives the length modulo
    2**32. The samples go on to the end of the file. None for one that has its length, and for any other file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head, long = file.read(12), None
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        while (chunk := _chunk(file, size)) is not None:
            name, length = chunk
            start = file.tell()
            if name == b"data":
                there = size - start
                length = length if long is None else long
                if length == 0 and there and _chunk(file, size) is None:
                    return start
                more = long is None and there > length
                return start if more and (length >= _WRAP - 2**16 or (there - length) % _WRAP == 0) else None
            if name == b"ds64":  # RF64: the length in 64 bits, behind that of the whole
                long = int.from_bytes(file.read(16)[8:], "little")
            file.seek(start + length + length % 2)
    return None


def _chunk(file: IO[bytes], size: int) -> tuple[bytes, int] | None:
    """Name and length of the chunk that begins here in a file of `size` bytes; None where there is no chunk."""
    head = file.read(8)
    name, length = head[:4], int.from_bytes(head[4:], "little")
    named = len(head) == 8 and all(32 <= letter < 127 for letter in name)
    return (name, length) if named and (name == b"data" or file.tell() + length <= size) else None
