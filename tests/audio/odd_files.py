"""A corpus of odd audio files, made by code: what recorders, programs and accidents write, and what happens to each."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from . import tagged_files
from . import wave_chunks as w

RATE = 22050
STEPS = np.random.default_rng(0).integers(-3000, 3000, 5000)
FLOATS = (STEPS / 2**15).astype(np.float32)
BYTES = 2 * len(STEPS)
WAVE = w.wave(STEPS)
ID3 = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)


@dataclass(frozen=True)
class Odd:
    """An odd file and what happens to it.

    content: what makes the file: its bytes, or a function that writes it.
    suffix: of the file.
    frames: that are read, or None if the file is refused.
    exact: whether the samples read are the first of `FLOATS`.
    message: pattern of the error, or of the one warning; "" for no warning.
    """

    content: bytes | Callable[[Path], object]
    frames: int | None = None
    message: str = ""
    suffix: str = ".wav"
    exact: bool = True

    def write(self, path: Path) -> None:
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)


def at(content: bytes, position: int, replacement: bytes) -> bytes:
    """Return content with other bytes from a position on."""
    return content[:position] + replacement + content[position + len(replacement) :]


def data_length(content: bytes, length: int) -> bytes:
    """Return a WAV file whose header claims another length of its samples."""
    return at(content, content.index(b"data") + 4, struct.pack("<I", length))


def format_of(**fields: int) -> bytes:
    """Return a WAV file with other fields of the fmt chunk, by their offset in it."""
    offsets = {"tag": (0, "<H"), "channels": (2, "<H"), "rate": (4, "<I"), "byte_rate": (8, "<I")}
    offsets |= {"frame": (12, "<H"), "bits": (14, "<H")}
    content = WAVE
    for name, value in fields.items():
        offset, code = offsets[name]
        content = at(content, 20 + offset, struct.pack(code, value))
    return content


def ds64(**lengths: int) -> bytes:
    """Return an RF64 file with other lengths in its ds64 chunk."""
    content = w.rf64(STEPS)
    for name, value in lengths.items():
        content = at(content, 20 + 8 * ("riff", "data", "frames").index(name), struct.pack("<Q", value))
    return content


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def written(format: str, subtype: str | None = None, samples=FLOATS, rate: int = RATE) -> Callable[[Path], object]:
    return lambda path: soundfile.write(path, samples, rate, format=format, subtype=subtype)


def changed(format: str, change: Callable[[bytes], bytes], subtype: str | None = None) -> Callable[[Path], object]:
    """Return a function that writes a file with libsndfile and then changes its bytes."""

    def write(path: Path) -> None:
        written(format, subtype)(path)
        path.write_bytes(change(path.read_bytes()))

    return write


def mp3_in_wave(path: Path) -> None:
    """Write a silent second, of which a byte of MP3 holds more than 8 samples."""
    soundfile.write(path, np.zeros(44100), 44100, format="MP3")
    content = path.read_bytes()
    format = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 44100, 8000, 1, 0, 12, 1, 2, 417, 1, 1393)
    path.write_bytes(
        riff(w.chunk(b"fmt ", format), w.chunk(b"fact", struct.pack("<I", 5000)), w.chunk(b"data", content))
    )


def big_endian() -> bytes:
    format = b"fmt " + struct.pack(">IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + format + b"data" + struct.pack(">I", BYTES) + STEPS.astype(">i2").tobytes()
    return b"RIFX" + struct.pack(">I", len(body)) + body


def extensible(bits: int = 16, mask: int = 4) -> bytes:
    guid = b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    format = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, bits, mask) + guid
    return riff(w.chunk(b"fmt ", format), w.chunk(b"data", STEPS.astype("<i2").tobytes()))


def wide(width: int, bits: int) -> bytes:
    """Return samples of so many bits in so many bytes."""
    format = w.chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, RATE * width, width, bits))
    return riff(format, w.chunk(b"data", bytes(width * 5000)))


def with_sample(value: float, subtype: str = "FLOAT") -> Callable[[Path], object]:
    samples = FLOATS.astype(np.float64)
    samples[2205] = value
    return written("WAV", subtype, samples)


CUT = "its header says more than it holds, as after an interrupted copy or recording; the 0.23 s that could be read"
OPEN = "its header has no length, as after a loss of power: all 0.23 s up to its end are used"
LIST = b"INFOICMT" + struct.pack("<I", 3) + b"abc"
DATA = w.chunk(b"data", STEPS.astype("<i2").tobytes())
FORMAT = w.format_chunk()

ODD = {
    # The length of the samples in a WAV header.
    "data claims a little more": Odd(data_length(WAVE, BYTES + 1000), 5000, CUT),
    "data claims 2 GiB": Odd(data_length(WAVE, 2**31), 5000, CUT),
    "data claims 4 GiB": Odd(data_length(WAVE, 2**32 - 1), 5000, CUT),
    "data claims nothing": Odd(data_length(WAVE, 0), 5000, OPEN),
    "data claims half": Odd(data_length(WAVE, BYTES // 2), None, r"has 5000 more bytes after the 0\.11 s that its"),
    "data ends in half a sample": Odd(data_length(WAVE, BYTES - 1)[:-1], 4999),
    "data is cut": Odd(WAVE[:-4000], 3000, r"its header says more than it holds, .* the 0\.14 s that could be read"),
    "data is missing": Odd(WAVE[: WAVE.index(b"data")], None, "not usable as audio"),
    "data is empty": Odd(riff(FORMAT, w.chunk(b"data", b"")), None, "has a header but no samples"),
    "data in two places": Odd(WAVE + DATA, None, "not usable as audio"),
    "two files joined with cat": Odd(WAVE + WAVE, None, r"another WAV file follows the 0\.23 s of the first"),
    "data comes before the format": Odd(riff(DATA, FORMAT), None, "not usable as audio"),
    # The length of the whole file.
    "RIFF claims nothing": Odd(at(WAVE, 4, bytes(4)), 5000),
    "RIFF claims 4 GiB": Odd(at(WAVE, 4, b"\xff" * 4), 5000),
    "RIFF and data claim nothing": Odd(at(data_length(WAVE, 0), 4, bytes(4)), 5000, OPEN),
    "text follows": Odd(WAVE + b"recorded at dawn\n" * 20, 5000),
    "zeros follow": Odd(WAVE + bytes(5000), 5000),
    "random bytes follow": Odd(WAVE + b"\x80" * 9000, None, "has 9000 more bytes after the 0.23 s"),
    # Other chunks.
    "fact claims too much": Odd(riff(FORMAT, w.chunk(b"fact", b"\xff\xff\xff\x7f"), DATA), 5000),
    "JUNK comes first": Odd(riff(w.chunk(b"JUNK", bytes(28)), FORMAT, DATA), 5000),
    "odd chunk without padding": Odd(riff(FORMAT, b"note\x03\0\0\0abc", DATA), 5000),
    "odd LIST without padding": Odd(riff(FORMAT, b"LIST" + struct.pack("<I", len(LIST)) + LIST, DATA), 5000),
    "odd LIST without padding at the end": Odd(WAVE + b"LIST" + struct.pack("<I", len(LIST)) + LIST, 5000),
    "LIST claims 2 GiB": Odd(riff(FORMAT, b"LIST\0\0\0\x80" + LIST, DATA), 5000),
    "LIST at the end claims 2 GiB": Odd(WAVE + b"LIST\0\0\0\x80" + LIST, 5000),
    "bext at the end claims too much": Odd(WAVE + b"bext\x40\x42\x0f\0" + bytes(700), 5000),
    "ID3 tag before the header": Odd(ID3 + WAVE, 5000),
    # The format chunk.
    "format of 18 bytes": Odd(riff(w.chunk(b"fmt ", FORMAT[8:] + b"\0\0"), DATA), 5000),
    "format cut short": Odd(riff(w.chunk(b"fmt ", FORMAT[8:16]), DATA), None, "not usable as audio"),
    "frame of 0 bytes": Odd(format_of(frame=0), 5000),
    "frame of 1 byte": Odd(format_of(frame=1), 5000),
    "byte rate is wrong": Odd(format_of(byte_rate=999), 5000),
    "12 bits in 2 bytes": Odd(format_of(bits=12), 5000),
    "24 bits in 4 bytes": Odd(wide(4, 24), None, "its samples lie in more bytes than their bits need"),
    "64-bit integers": Odd(wide(8, 64), None, "not usable as audio"),
    "no bits": Odd(format_of(bits=0), None, "not usable as audio"),
    "no channels": Odd(format_of(channels=0), None, "not usable as audio"),
    "no rate": Odd(format_of(rate=0), None, "its header has no sample rate"),
    "rate of 2 GHz": Odd(format_of(rate=2**31), None, "its header has no sample rate, or one that is too high"),
    "rate of 100 MHz": Odd(format_of(rate=10**8), None, "its header says 100000000 Hz"),
    "unknown encoding": Odd(format_of(tag=0x1234), None, "not usable as audio"),
    "extensible": Odd(extensible(), 5000),
    "extensible with 12 valid bits": Odd(extensible(12), 5000),
    "extensible without speakers": Odd(extensible(mask=0), 5000),
    "extensible with all speakers": Odd(extensible(mask=2**32 - 1), 5000),
    "stereo with the frame of mono": Odd(format_of(channels=2), 2500, exact=False),
    "big-endian": Odd(big_endian(), 5000),
    # RF64.
    "RF64": Odd(w.rf64(STEPS), 5000),
    "RF64 that counts itself": Odd(ds64(riff=len(w.rf64(STEPS))), 5000),
    "RF64 with a wrong number of frames": Odd(ds64(frames=10**9), 5000),
    "RF64 without a number of frames": Odd(ds64(frames=0), 5000),
    "RF64 without a length": Odd(ds64(data=0), 5000, OPEN),
    "RF64 claims 1 GB": Odd(ds64(data=10**9), 5000, CUT),
    "RF64 of a recording that goes on": Odd(
        ds64(riff=2**64 - 1, data=2**64 - 1, frames=2**64 - 1), 5000, "its header says more than"
    ),
    "RF64 with an odd chunk": Odd(w.rf64(STEPS, w.chunk(b"iXML", b"abc")), 5000),
    "BW64": Odd(b"BW64" + w.rf64(STEPS)[4:], 5000),
    # Samples.
    "NaN": Odd(with_sample(np.nan), None, r"the sample at 0\.100 s is nan"),
    "infinite": Odd(with_sample(np.inf), None, r"the sample at 0\.100 s is inf"),
    "too loud for float32": Odd(with_sample(1e300, "DOUBLE"), None, r"the sample at 0\.100 s is 1e\+300"),
    "beyond full scale": Odd(with_sample(50.0), 5000, exact=False),
    "subnormal": Odd(with_sample(1e-40), 5000, exact=False),
    "one frame": Odd(w.wave(STEPS[:1]), 1),
    "rate of 1 Hz": Odd(w.wave(STEPS[:20], rate=1), 20),
    "64 channels": Odd(w.wave(np.tile(STEPS[:, None], (1, 64))), 5000),
    # Other formats.
    "wrong suffix": Odd(written("FLAC"), 5000),
    "FLAC after an ID3 tag": Odd(changed("FLAC", lambda content: ID3 + content), 5000, suffix=".flac"),
    "FLAC cut short": Odd(
        changed("FLAC", lambda content: content[:-3000]), None, "damaged or cut short between", ".flac"
    ),
    "FLAC with empty comments": Odd(lambda path: tagged_files.flac(path, FLOATS, b"COMMENT=", b""), 5000),
    "AIFF after an ID3 tag": Odd(changed("AIFF", lambda content: ID3 + content), 5000, suffix=".aiff"),
    "AIFF cut short": Odd(changed("AIFF", lambda content: content[:-4000]), 3000, "its header says more", ".aiff"),
    "AU cut short": Odd(changed("AU", lambda content: content[:-4000]), 3000, "its header says more", ".au"),
    "W64": Odd(written("W64"), 5000, suffix=".w64"),
    "CAF with ALAC": Odd(written("CAF", "ALAC_16"), 5000, suffix=".caf"),
    "mu-law": Odd(written("WAV", "ULAW"), 5000, exact=False),
    "MP3 in a WAV file": Odd(mp3_in_wave, 44100, exact=False),
    "MP3 with an empty ID3v1 tag": Odd(
        lambda path: tagged_files.mp3(path, FLOATS, tagged_files.id3v1()), 5000, suffix=".mp3", exact=False
    ),
    "Ogg cut short": Odd(changed("OGG", lambda content: content[:3000]), None, "not usable as audio", ".ogg"),
    # No audio.
    "text": Odd(b"these are the times\n" * 100, None, "not usable as audio: Format not recognised"),
    "zeros": Odd(bytes(10_000), None, "not usable as audio"),
    "a link that points to itself": Odd(lambda path: path.symlink_to(path.name), None, "Too many levels"),
    "a link to nowhere": Odd(lambda path: path.symlink_to("nowhere.wav"), None, "no such file"),
    "a pipe": Odd(os.mkfifo, None, "is not a regular file"),
    "a folder": Odd(Path.mkdir, None, "is a folder"),
    "empty": Odd(b"", None, "is empty, 0 bytes"),
    "raw samples": Odd(STEPS.astype("<i2").tobytes(), None, "neither rate nor channels", ".raw"),
    "a page of a camera trap": Odd(b"\xff\xd8\xff\xe0" + bytes(2000), None, "not usable as audio"),
}
