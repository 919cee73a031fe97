"""A module with the part of PyAV's interface that `audio.phones` uses, for machines without PyAV.

Its files hold a line of JSON and then 16-bit samples.
"""

import importlib.machinery
import json
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

__spec__ = importlib.machinery.ModuleSpec("av", None)
FRAME = 1024


class FFmpegError(Exception):
    def __init__(self, strerror):
        super().__init__(1, strerror)
        self.strerror = strerror


def write(path, samples, rate=44100, **settings):
    """Write samples (T, channels) as a file for `open`.

    Settings: `format` of the decoded frames, `seconds` of the header, `damaged_at` and `changes_at` a frame,
    `metadata`, `container`, and `streams`.
    """
    header = {"rate": rate, "channels": samples.shape[1], "seconds": len(samples) / rate, **settings}
    path.write_bytes(json.dumps(header).encode() + b"\n" + (samples * 32768).astype("<i2").tobytes())


class Frame:
    def __init__(self, samples, rate, format):
        self.sample_rate, self.layout = rate, SimpleNamespace(nb_channels=samples.shape[1])
        self.format = SimpleNamespace(name=format, is_planar=format.endswith("p"))
        kind = format.removesuffix("p")
        full, zero, dtype = {
            "flt": (1, 0, "f4"),
            "dbl": (1, 0, "f8"),
            "s16": (2**15, 0, "i2"),
            "s32": (2**31, 0, "i4"),
            "u8": (2**7, 2**7, "u1"),
        }[kind]
        self._samples = (samples * full + zero).astype(dtype)

    def to_ndarray(self):
        return self._samples.T if self.format.is_planar else self._samples.reshape(1, -1)


class Container:
    def __init__(self, header, samples):
        self._header, self._samples = header, samples
        self.format = SimpleNamespace(name=header.get("container", "mov,mp4,m4a,3gp,3g2,mj2"))
        self.metadata = header.get("metadata", {})
        seconds = header["seconds"]
        self.duration = None if seconds is None else round(seconds * 1_000_000)
        base = Fraction(1, header["rate"])
        duration = None if header.get("without_index") or seconds is None else round(seconds * header["rate"])
        stream = SimpleNamespace(duration=duration, time_base=base)
        self.streams = SimpleNamespace(audio=[stream] * header.get("streams", 1))
        self.closed = False

    def decode(self, stream):
        assert stream is self.streams.audio[0]
        for number, start in enumerate(range(0, len(self._samples), FRAME)):
            assert not self.closed
            if number == self._header.get("damaged_at"):
                raise FFmpegError("Invalid data found when processing input")
            rate = self._header["rate"] * (2 if number == self._header.get("changes_at") else 1)
            yield Frame(self._samples[start : start + FRAME], rate, self._header.get("format", "fltp"))

    def close(self):
        self.closed = True


error = SimpleNamespace(FFmpegError=FFmpegError)


def install(monkeypatch):
    """Make this the module `av` until the end of a test."""
    monkeypatch.setitem(sys.modules, "av", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "av.error", error)


def open(file, mode=None, metadata_errors="strict"):
    assert (mode, metadata_errors) == ("r", "replace")
    line, _, content = file.read().partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        raise FFmpegError("Invalid data found when processing input") from None
    return Container(header, np.frombuffer(content, "<i2").reshape(-1, header["channels"]) / 32768)
