"""Audio files in and out: anything that libsndfile reads; written whole or not at all.

Every problem with a file is a UserError that begins with its name. What is done with a file that is shorter or longer
than its header says: `headers`. `soundfile` is imported where a file is
opened, so that the rest of the library works on a machine without it.
"""

import contextlib
import logging
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..errors import UserError
from ..interrupts import uninterrupted
from .headers import LOSSY, Source, check_claim, shortfall, unclosed_start

logger = logging.getLogger("partae_fast")

PathLike = str | os.PathLike[str]

# Suffixes of the formats written here: lossless, with a header that holds rate and channels.
FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".caf": "CAF",
    ".w64": "W64",
    ".rf64": "RF64",
}
# A WAV header counts bytes in 32 bits. The rest of the file (header, other chunks) fits in the margin.
WAV_LIMIT = 2**32 - 2**20
# Subtypes that lose nothing, and the bytes of a sample (at most, of those that are packed).
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
_RIFF_TAGS = frozenset(("title", "copyright", "software", "artist", "comment", "date", "album", "tracknumber", "genre"))
# The strings that libsndfile puts into a header of each format.
TAGS = {
    "WAV": _RIFF_TAGS,
    "RF64": _RIFF_TAGS,
    "W64": frozenset(),
    "AIFF": frozenset(("title", "copyright", "software", "artist", "comment")),
    "FLAC": _RIFF_TAGS | {"license"},
    "CAF": _RIFF_TAGS | {"license"},
}
FLOATING = ("FLOAT", "DOUBLE")
# What may become of samples beyond full scale where the subtype holds integers.
CLIPPING = ("clip", "float", "scale")
# Samples of all channels that are read at a time.
BLOCK = 2**16
# Of a lossy file less, for what lies before a fault is lost with its block.
LOSSY_FRAMES = 2**12
# Hz: beyond what any recorder of sound takes; a header that says more is damaged.
RATE_LIMIT = 10_000_000
# Times full scale, 200 dB: integers of 32 bits that were never scaled stay below. Spectra of such samples can still
# be squared and summed in float32.
LOUDEST = 1e10
# Where what libsndfile calls the fault says little.
_REASONS = {7: "there is no whole frame of audio in it", 24: "its header gives no rate, or one that is too high"}


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says; `format` and `subtype` as libsndfile calls them: "FLAC", "PCM_16".

    tags: the strings in the header, such as "title", "artist", "comment" and "date": recorders put there when and
    with what a recording was made.
    """

    path: Path
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def require_file(path: PathLike, empty: bool = False) -> Path:
    """`path`, if it is a plain file that we may read, with something in it unless `empty`; else a UserError.

    A pipe or a device would make an open wait for ever, so it is refused before anything opens it.
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
        raise UserError(f"{path}: is not a plain file; save it to one first")
    if state.st_size == 0 and not empty:
        raise UserError(f"{path}: is empty, 0 bytes; get it again from where it came")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: you have no permission to read it; change its mode or copy it")
    return path


def info(path: PathLike) -> AudioInfo:
    """What the header of the audio file says; raises UserError where it is no audio or has no samples.

    `frames` is an estimate for MP3, and for any file that turns out damaged when it is read.
    """
    with _opened(path) as (_, _, about):
        return about


def read(path: PathLike, frames: int | None = None, first: int = 0) -> tuple[NDArray[np.float32], int]:
    """Samples (T, channels) float32 with full scale at 1, and the rate in Hz; from frame `first`, at most `frames`.

    Integer samples of more than 24 bits are rounded to float32's 24. Errors and warnings are those of `blocks`.
    """
    rate = info(path).rate
    taken, left = [], math.inf if frames is None else frames
    for block in blocks(path, first=first):
        taken.append(block[: int(min(left, len(block)))])
        left -= len(block)
        if left <= 0:
            break
    return np.concatenate(taken), rate


def blocks(path: PathLike, size: int | None = None, first: int = 0) -> Iterator[NDArray[np.float32]]:
    """The file's samples from frame `first` in blocks (up to `size`, channels) float32, by default of 256 KiB.

    A WAV whose header promises more than there is or no length at all (a recorder died, a copy was cut short) and
    an MP3 or Ogg that is cut short or damaged give what is in them; a warning says how much that is.

    Raises UserError for a file that is missing, no plain file, empty, no audio or without samples, for a lossless
    one that is compressed and damaged or cut short, with the time, for samples that are NaN, infinite or more than
    200 dB above full scale, and where there is no frame `first`.
    """
    with _opened(path) as (source, file, about):
        size = max(1, BLOCK // about.channels) if size is None else size
        if about.format in LOSSY:
            size = min(size, LOSSY_FRAMES)
        done = _go_to(source, file, first, size, about)
        while done < file.frames:
            block = _block(source, file, size, about, done)
            if not len(block):
                break
            require_finite(block, about.rate, str(path), first=done)
            done += len(block)
            yield block.astype(np.float32, copy=False)
        if warning := shortfall(about.path, source, file, done):
            logger.warning(warning)


def _go_to(source: Source, file: Any, first: int, size: int, about: AudioInfo) -> int:
    """Go to frame `first` of a file just opened; returns it."""
    import soundfile

    reached = 0
    if about.format in LOSSY:
        # libsndfile 1.2.2 seeks to a wrong frame near the end of an Ogg file, so what is before is read.
        while reached < first and len(block := _block(source, file, min(size, first - reached), about, reached)):
            reached += len(block)
    elif first:
        try:
            with uninterrupted():
                reached = file.seek(min(first, about.frames))
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"{about.path}: damaged or cut short before {first / about.rate:.2f} s; get it again"
            ) from error
    if not 0 <= first < about.frames or reached < first:
        frames = reached if about.format in LOSSY else about.frames
        raise UserError(f"{about.path}: has {frames} frames and none is numbered {first}; begin earlier")
    return reached


def _block(source: Source, file: Any, size: int, about: AudioInfo, done: int) -> NDArray[np.floating]:
    """The next samples; none where a lossy file cannot be decoded any further."""
    import soundfile

    try:
        # As float32 a double that is too large would be infinite, and its value could not be told. Of 16 bits NumPy
        # makes floats four times as fast as libsndfile.
        kind = {"DOUBLE": "float64", "PCM_16": "int16"}.get(about.subtype, "float32")
        with uninterrupted():  # in libsndfile's reading of the file Ctrl-C would be lost, and the file seem to end
            block = file.read(size, dtype=kind, always_2d=True)
    except soundfile.LibsndfileError as error:
        if source.fault:
            raise _unreadable(about.path, source.fault, f"beyond {done / about.rate:.2f} s") from error
        if about.format in LOSSY:
            return np.zeros((0, about.channels), np.float32)
        start, end = done / about.rate, min(done + size, about.frames) / about.rate
        raise UserError(
            f"{about.path}: damaged or cut short between {start:.2f} and {end:.2f} s: {_reason(error)}; get it again"
        ) from error
    if source.fault:
        raise _unreadable(about.path, source.fault, f"beyond {done / about.rate:.2f} s") from source.fault
    return np.multiply(block, 2.0**-15, dtype=np.float32) if kind == "int16" else block


def _unreadable(path: Path, fault: OSError, where: str) -> UserError:
    return UserError(
        f"{path}: cannot be read {where}: {fault.strerror}; look after the disk or card, and copy it from there"
    )


def require_finite(samples: NDArray[np.floating], rate: float, name: str, first: int = 0) -> None:
    """Raise UserError, with the time, if `samples` (T,) or (T, channels) has NaN, Inf or more than `LOUDEST`.

    first: index in the recording of samples[0], where this is a block of it.
    """
    # Of a NaN every comparison is false.
    if samples.size and max(samples.max(), -samples.min()) <= LOUDEST:
        return
    bad = ~(np.abs(samples) <= LOUDEST)
    if bad.any():
        where = int(np.argmax(bad if samples.ndim == 1 else bad.any(axis=1)))
        value = samples[where][bad[where]][0] if samples.ndim > 1 else samples[where]
        remedy = "repair or leave out that part" if not np.isfinite(value) else "scale it down"
        raise UserError(
            f"{name}: the sample at {(first + where) / rate:.3f} s is {value:g}; every sample must be a finite number "
            f"of at most {LOUDEST:g}, full scale being 1: {remedy}"
        )


def require_sound(samples: NDArray[np.floating], name: str) -> None:
    """Raise UserError if every sample is 0: nothing can be learnt from silence."""
    if not samples.any():
        raise UserError(f"{name}: every sample is 0; a recording to learn from must have sound: leave it out")


def output_format(path: PathLike) -> str:
    """libsndfile's name of the format that `path` ends in; UserError for one that is not written here."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path}: cannot write {suffix or 'a file without suffix'}; use one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


class AudioWriter:
    """Takes blocks of samples for a file that is being written; made by `writing`."""

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
        # libsndfile rounds down when it clips, and takes three times as long.
        exact = _to_int16(samples) if self._file.subtype == "PCM_16" else samples
        with _translated(self._name, "cannot be written", "check the space on the disk"):
            self._file.write(exact)

    def finish(self) -> None:
        """Called once all samples are there."""
        if self.clipped:
            logger.warning(
                "%s: %d samples beyond full scale were clipped; lower the input's level, or have it written as float",
                self._name,
                self.clipped,
            )


def _to_int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """The nearest of libsndfile's 16-bit integers, of which 32768 are full scale."""
    scaled = samples * samples.dtype.type(32768)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


class _ScalingWriter(AudioWriter):
    """Keeps the samples beside the file until all are there, then writes them so low that none clips."""

    def __init__(self, file: Any, name: str, kept: IO[bytes]):
        super().__init__(file, name)
        self._kept = kept
        # The largest positive sample that an integer holds is one step below full scale.
        self._ceiling = 1 - 2.0 ** (1 - 8 * SUBTYPE_BYTES[file.subtype])
        self._peak = 0.0

    def write(self, samples: NDArray[np.floating]) -> None:
        samples = np.ascontiguousarray(samples, np.float32)
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0)))
        self._kept.write(samples.data)
        self.frames += len(samples)

    def finish(self) -> None:
        clips = self._peak > 1
        factor = np.float32(self._ceiling / self._peak if clips else 1)
        self._kept.seek(0)
        frame = 4 * self._file.channels
        while block := self._kept.read(BLOCK // frame * frame or frame):
            self._put(np.frombuffer(block, np.float32).reshape(-1, self._file.channels) * factor)
        if clips:
            logger.warning("%s: scaled by %.2f dB, so that nothing clips", self._name, 20 * math.log10(factor))


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
) -> Iterator[AudioWriter]:
    """An AudioWriter whose file appears at `path`, whole, when the block ends; not at all where it raises.

    The suffix says the format. A WAV that would pass 4 GB becomes RF64, which has the same suffix and is
    read by the same programs.

    Arguments:
        frames: how many there will be, to choose between WAV and RF64.
        subtype: such as "PCM_16". Where the format does not have it, 24 bits for one of more than 16, else the
            format's own default; that too where it loses samples or changes their number (ADPCM, mu-law).
        clipping: what becomes of samples beyond -1 .. 1 where the subtype holds integers. "clip": they are
            clipped. "float": a subtype that holds floats is written instead. "scale": the whole file is scaled
            down so that its peak fits; until the end the samples are kept beside the file, 4 bytes each. The
            log says what was done.
        tags: strings for the header, as in `AudioInfo.tags`. What the format has no place for is left out, and
            the log says so.

    Raises UserError where the file cannot be written, exists and `overwrite` is false, or the format holds no
    floats and is asked to.
    """
    import soundfile

    if clipping not in CLIPPING:
        raise UserError(f"{path}: clipping is {clipping!r}; it must be one of {', '.join(CLIPPING)}")
    kind = output_format(path)
    subtype = _subtype(path, kind, subtype, clipping)
    if kind == "WAV" and frames * channels * SUBTYPE_BYTES[subtype] > WAV_LIMIT:
        kind = "RF64"
    with atomic_path(path, overwrite) as temporary:
        handle: Any = os.fsencode(temporary)  # a str would have to be UTF-8
        with _translated(path, f"cannot be {kind} at {rate} Hz with {channels} channels", "use .wav"):
            file = soundfile.SoundFile(handle, "w", rate, channels, subtype, format=kind)
        with contextlib.ExitStack() as opened:
            opened.enter_context(file)
            _put_tags(file, path, tags or {})
            if clipping == "scale" and subtype not in FLOATING:
                # Without a name, where the system can do so: however this ends, nothing is left of it.
                kept = opened.enter_context(tempfile.TemporaryFile(dir=temporary.parent))
                writer = _ScalingWriter(file, str(path), kept)
            else:
                writer = AudioWriter(file, str(path))
            yield writer
            writer.finish()


def _subtype(path: PathLike, kind: str, wanted: str | None, clipping: str) -> str:
    """The subtype to write for the one that is wanted; see `writing`."""
    from soundfile import check_format, default_subtype

    if clipping == "float" and wanted not in FLOATING:
        if not check_format(kind, "FLOAT"):
            raise UserError(f"{path}: {kind} holds no floats, which were asked for against clipping; use .wav")
        logger.info("%s: written as float, so that nothing clips", path)
        return "FLOAT"
    # An AIFF of single bytes is padded to an even number of them, and read back with one frame more.
    lossless = SUBTYPE_BYTES.keys() - (("PCM_S8", "PCM_U8") if kind == "AIFF" else ())
    if wanted in lossless and check_format(kind, wanted):
        return str(wanted)
    if SUBTYPE_BYTES.get(wanted or "", 0) > 2:
        return "PCM_24"  # which every format in FORMATS has
    return str(default_subtype(kind))


def _put_tags(file: Any, path: PathLike, tags: Mapping[str, str]) -> None:
    left_out = sorted(tags.keys() - TAGS[file.format])
    for name in tags.keys() & TAGS[file.format]:
        setattr(file, name, tags[name])
    if left_out:
        logger.info("%s: %s has no place for the tags %s: left out", path, file.format, ", ".join(left_out))


def write(
    path: PathLike,
    samples: NDArray[np.floating],
    rate: int,
    subtype: str | None = None,
    overwrite: bool = False,
    clipping: str = "clip",
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write samples (T,) or (T, channels) at `rate`; arguments and errors are those of `writing`."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with writing(path, rate, channels, len(samples), subtype, overwrite, clipping, tags) as writer:
        writer.write(samples)


@contextlib.contextmanager
def _opened(path: PathLike) -> Iterator[tuple[Source, Any, AudioInfo]]:
    """The file's bytes, the SoundFile that reads them, and what its header says."""
    import soundfile

    path = require_file(path)
    if path.suffix.lower() == ".raw":
        raise UserError(f"{path}: raw samples say neither rate nor channels; convert it to .wav first")
    with contextlib.ExitStack() as opened:
        # Not by its name: libsndfile takes none that is not UTF-8.
        source = opened.enter_context(Source(path))
        try:
            with uninterrupted():
                file = header = opened.enter_context(soundfile.SoundFile(source))
        except soundfile.LibsndfileError as error:
            if source.fault:
                raise _unreadable(path, source.fault, "at its beginning or end") from error
            raise UserError(f"{path}: not usable as audio: {_reason(error)}; convert it to WAV or FLAC") from error
        start = unclosed_start(path) if file.format in ("WAV", "WAVEX", "RF64") else None
        if start is not None and soundfile.check_format("RAW", file.subtype):
            source = opened.enter_context(Source(path, start))
            raw: Any = (file.samplerate, file.channels, file.subtype, "LITTLE", "RAW")
            file = opened.enter_context(soundfile.SoundFile(source, "r", *raw))
        yield source, file, _info(path, header, file)


@contextlib.contextmanager
def _translated(path: PathLike, fault: str, remedy: str) -> Iterator[None]:
    """libsndfile's errors as UserErrors: the file, the fault, libsndfile's reason and the remedy."""
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: {fault}: {_reason(error)}; {remedy}") from error


def _reason(error: Any) -> str:
    return _REASONS.get(error.code) or str(error.error_string).removeprefix("Error : ").rstrip(".")


def _info(path: Path, header: Any, file: Any) -> AudioInfo:
    """What `header` says, of as many frames as `file` has."""
    if not file.frames:
        raise UserError(f"{path}: has a header and no samples; get it again from where it came")
    if file.samplerate > RATE_LIMIT:
        raise UserError(
            f"{path}: its header says {file.samplerate} Hz; no sound is recorded at more than {RATE_LIMIT}: get it "
            "again, or correct the header"
        )
    check_claim(path, file)
    tags = header.copy_metadata()
    return AudioInfo(path, file.samplerate, file.channels, file.frames, header.format, file.subtype, tags)
