"""WAV and RF64 files chunk by chunk, as recorders write them."""

import struct

import numpy as np

GUANO = (
    "GUANO|Version: 1.0\nMake: Wildlife Acoustics, Inc.\nModel: SM4BAT-FS\nTimestamp: 2019-05-22T05:30:00-03:00\n"
    "Loc Position: -23.55 -46.63\nSamplerate: 22050\nSpecies Auto ID: Tyto furcata\n"
)
AUDIOMOTH = (
    "Recorded at 05:30:00 22/05/2019 (UTC) by AudioMoth 24F319055FDF2902 at gain setting 2 while battery was 4.1V"
)


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def info(**items):
    """Return a LIST chunk of type INFO."""
    return chunk(b"LIST", b"INFO" + b"".join(chunk(name.encode(), content) for name, content in items.items()))


def bext(history=b"A=PCM,F=22050,W=16,M=mono,T=SM4BAT\r\n"):
    """Return a Broadcast Wave chunk of version 1."""
    fields = b"Dawn chorus".ljust(256, b"\0") + b"SM4BAT".ljust(32, b"\0") + b"S4A03895".ljust(32, b"\0")
    fields += b"2019-05-22" + b"05:30:00" + struct.pack("<QH", 436_590_000, 1)
    return chunk(b"bext", fields.ljust(602, b"\0") + history)


def cue(*positions):
    """Return a chunk of cue points at frames of the recording."""
    points = (struct.pack("<II4sIII", n + 1, p, b"data", 0, 0, p) for n, p in enumerate(positions))
    return chunk(b"cue ", struct.pack("<I", len(positions)) + b"".join(points))


def labels(*texts):
    """Return the names of cue points."""
    items = (chunk(b"labl", struct.pack("<I", n + 1) + text + b"\0") for n, text in enumerate(texts))
    return chunk(b"LIST", b"adtl" + b"".join(items))


def wamd():
    """Return a chunk of Wildlife Acoustics: numbered binary fields."""
    fields = ((0, b"\1\0"), (1, b"SM4BAT-FS"), (5, b"2019-05-22 05:30:00-03:00"), (6, b"WGS84,-23.55,N,-46.63,W"))
    return chunk(b"wamd", b"".join(struct.pack("<HI", key, len(value)) + value for key, value in fields))


def format_chunk(rate=22050, channels=1, bits=16, tag=1):
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits))


def wave(samples, before=b"", after=b"", **format):
    """Return a WAV file of integers (T,) or (T, channels), with chunks before and after the samples."""
    data = np.asarray(samples, "<i2")
    channels = 1 if data.ndim == 1 else data.shape[1]
    body = b"WAVE" + format_chunk(channels=channels, **format) + before + chunk(b"data", data.tobytes()) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rf64(samples, before=b"", after=b"", **format):
    """Return the same as `wave` in RF64."""
    data = np.asarray(samples, "<i2").tobytes()
    body = format_chunk(**format) + before + b"data\xff\xff\xff\xff" + data + after
    lengths = struct.pack("<QQQI", len(body) + 40, len(data), len(data) // 2, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + chunk(b"ds64", lengths) + body


def chunks_of(content):
    """Return the names and contents of the chunks of a WAV or RF64 file, in their order."""
    position, found, long = 12, [], None
    while position + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, position)
        if name == b"ds64":
            long = struct.unpack_from("<Q", content, position + 16)[0]
        length = long if name == b"data" and long is not None else length
        found.append((name, content[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    assert position == len(content)
    return found
