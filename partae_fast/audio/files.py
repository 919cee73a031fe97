"""Read every audio format that libsndfile or PyAV reads, and write audio files atomically.

Every problem with a file raises a UserError that begins with the file's name; `headers` handles files that are shorter
or longer than their header says. Functions import `soundfile` themselves, so that the rest of the library works
without it.
"""

import contextlib
import logging
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..errors import UserError
from ..interrupts import uninterrupted
from . import phones
from .headers import CUT_SHORT, UNCLOSED, WAVE, Source, check_claim, first_byte, is_lossy, shortfall, unclosed_start
from .wave import INFO_CHUNKS, Chunk, WaveFile, layout_of, metadata_chunks

logger = logging.getLogger("partae_fast")

PathLike = str | os.PathLike[str]

# Formats that can be written, by suffix: lossless, with a header that holds rate and channels.
FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".caf": "CAF",
    ".w64": "W64",
    ".rf64": "RF64",
}
# Bytes of samples in a WAV file, whose header counts in 32 bits; header and other chunks fit in the margin.
WAV_LIMIT = 2**32 - 2**20
# Lossless subtypes and their bytes per sample (an upper bound for compressed ones).
SUBTYPE_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ALAC_16": 2,
    "ALAC_20": 3,
    "ALAC_24": 3,
    "ALAC_32": 4,
}
_RIFF_TAGS = frozenset(INFO_CHUNKS)
# The tags that are written into the header of each format.
TAGS = {
    "WAV": _RIFF_TAGS,
    "RF64": _RIFF_TAGS,
    "W64": frozenset(),
    "AIFF": frozenset(("title", "copyright", "software", "artist", "comment")),
    "FLAC": _RIFF_TAGS | {"license"},
    "CAF": _RIFF_TAGS | {"license"},
}
# Bytes of the longest tag in formats where libsndfile 1.2.2 cannot read long headers: not more than 16 KiB in all.
_LONGEST_TAG = {"AIFF": 1500, "CAF": 1500}
FLOATING = ("FLOAT", "DOUBLE")
# How samples beyond full scale are written to a subtype that holds integers; see `writing`.
CLIPPING = ("clip", "float", "scale")
# Samples, over all channels, that are read at a time.
BLOCK = 2**16
# Frames of a lossy file that are read at a time: a decoding error loses the whole block that it occurs in.
LOSSY_FRAMES = 2**12
# Hz: no audio recorder samples faster; a header with a higher rate is damaged.
RATE_LIMIT = 10_000_000
# 200 dB above full scale: 32-bit integers that were not scaled stay below it, and spectra of such samples can still be
# squared and summed in float32.
LOUDEST = 1e10
# Replacements for vague messages of libsndfile, by error code.
_REASONS = {7: "it has no complete frame of audio", 24: "its header has no sample rate, or one that is too high"}


@dataclass(frozen=True)
class AudioInfo:
    """Header of an audio file.

    `format` and `subtype` are libsndfile's names, such as "FLAC" and "PCM_16". `tags` are the strings in the header,
    such as "title", "artist", "comment" and "date"; recorders write the time and the device there. `chunks` are the
    metadata of a WAV or RF64 file that `writing` copies, such as those of GUANO and Broadcast Wave.
    """

    path: Path
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    tags: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[Chunk, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.rate


def require_file(path: PathLike, empty: bool = False) -> Path:
    """Return `path` if it is a readable regular file, and not empty unless `empty` is true.

    Raises UserError otherwise. Pipes and devices are refused before anything opens them, because opening them could
    block for ever.
    """
    path = Path(path)
    try:
        state = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name and the folder") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(state.st_mode):
        raise UserError(f"{path}: is a folder; name the files in it, for example {path / '*.wav'}")
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{path}: is not a regular file; save its content to a file first")
    if state.st_size == 0 and not empty:
        raise UserError(f"{path}: is empty, 0 bytes; copy it again from its source")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: you have no permission to read it; change its mode or copy it")
    return path


def info(path: PathLike) -> AudioInfo:
    """Return the header of an audio file; raise UserError if it is not audio or has no samples.

    `frames` is an estimate for MP3 files and for damaged files.
    """
    with _opened(path) as (_, _, header):
        return header


def read(path: PathLike, frames: int | None = None, first: int = 0) -> tuple[NDArray[np.float32], int]:
    """Read at most `frames` frames from frame `first` on; return samples (T, channels) and the rate in Hz.

    Samples are float32 with full scale at 1; integers of more than 24 bits are rounded to float32's 24. Errors and
    warnings are those of `blocks`.
    """
    rate = info(path).rate
    parts, remaining = [], math.inf if frames is None else frames
    for block in blocks(path, first=first):
        parts.append(block[: int(min(remaining, len(block)))])
        remaining -= len(block)
        if remaining <= 0:
            break
    return np.concatenate(parts), rate


def blocks(path: PathLike, size: int | None = None, first: int = 0) -> Iterator[NDArray[np.float32]]:
    """Yield a file's samples from frame `first` on, in blocks (up to `size`, channels) float32.

    A block has 256 KiB by default. A WAV file whose header has too large a length or none (a recorder that lost power,
    an interrupted copy), and an MP3 or Ogg file that is cut short or damaged, are read as far as possible; a warning
    says how much was read.

    Raises UserError if the file is missing, empty, not a regular file, not audio or without samples; if a compressed
    lossless file is damaged or cut short (with the time); if a sample is NaN, infinite or more than 200 dB above full
    scale; and if the file has no frame `first`.
    """
    with _opened(path) as (source, file, header):
        size = max(1, BLOCK // header.channels) if size is None else size
        if is_lossy(header):
            size = min(size, LOSSY_FRAMES)
        position = _seek(source, file, first, size, header)
        # The length of a lossy file may be an estimate.
        while position < file.frames or is_lossy(header):
            block = _read_block(source, file, size, header, position)
            if not len(block):
                break
            require_finite(block, header.rate, str(path), first=position)
            position += len(block)
            yield block.astype(np.float32, copy=False)
        if warning := shortfall(header.path, source, file, position):
            logger.warning(warning)


def _seek(source: Source, file: Any, first: int, size: int, header: AudioInfo) -> int:
    """Seek to frame `first` of a newly opened file and return `first`."""
    import soundfile

    position = 0
    if is_lossy(header):
        # libsndfile 1.2.2 seeks to a wrong frame near the end of an Ogg file, so the frames before it are decoded.
        while position < first:
            block = _read_block(source, file, min(size, first - position), header, position)
            if not len(block):
                break
            position += len(block)
    elif first:
        try:
            with uninterrupted():
                position = file.seek(min(first, header.frames))
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"{header.path}: damaged or cut short before {first / header.rate:.2f} s; copy it again from its source"
            ) from error
    if not 0 <= first < header.frames or position < first:
        frames = position if is_lossy(header) else header.frames
        raise UserError(f"{header.path}: has {frames} frames, so there is no frame {first}; start earlier")
    return position


def _read_block(source: Source, file: Any, size: int, header: AudioInfo, position: int) -> NDArray[np.floating]:
    """Read the next samples; return an empty block where a lossy file cannot be decoded further."""
    import soundfile

    try:
        # A large double would be infinite in float32, and the message could not show its value. NumPy converts 16-bit
        # samples to float four times as fast as libsndfile.
        dtype = {"DOUBLE": "float64", "PCM_16": "int16"}.get(header.subtype, "float32")
        with uninterrupted():  # libsndfile would swallow Ctrl-C and report the end of the file
            block = file.read(size, dtype=dtype, always_2d=True)
    except soundfile.LibsndfileError as error:
        if source.disk_error:
            raise _disk_fault(header.path, source.disk_error, f"beyond {position / header.rate:.2f} s") from error
        if is_lossy(header):
            return np.zeros((0, header.channels), np.float32)
        start, end = position / header.rate, min(position + size, header.frames) / header.rate
        raise UserError(
            f"{header.path}: damaged or cut short between {start:.2f} and {end:.2f} s: {_reason(error)}; "
            "copy it again from its source"
        ) from error
    if source.disk_error:
        message = _disk_fault(header.path, source.disk_error, f"beyond {position / header.rate:.2f} s")
        raise message from source.disk_error
    return np.multiply(block, 2.0**-15, dtype=np.float32) if dtype == "int16" else block


def _disk_fault(path: Path, error: OSError, position: str) -> UserError:
    return UserError(
        f"{path}: cannot be read {position}: {error.strerror}; check the disk or card, and copy the file from it"
    )


def require_finite(samples: NDArray[np.floating], rate: float, name: str, first: int = 0) -> None:
    """Raise UserError, with the time, if `samples` (T,) or (T, channels) has NaN, Inf or values beyond `LOUDEST`.

    first: index of samples[0] in the recording, if `samples` is a block of it.
    """
    # Every comparison with NaN is false.
    if samples.size and max(samples.max(), -samples.min()) <= LOUDEST:
        return
    bad = ~(np.abs(samples) <= LOUDEST)
    if bad.any():
        index = int(np.argmax(bad if samples.ndim == 1 else bad.any(axis=1)))
        value = samples[index][bad[index]][0] if samples.ndim > 1 else samples[index]
        remedy = "repair or cut out that part" if not np.isfinite(value) else "scale it down"
        raise UserError(
            f"{name}: the sample at {(first + index) / rate:.3f} s is {value:g}; every sample must be finite and at "
            f"most {LOUDEST:g}, with full scale at 1: {remedy}"
        )


def require_sound(samples: NDArray[np.floating], name: str) -> None:
    """Raise UserError if every sample is 0."""
    if not samples.any():
        raise UserError(f"{name}: every sample is 0; a training recording must have sound: leave it out")


def output_format(path: PathLike) -> str:
    """Return libsndfile's name of the format for the suffix of `path`; raise UserError if it cannot be written."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path}: cannot write {suffix or 'a file without suffix'}; use one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


class AudioWriter:
    """Writer of blocks of samples to an open file; `writing` makes it."""

    def __init__(self, file: Any, name: str):
        self._file = file
        self._name = name
        self._integer = file.subtype not in FLOATING
        self.frames = 0
        self.clipped = 0

    def write(self, samples: NDArray[np.floating]) -> None:
        """Append samples (T, channels) or, for one channel, (T,)."""
        if self._integer and len(samples) and not -1 <= samples.min() <= samples.max() <= 1:
            self.clipped += int(np.count_nonzero(np.abs(samples) > 1))
        self._put(samples)
        self.frames += len(samples)

    def _put(self, samples: NDArray[np.floating]) -> None:
        # libsndfile's own conversion rounds down when it clips, and takes three times as long.
        exact = _to_int16(samples) if self._file.subtype == "PCM_16" else samples
        with _as_user_error(self._name, "cannot be written", "check the free space on the disk"):
            self._file.write(exact)

    def finish(self) -> None:
        """Complete the file, after the last block."""
        if self.clipped:
            logger.warning(
                "%s: %d samples beyond full scale were clipped; lower the input's level, or write floats",
                self._name,
                self.clipped,
            )


def _to_int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round samples to 16-bit integers, with full scale at 32768 as in libsndfile."""
    scaled = samples * samples.dtype.type(32768)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


class _ScalingWriter(AudioWriter):
    """Writer that keeps all samples in a temporary file, and scales them so that none clips."""

    def __init__(self, file: Any, name: str, temporary: IO[bytes]):
        super().__init__(file, name)
        self._temporary = temporary
        # The largest positive integer is one step below full scale.
        self._ceiling = 1 - 2.0 ** (1 - 8 * SUBTYPE_BYTES[file.subtype])
        self._peak = 0.0

    def write(self, samples: NDArray[np.floating]) -> None:
        samples = np.ascontiguousarray(samples, np.float32)
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0)))
        self._temporary.write(samples.data)
        self.frames += len(samples)

    def finish(self) -> None:
        clips = self._peak > 1
        factor = np.float32(self._ceiling / self._peak if clips else 1)
        self._temporary.seek(0)
        frame = 4 * self._file.channels
        while block := self._temporary.read(BLOCK // frame * frame or frame):
            self._put(np.frombuffer(block, np.float32).reshape(-1, self._file.channels) * factor)
        if clips:
            logger.warning("%s: scaled by %.2f dB to avoid clipping", self._name, 20 * math.log10(factor))


@contextlib.contextmanager
def writing(
    path: PathLike,
    rate: int,
    channels: int,
    frames: int,
    subtype: str | None = None,
    overwrite: bool = False,
    clipping: str = "clip",
    tags: Mapping[str, str] | None = None,
    chunks: Sequence[Chunk] = (),
    note: str | None = None,
    times: tuple[int, int] | None = None,
) -> Iterator[AudioWriter]:
    """Open an audio file for writing, as a context manager that returns an `AudioWriter`.

    The file appears at `path` when the `with` block ends, and only if nothing was raised. The suffix selects the
    format. A WAV file larger than 4 GB is written as RF64, which has the same suffix and the same readers.

    Arguments:
        frames: expected number of frames, to choose between WAV and RF64.
        subtype: libsndfile's name, such as "PCM_16". A lossy subtype (ADPCM, mu-law), and one that the format does not
            have, is replaced by 24 bits if it has more than 16 and by the format's default otherwise.
        clipping: how samples outside -1 .. 1 are written as integers. "clip" clips them. "float" writes floats instead.
            "scale" scales the whole file so that its peak fits; all samples, 4 bytes each, are kept in a temporary file
            until the end. A log line says what was done.
        tags: strings for the header, as in `AudioInfo.tags`. Tags that the format does not have are left out and
            logged.
        times: times of access and change in ns that the file gets, before it appears; None for now.
        chunks: metadata of a WAV or RF64 file, as in `AudioInfo.chunks`, to copy. Another format cannot hold them,
            which logs a warning.
        note: what was done to the audio, for the fields of the chunks that are meant for it.

    Raises UserError if the file cannot be written, if it exists and `overwrite` is false, and if `clipping` is "float"
    and the format holds no floats.
    """
    import soundfile

    if clipping not in CLIPPING:
        raise UserError(f"{path}: clipping is {clipping!r}; it must be one of {', '.join(CLIPPING)}")
    format = output_format(path)
    subtype = _output_subtype(path, format, subtype, clipping)
    size = frames * channels * SUBTYPE_BYTES[subtype] + sum(chunk.length for chunk in chunks)
    if format == "WAV" and size > WAV_LIMIT:
        format = "RF64"
    tags = _tags_for(format, path, tags or {})
    with atomic_path(path, overwrite) as target:
        file: Any
        if format in ("WAV", "RF64"):
            file = WaveFile(target, rate, channels, subtype, format == "RF64", tags, chunks, note)
        else:
            handle: Any = os.fsencode(target)  # soundfile accepts a str only if it is UTF-8
            with _as_user_error(path, f"cannot be {format} at {rate} Hz with {channels} channels", "use .wav"):
                file = soundfile.SoundFile(handle, "w", rate, channels, subtype, format=format)
        with contextlib.ExitStack() as open_files:
            open_files.enter_context(file)
            if format not in ("WAV", "RF64"):
                _write_tags(file, path, tags, chunks)
            if clipping == "scale" and subtype not in FLOATING:
                # The file has no name on systems that allow it, so a crash leaves nothing behind.
                temporary = open_files.enter_context(tempfile.TemporaryFile(dir=target.parent))
                writer = _ScalingWriter(file, str(path), temporary)
            else:
                writer = AudioWriter(file, str(path))
            yield writer
            writer.finish()
        if times:
            os.utime(target, ns=times)


def _output_subtype(path: PathLike, format: str, subtype: str | None, clipping: str) -> str:
    """Return the subtype to write for the requested one; see `writing`."""
    from soundfile import check_format, default_subtype

    if clipping == "float" and subtype not in FLOATING:
        if not check_format(format, "FLOAT"):
            raise UserError(f"{path}: {format} holds no floats, but clipping is 'float'; use .wav")
        logger.info("%s: written as float to avoid clipping", path)
        return "FLOAT"
    # libsndfile pads an 8-bit AIFF file to an even number of bytes and then reads one frame too many.
    lossless = SUBTYPE_BYTES.keys() - (("PCM_S8", "PCM_U8") if format == "AIFF" else ())
    if subtype in lossless and check_format(format, subtype):
        return str(subtype)
    if SUBTYPE_BYTES.get(subtype or "", 0) > 2:
        return "PCM_24"  # every format in FORMATS has it
    return str(default_subtype(format))


def _tags_for(format: str, path: PathLike, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that the format can hold and that are not empty; log the others."""
    filled = {name: text for name, text in tags.items() if text.strip()}
    for name in [name for name, text in filled.items() if len(text.encode()) > _LONGEST_TAG.get(format, math.inf)]:
        logger.warning("%s: the tag %s is too long for %s and is left out", path, name, format)
        del filled[name]
    left_out = sorted(filled.keys() - TAGS[format])
    if left_out:
        logger.info("%s: %s has no field for the tags %s; they are left out", path, format, ", ".join(left_out))
    return {name: text for name, text in filled.items() if name in TAGS[format]}


def _write_tags(file: Any, path: PathLike, tags: Mapping[str, str], chunks: Sequence[Chunk]) -> None:
    """Write tags with libsndfile; log what it does not write."""
    import soundfile

    for name, text in tags.items():
        try:
            setattr(file, name, text)
        except soundfile.LibsndfileError as error:
            logger.warning("%s: the tag %s cannot be written: %s; it is left out", path, name, _reason(error))
    lost = [str(chunk) for chunk in chunks if chunk.kind != b"INFO"]
    if lost:
        logger.warning(
            "%s: %s cannot hold the metadata %s of %s; they are left out: write .wav to keep them",
            path,
            file.format,
            ", ".join(lost),
            chunks[0].path,
        )


def write(
    path: PathLike,
    samples: NDArray[np.floating],
    rate: int,
    subtype: str | None = None,
    overwrite: bool = False,
    clipping: str = "clip",
    tags: Mapping[str, str] | None = None,
    chunks: Sequence[Chunk] = (),
    note: str | None = None,
) -> None:
    """Write samples (T,) or (T, channels) at `rate` Hz; arguments and errors are those of `writing`."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with writing(path, rate, channels, len(samples), subtype, overwrite, clipping, tags, chunks, note) as writer:
        writer.write(samples)


@contextlib.contextmanager
def _opened(path: PathLike) -> Iterator[tuple[Source, Any, AudioInfo]]:
    """Open an audio file: its bytes, the SoundFile that decodes them, and its header."""
    import soundfile

    path = require_file(path)
    if path.suffix.lower() == ".raw":
        raise UserError(f"{path}: a raw file has neither rate nor channels in it; convert it to .wav first")
    with contextlib.ExitStack() as open_files:
        # libsndfile opens a file by name only if the name is UTF-8.
        source = open_files.enter_context(Source(path, first_byte(path)))
        if phones.available() and phones.is_phone_file(path, source):
            file = open_files.enter_context(phones.PhoneFile(path, source))
            yield source, file, _info(path, file, file)
            return

        def samples_alone(
            format: tuple[Any, ...], start: int, end: int | None = None, warning: str = ""
        ) -> tuple[Source, Any]:
            """Open the samples without the header; `format` is (rate, channels, subtype)."""
            source = open_files.enter_context(Source(path, start, end, warning))
            raw: Any = (*format, "LITTLE", "RAW")
            return source, open_files.enter_context(soundfile.SoundFile(source, "r", *raw))

        layout = layout_of(path)
        try:
            with uninterrupted():
                with_header = open_files.enter_context(soundfile.SoundFile(source))
        except soundfile.LibsndfileError as error:
            if source.disk_error:
                raise _disk_fault(path, source.disk_error, "at its beginning or end") from error
            if layout is None and path.suffix.lower() in phones.SUFFIXES and not phones.available():
                raise UserError(
                    f"{path}: {path.suffix} files need PyAV; pip install 'partae-fast[phones]', or convert it to WAV "
                    "or FLAC"
                ) from error
            if layout is None or not layout.is_plain:
                raise UserError(f"{path}: not usable as audio: {_reason(error)}; convert it to WAV or FLAC") from error
            # Chunks that libsndfile cannot pass come before the samples.
            format, warning = layout.format, "" if layout.is_complete else CUT_SHORT
            source, file = samples_alone(format, layout.start, layout.end, warning)
            yield source, file, _info(path, file, file, "WAV")
            return
        if layout is not None and layout.padded and with_header.format in WAVE:
            raise UserError(
                f"{path}: its samples lie in more bytes than their bits need, which is read in different ways; convert "
                "it, for example with ffmpeg"
            )
        file, start = with_header, unclosed_start(path) if with_header.format in WAVE else None
        if start is not None and soundfile.check_format("RAW", file.subtype):
            source, file = samples_alone((file.samplerate, file.channels, file.subtype), start, None, UNCLOSED)
        yield source, file, _info(path, with_header, file)


@contextlib.contextmanager
def _as_user_error(path: PathLike, fault: str, remedy: str) -> Iterator[None]:
    """Raise libsndfile's errors as UserErrors: the file, the fault, libsndfile's reason and the remedy."""
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: {fault}: {_reason(error)}; {remedy}") from error


def _reason(error: Any) -> str:
    return _REASONS.get(error.code) or str(error.error_string).removeprefix("Error : ").rstrip(".")


def _info(path: Path, with_header: Any, file: Any, format: str = "") -> AudioInfo:
    """Return the header; `file` differs from `with_header` if the header has no usable length."""
    if not file.frames:
        raise UserError(f"{path}: has a header but no samples; copy it again from its source")
    if file.samplerate > RATE_LIMIT:
        raise UserError(
            f"{path}: its header says {file.samplerate} Hz; audio is recorded at up to {RATE_LIMIT} Hz: copy the file "
            "again, or correct its header"
        )
    check_claim(path, file)
    format, tags = format or with_header.format, _read_tags(with_header)
    # Without a usable length of the samples it is unknown where they end.
    chunks = tuple(chunk for chunk in metadata_chunks(path) if file is with_header or chunk.before_samples)
    return AudioInfo(path, file.samplerate, file.channels, file.frames, format, file.subtype, tags, chunks)


def _read_tags(file: Any) -> dict[str, str]:
    """Return the tags of an open SoundFile that are not empty.

    Old programs write them in Latin-1 or its extension by Windows, in which most bytes are no UTF-8.
    """
    import soundfile

    tags = {}
    for name, text in file.copy_metadata().items():
        if "\ufffd" in text:
            library: Any = soundfile
            content = library._ffi.string(library._snd.sf_get_string(file._file, library._str_types[name]))
            text = _decode(content)
        if text.strip():
            tags[name] = text
    return tags


def _decode(content: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")
