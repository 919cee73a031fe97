"""audio files, damaged above all in their headers."""

import functools
import importlib.util
import logging
import random
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st

from partae_fast.audio import files
from partae_fast.errors import UserError
from tests.audio import wave_chunks as w
from tests.audio.odd_files import ODD

from .damage import damaged, numbered
from .limits import Check, within_limits

HEADER = 200  # bytes, in which most of the changes are made
SUFFIXES = (".wav", ".wav", ".flac", ".ogg", ".mp3", ".aiff", ".caf", ".w64", ".au", ".m4a", ".aac", ".wma", ".mp4")
_FORMATS = (
    "WAV",
    "WAVEX",
    "FLAC",
    "OGG",
    "MP3",
    "AIFF",
    "CAF",
    "W64",
    "AU",
    "RF64",
    "NIST",
    "VOC",
    "SVX",
    "AVR",
    "IRCAM",
)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Short files of each format, and the small ones of the corpus of odd files."""
    steps = np.random.default_rng(0).integers(-3000, 3000, 300)
    chunks = w.chunk(b"guan", w.GUANO.encode()) + w.bext() + w.wamd() + w.cue(5, 100) + w.labels(b"wren", b"owl")
    made = [w.wave(steps, chunks), w.wave(steps, b"", chunks + w.info(ICMT=b"note\0")), w.rf64(steps, chunks)]
    made += [odd.content for odd in ODD.values() if isinstance(odd.content, bytes) and len(odd.content) < 30_000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        for format in _FORMATS:
            soundfile.write(path, steps / 2**15, 22050, format=format)
            made.append(path.read_bytes())
        if importlib.util.find_spec("av"):
            from tests.audio.test_pyav import chirps, write

            for suffix, codec, form in ((".m4a", "aac", None), (".aac", "aac", "adts"), (".wma", "wmav2", "asf")):
                made.append(write(path.with_suffix(suffix), codec, chirps(0.1), form=form).read_bytes())
    return tuple(made)


def target() -> tuple[st.SearchStrategy[tuple[str, bytes]], Check]:
    """The strategy and the check, for `fuzz`; the first byte of a file stands for its suffix."""
    file = st.deferred(lambda: st.sampled_from(seeds()))
    return st.builds(mutated, st.randoms(use_true_random=True), file, file), check


def mutated(pick: random.Random, content: bytes, other: bytes) -> bytes:
    """Return a file with a few changes, after a byte that stands for the suffix."""
    for _ in range(pick.choice((1, 1, 2, 3, 6))):
        if pick.random() < 0.6:
            content = numbered(pick, content, pick.randrange(min(HEADER, len(content)) + 1))
        else:
            content = damaged(pick, content, other)
    return bytes([pick.randrange(len(SUFFIXES))]) + content


@within_limits
def check(raw: bytes, folder: Path) -> str:
    """Read a file, and copy it with its metadata as denoising does; returns what became of it."""
    path, out = folder / f"a{SUFFIXES[raw[0] % len(SUFFIXES)]}", folder / "out.wav"
    path.write_bytes(raw[1:])
    logging.disable(logging.WARNING)
    try:
        header = files.info(path)
        frames, peak = 0, 0.0
        with files.writing(
            out,
            header.rate,
            header.channels,
            header.frames,
            header.subtype,
            overwrite=True,
            tags=header.tags,
            chunks=header.chunks,
            note="denoised",
        ) as writer:
            for block in files.blocks(path):
                assert block.dtype == np.float32 and block.ndim == 2 and block.shape[1] == header.channels
                frames, peak = frames + len(block), max(peak, float(np.abs(block).max(initial=0)))
                writer.write(block)
        assert np.isfinite(peak)
        copy = files.info(out)
        assert (copy.rate, copy.channels, copy.frames) == (header.rate, header.channels, frames)
    except UserError as refusal:
        line = str(refusal)
        assert line.startswith((str(path), str(out))) and "\n" not in line and len(line) < 1500, line
        return "refused"
    finally:
        logging.disable(logging.NOTSET)
    return header.format
