"""Decode formats that libsndfile cannot read, such as the .m4a of phones, with PyAV.

PyAV is imported only where such a file is opened.
"""

import importlib.util
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

# Formats of voice memos, of videos with sound, and of other compressed audio.
# fmt: off
SUFFIXES = frozenset((
    ".m4a", ".m4b", ".mp4", ".aac", ".amr", ".3gp", ".3ga", ".3g2", ".wma", ".mov", ".webm", ".mka", ".wv", ".ape",
    ".spx", ".tta", ".ac3",
))
# fmt: on
FORMAT = "PyAV"  # in place of libsndfile's name of the format
# Tags of FFmpeg by libsndfile's names.
_TAGS = {
    "title": "title",
    "artist": "artist",
    "comment": "comment",
    "copyright": "copyright",
    "album": "album",
    "genre": "genre",
    "date": "date",
    "creation_time": "date",
}
_OF_LIBSNDFILE = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"fLaC", b"OggS", b"caff", b"riff", b".snd")
# Frames at the ends that an encoder adds and a header may count.
_ENDS = 4096


def available() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def is_phone_file(path: Path, source: Any) -> bool:
    """Return whether FFmpeg is to decode a file, opened as `source`: by its suffix, unless libsndfile knows its start.

    For a damaged WAV header FFmpeg can take as much memory as the header claims.
    """
    start = source.read(4) if path.suffix.lower() in SUFFIXES else b""
    source.seek(0)
    return bool(start) and start not in _OF_LIBSNDFILE


class PhoneFile:
    """Audio of a file that FFmpeg decodes, with the members of `soundfile.SoundFile` that `audio.files` uses.

    The first audio stream is read, and `frames` is an estimate. A damaged file is decoded up to the damage. `subtype`
    is "PCM_24" for integers of more than 16 bits, such as those of ALAC, so that outputs keep their resolution.

    Args:
        path: the file, for messages.
        source: the same file, opened for reading.

    Raises UserError if FFmpeg does not know the format or finds no audio.
    """

    format, extra_info = FORMAT, ""

    def __init__(self, path: Path, source: Any) -> None:
        import av  # pyright: ignore[reportMissingImports] (an extra)
        from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

        self._path, self._errors = path, (FFmpegError, EOFError)
        try:
            self._container: Any = av.open(source, mode="r", metadata_errors="replace")
        except self._errors as error:
            raise UserError(f"{path}: not usable as audio: {_reason(error)}; copy it again, or convert it") from error
        try:
            self._open_stream()
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self) -> None:
        if not self._container.streams.audio:
            raise UserError(f"{self._path}: has no audio; leave it out")
        stream = self._container.streams.audio[0]
        self._blocks = self._decoded(stream)
        self._rest = np.zeros((0, 1), np.float32)
        # The header can be wrong about rate and channels, as for AAC with spectral band replication.
        self.samplerate = self.channels = 0
        self.subtype, self._error = FORMAT, ""
        self._rest = next(self._blocks, self._rest)
        if not self.samplerate:
            raise UserError(f"{self._path}: not usable as audio: nothing can be decoded; copy it again, or convert it")
        self.frames = self._estimate_frames(stream)

    def __enter__(self) -> "PhoneFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.close()
        self._container.close()

    def copy_metadata(self) -> dict[str, str]:
        """Return the tags by libsndfile's names."""
        metadata = self._container.metadata
        return {ours: metadata[name] for name, ours in reversed(_TAGS.items()) if name in metadata}

    def read(self, size: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return the next `size` frames, (size, channels) float32, or fewer at the end."""
        parts, count = [self._rest], len(self._rest)
        while count < size and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            count += len(block)
        samples = np.concatenate(parts)
        self._rest = samples[size:]
        return samples[:size]

    def shortfall(self, frames: int) -> str | None:
        """Return a warning if the `frames` frames that were decoded are not all of the file, or None."""
        decoded = f"the {frames / self.samplerate:.2f} s that could be decoded are used"
        if self._error:
            return f"{self._path}: damaged or cut short: {self._error}; {decoded}"
        # Without an index, the length is a guess by the size of the file.
        indexed = "mp4" in self._container.format.name
        if indexed and frames + _ENDS < self.frames:
            return (
                f"{self._path}: damaged or cut short: its header says {self.frames / self.samplerate:.2f} s; {decoded}"
            )
        streams = len(self._container.streams.audio)
        return f"{self._path}: has {streams} audio streams; only the first is used" if streams > 1 else None

    def _decoded(self, stream: Any) -> Generator[NDArray[np.float32]]:
        """Yield decoded samples (t, channels), up to the first error."""
        try:
            for frame in self._container.decode(stream):
                rate, channels = frame.sample_rate, frame.layout.nb_channels
                samples = frame.to_ndarray()
                if not self.samplerate:
                    self.samplerate, self.channels = rate, channels
                    if samples.dtype.kind == "i" and samples.dtype.itemsize > 2:
                        self.subtype = "PCM_24"
                if (rate, channels) != (self.samplerate, self.channels):
                    raise UserError(
                        f"{self._path}: changes from {self.samplerate} Hz with {self.channels} channels to {rate} Hz "
                        f"with {channels}; convert it, for example with ffmpeg"
                    )
                yield _as_float(samples, channels, frame.format.is_planar)
        except self._errors as error:
            # Without the damaged packet all later times would be wrong.
            self._error = _reason(error)

    def _estimate_frames(self, stream: Any) -> int:
        """Return the number of frames by the header, or by the file's size and bit rate, at least those decoded."""
        seconds = 0.0
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            seconds = self._container.duration / 1e6
        return max(round(seconds * self.samplerate), len(self._rest))


def _as_float(samples: NDArray[Any], channels: int, planar: bool) -> NDArray[np.float32]:
    """Return samples of PyAV, (channels, t) or (1, t * channels), as (t, channels) float32 with full scale at 1."""
    columns = samples.T if planar else samples.reshape(-1, channels)
    if np.issubdtype(columns.dtype, np.floating):
        return np.ascontiguousarray(columns, np.float32)
    full = 2.0 ** (8 * columns.dtype.itemsize - 1)
    silence = full if columns.dtype.kind == "u" else 0.0
    return ((columns.astype(np.float64) - silence) / full).astype(np.float32)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)
