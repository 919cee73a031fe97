"""Write WAV and RF64 files with all metadata chunks of a recording.

Recorders write the device, the place and the time into chunks that libsndfile does not copy: `guan` (GUANO), `wamd`
(Wildlife Acoustics), `bext` and `iXML` (Broadcast Wave), `cue `. They are copied byte by byte, in their order and on
their side of the samples. GUANO and Broadcast Wave have a field for the processing of the audio, which gets a line.
"""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

# libsndfile's names of the tags, and the chunks of a LIST of type INFO that hold them.
INFO_CHUNKS = {
    "title": b"INAM",
    "copyright": b"ICOP",
    "software": b"ISFT",
    "artist": b"IART",
    "comment": b"ICMT",
    "date": b"ICRD",
    "album": b"IPRD",
    "tracknumber": b"ITRK",
    "genre": b"IGNR",
}
# Subtypes of WAV: format tag and bytes per sample.
_ENCODINGS = {
    "PCM_U8": (1, 1),
    "PCM_16": (1, 2),
    "PCM_24": (1, 3),
    "PCM_32": (1, 4),
    "FLOAT": (3, 4),
    "DOUBLE": (3, 8),
}
# Chunks that describe the samples, which change, or that only fill space.
_MAGIC = (b"RIFF", b"RF64", b"BW64")
_NOT_COPIED = frozenset(
    (b"fmt ", b"data", b"ds64", b"fact", b"PEAK", b"levl", b"JUNK", b"junk", b"FLLR", b"PAD ", b"fake")
)
_LONGEST_HEADER = 2**16  # bytes in which the samples are searched for
_WRAP = 2**32
# bext: the text of the coding history follows 602 bytes of fields.
_CODING_HISTORY = 602
_LARGEST_TEXT = 2**24  # bytes; a larger chunk of text is copied without a note


@dataclass(frozen=True)
class Chunk:
    """A chunk of a WAV or RF64 file: its name, the offset and length of its content, and its side of the samples.

    `kind` is the type of a LIST, such as b"INFO"; b"" for other chunks.
    """

    path: Path
    name: bytes
    start: int
    length: int
    before_samples: bool
    kind: bytes = b""

    def __str__(self) -> str:
        return (self.kind or self.name).decode("ascii").strip()


def read_chunk_header(file: IO[bytes], size: int) -> tuple[bytes, int] | None:
    """Read the name and length of a chunk in a file of `size` bytes; return None if no chunk begins here."""
    header = file.read(8)
    name, length = header[:4], int.from_bytes(header[4:], "little")
    valid_name = len(header) == 8 and all(32 <= letter < 127 for letter in name)
    return (name, length) if valid_name and (name == b"data" or file.tell() + length <= size) else None


@dataclass(frozen=True)
class Layout:
    """What the header of a WAV, RF64 or BW64 file says, and where its samples are.

    subtype: libsndfile's name of the encoding; None for one that is not plain integers or floats.
    padded: whether samples lie in more bytes than their bits need.
    start, end: bytes of the file between which the samples are.
    claimed: length of the samples in bytes by the header.
    """

    rate: int
    channels: int
    subtype: str | None
    padded: bool
    start: int
    end: int
    claimed: int

    @property
    def format(self) -> tuple[int, int, str | None]:
        """Rate, channels and subtype."""
        return self.rate, self.channels, self.subtype

    @property
    def is_plain(self) -> bool:
        """Whether the samples can be read without the header, which has a rate, channels and at least one sample."""
        usable = 0 < self.rate < 2**31 and 0 < self.channels <= 1024 and self.end > self.start
        return usable and self.subtype is not None and not self.padded

    @property
    def is_complete(self) -> bool:
        """Whether the file is as long as its header says."""
        return self.end == self.start + self.claimed


def wave_offset(path: Path) -> int | None:
    """Return where a little-endian WAV, RF64 or BW64 file begins, after an ID3 tag if there is one; None for others."""
    with open(path, "rb") as file:
        offset = id3_length(file.read(10))
        file.seek(offset)
        magic = file.read(12)
    return offset if magic[:4] in _MAGIC and magic[8:] == b"WAVE" else None


def id3_length(header: bytes) -> int:
    """Return the length of the ID3 tag with these first 10 bytes; 0 if they are of no tag."""
    if len(header) < 10 or header[:3] != b"ID3" or any(byte > 127 for byte in header[6:10]):
        return 0
    length = sum(byte << 7 * (3 - index) for index, byte in enumerate(header[6:10]))
    return 10 + length + (10 if header[5] & 16 else 0)


def layout_of(path: Path) -> Layout | None:
    """Return the layout of a file, also of one with faulty chunks before its samples; None if there is none."""
    layout, format, rf64_length = None, b"", None
    for name, start, length, file in _chunks(path):
        if name == b"fmt ":
            format = file.read(40)[:length]
        elif name == b"ds64":
            rf64_length = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"data" and layout is not None:
            return None  # samples in two places
        elif name == b"data" and len(format) >= 16:
            claimed = length if rf64_length is None else rf64_length
            layout = _layout(format, start, claimed, path.stat().st_size)
    return layout


def _layout(format: bytes, start: int, claimed: int, size: int) -> Layout:
    """Return the layout of a file of `size` bytes with this fmt chunk."""
    tag, channels, rate, byte_rate, frame, bits = struct.unpack("<HHIIHH", format[:16])
    if tag == 0xFFFE and len(format) >= 26:  # extensible: the tag follows
        tag = int.from_bytes(format[24:26], "little")
    width = -(-bits // 8)
    padded = tag == 1 and 0 < width * channels < frame and frame % channels == 0 and byte_rate == rate * frame
    names = (name for name, encoding in _ENCODINGS.items() if encoding == (tag, width) and bits % 8 == 0)
    return Layout(rate, channels, next(names, None), padded, start, min(start + claimed, size), claimed)


def is_followed_by_wave(path: Path) -> bool:
    """Return whether a WAV file begins after the chunks of the first one in a file."""
    return any(name in _MAGIC and file.read(4) == b"WAVE" for name, _, _, file in _chunks(path))


def metadata_chunks(path: Path) -> tuple[Chunk, ...]:
    """Return the chunks of a WAV or RF64 file that hold metadata, and none for other files.

    Chunks after the samples are found if the length of the samples is right.
    """
    chunks: list[Chunk] = []
    before = True
    for name, start, length, file in _chunks(path):
        kind = file.read(4) if name == b"LIST" else b""
        if name == b"data":
            before = False
        elif name not in _NOT_COPIED and kind != b"wavl":
            chunks.append(Chunk(path, name, start, length, before, kind))
    return tuple(chunks)


def _chunks(path: Path) -> Iterator[tuple[bytes, int, int, IO[bytes]]]:
    """Yield name, start and length of each chunk, and the open file, which is at the start."""
    offset = wave_offset(path)
    if offset is None:
        return
    size = path.stat().st_size
    with open(path, "rb") as file:
        rf64_length, end, in_header = None, offset + 12, True
        while (header := _chunk_header_at(file, end, size, in_header)) is not None:
            name, length = header
            start = file.tell()
            if name == b"ds64":
                rf64_length = int.from_bytes(file.read(16)[8:], "little")
                file.seek(start)
            yield name, start, length, file
            in_header = in_header and name != b"data"
            end = start + (rf64_length if name == b"data" and rf64_length is not None else length)


def _chunk_header_at(file: IO[bytes], end: int, size: int, in_header: bool) -> tuple[bytes, int] | None:
    """Read the header of the chunk after one that ends at `end`; return None if there is none.

    A chunk of odd length is followed by a byte of padding, which some programs leave out. After a chunk with a wrong
    length before the samples, these are searched for.
    """
    if end > size:  # perhaps by more than a file can be long
        return None
    for start in (end + 1, end) if end % 2 else (end,):
        file.seek(start)
        if header := read_chunk_header(file, size):
            return header
    if not in_header:
        return None
    file.seek(end)
    found = file.read(_LONGEST_HEADER).find(b"data", 1)
    file.seek(end + max(found, 0))
    return read_chunk_header(file, size) if found > 0 else None


def info_list(tags: Mapping[str, str]) -> bytes:
    """Return the content of a LIST chunk of type INFO with tags by libsndfile's names."""
    items = ((INFO_CHUNKS[name], text.encode() + b"\0") for name, text in tags.items() if name in INFO_CHUNKS)
    return b"INFO" + b"".join(_chunk(name, content) for name, content in items)


def with_note(chunk: Chunk, content: bytes, note: str, rate: int, channels: int, bits: int) -> bytes:
    """Return the content of a chunk with a note of the processing, if the chunk has a place for it.

    GUANO has the field Note, and `bext` has the coding history, whose lines begin with the encoding.
    """
    if chunk.name == b"guan" and content.lstrip(b"\xef\xbb\xbf").startswith(b"GUANO|"):
        lines = content.rstrip(b"\0 \r\n\t").split(b"\n")
        for index, line in enumerate(lines):
            if line.partition(b":")[0].strip() == b"Note":
                lines[index] = line.rstrip() + b"\\n" + note.encode()  # GUANO writes a line break as \n
                break
        else:
            lines.append(b"Note: " + note.encode())
        return b"\n".join(lines) + b"\n"
    if chunk.name == b"bext" and len(content) >= _CODING_HISTORY:
        history = content[_CODING_HISTORY:].rstrip(b"\0")
        history += b"" if not history or history.endswith(b"\r\n") else b"\r\n"
        mode = {1: "M=mono,", 2: "M=stereo,"}.get(channels, "")
        line = f"A=PCM,F={rate},W={bits},{mode}T={note.replace(',', ';')}\r\n"
        return content[:_CODING_HISTORY] + history + line.encode()
    return content


class WaveFile:
    """WAV or RF64 file that is written block by block, as a context manager.

    Args:
        path: file to write; it is overwritten.
        rate, channels: of the samples.
        subtype: libsndfile's name of the encoding.
        rf64: write RF64, whose lengths have 64 bits.
        tags: strings by libsndfile's names, for a LIST of type INFO. They are left out if `chunks` has one.
        chunks: chunks of other files to copy.
        note: what was done to the audio; see `with_note`.

    Raises UserError if the header cannot hold the rate or the channels.
    """

    def __init__(
        self,
        path: Path,
        rate: int,
        channels: int,
        subtype: str,
        rf64: bool = False,
        tags: Mapping[str, str] | None = None,
        chunks: Sequence[Chunk] = (),
        note: str | None = None,
    ) -> None:
        self.format, self.subtype, self.channels, self._rf64 = "RF64" if rf64 else "WAV", subtype, channels, rf64
        self._rate, self._chunks, self._note = rate, chunks, note
        self._encoding, self._bytes = _ENCODINGS[subtype]
        if not 1 <= channels <= 1024 or rate * channels * self._bytes >= _WRAP:
            raise UserError(f"{path}: a WAV file cannot have {rate} Hz with {channels} channels; use fewer channels")
        self._file: IO[bytes] = open(path, "wb", buffering=2**18)  # noqa: SIM115 (closed by __exit__)
        self._length = 0
        try:
            self._write_header({} if any(chunk.kind == b"INFO" for chunk in chunks) else tags or {})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "WaveFile":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()

    def write(self, samples: NDArray[Any]) -> None:
        """Append samples (T, channels) or (T,): floats, or 16-bit integers for PCM_16. Samples beyond 1 are clipped."""
        encoded = np.ascontiguousarray(self._encoded(samples))
        self._file.write(encoded.data)
        self._length += encoded.nbytes

    def _encoded(self, samples: NDArray[Any]) -> NDArray[Any]:
        if self._encoding == 3:
            return samples.astype("<f4" if self._bytes == 4 else "<f8", copy=False)
        if np.issubdtype(samples.dtype, np.integer):
            return samples.astype("<i2", copy=False)
        full = 2.0 ** (8 * self._bytes - 1)
        # float64 holds 32-bit integers exactly, and float32 those of 24 bits.
        steps = samples.astype(np.float64, copy=False) if self._bytes == 4 else samples
        steps = steps * steps.dtype.type(full)
        np.clip(np.rint(steps, out=steps), -full, full - 1, out=steps)
        if self._bytes == 1:
            return (steps + 128).astype(np.uint8)
        integers = steps.astype("<i4")
        if self._bytes == 3:
            return np.ascontiguousarray(integers).view(np.uint8).reshape(-1, 4)[:, :3]
        return integers.astype(f"<i{self._bytes}", copy=False)

    def _write_header(self, tags: Mapping[str, str]) -> None:
        self._file.write(b"RF64\xff\xff\xff\xffWAVE" if self._rf64 else b"RIFF\0\0\0\0WAVE")
        if self._rf64:
            self._file.write(_chunk(b"ds64", bytes(28)))
        frame = self.channels * self._bytes
        format = struct.pack(
            "<HHIIHH", self._encoding, self.channels, self._rate, self._rate * frame, frame, 8 * self._bytes
        )
        self._file.write(_chunk(b"fmt ", format))
        if self._encoding == 3:
            self._fact = self._file.tell() + 8
            self._file.write(_chunk(b"fact", bytes(4)))
        if tags:
            self._file.write(_chunk(b"LIST", info_list(tags)))
        self._copy_chunks(before_samples=True)
        self._data = self._file.tell()
        self._file.write(b"data" + (b"\xff\xff\xff\xff" if self._rf64 else bytes(4)))

    def _finish(self) -> None:
        """Write the chunks after the samples, and the lengths."""
        if self._length % 2:
            self._file.write(b"\0")
        self._copy_chunks(before_samples=False)
        size, frames = self._file.tell() - 8, self._length // (self.channels * self._bytes)
        if self._rf64:
            lengths = [(20, struct.pack("<QQQ", size, self._length, frames))]
        elif size >= _WRAP:
            raise UserError(f"{self._file.name}: is longer than 4 GB, more than its header can say; write .rf64")
        else:
            lengths = [(4, struct.pack("<I", size)), (self._data + 4, struct.pack("<I", self._length))]
        if self._encoding == 3:
            lengths.append((self._fact, struct.pack("<I", min(frames, _WRAP - 1))))
        for position, length in lengths:
            self._file.seek(position)
            self._file.write(length)

    def _copy_chunks(self, before_samples: bool) -> None:
        for chunk in self._chunks:
            content = self._noted(chunk)
            length = chunk.length if content is None else len(content)
            # libsndfile 1.2.2 does not find the samples of an RF64 file after a chunk of odd length.
            before = chunk.before_samples and not (self._rf64 and length % 2)
            if before != before_samples:
                continue
            if content is not None:
                self._file.write(_chunk(chunk.name, content))
                continue
            self._file.write(chunk.name + struct.pack("<I", length))
            with open(chunk.path, "rb") as source:
                source.seek(chunk.start)
                for part in _parts(source, length):
                    self._file.write(part)
            self._file.write(b"\0" * (length % 2))

    def _noted(self, chunk: Chunk) -> bytes | None:
        """Return the content of a chunk with the note; None if the chunk has no place for one."""
        if not self._note or chunk.name not in (b"guan", b"bext") or chunk.length > _LARGEST_TEXT:
            return None
        with open(chunk.path, "rb") as source:
            source.seek(chunk.start)
            content = source.read(chunk.length)
        content = with_note(chunk, content, self._note, self._rate, self.channels, 8 * self._bytes)
        return content + b"\0" * (len(content) % 2 if self._rf64 else 0)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _parts(source: IO[bytes], length: int) -> Iterator[bytes]:
    """Yield `length` bytes of an open file in parts, with zeros if it has fewer."""
    while length:
        part = source.read(min(length, io.DEFAULT_BUFFER_SIZE * 16)) or bytes(min(length, 2**16))
        length -= len(part)
        yield part
