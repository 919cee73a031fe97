"""Denoising of files: samples, formats, memory and errors."""

import os
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from partae_fast import __version__
from partae_fast.audio import Spectrogram, files
from partae_fast.denoising import denoise
from partae_fast.denoising.batch.listing import lone_target
from partae_fast.denoising.denoise import CHUNK
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from ..audio import wave_chunks as w
from .models import Fixed, Stub


def recording(path, length=20_011, channels=1, rate=44100, subtype="FLOAT", seed=0, level=0.3):
    samples = np.random.default_rng(seed).uniform(-level, level, (length, channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("part", ["signal", "noise"])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_a_denoised_file_equals_the_denoised_array(tmp_path, part, rate):
    source, model = recording(tmp_path / "a.wav", 150_011, 2, rate), Stub()
    denoise_file(model, source, tmp_path / "b.wav", part, reduction=30)
    audio, _ = files.read(source)
    denoised, output_rate = files.read(tmp_path / "b.wav")
    assert output_rate == rate
    np.testing.assert_allclose(denoised, denoise(audio, rate, model, part, 30), rtol=0, atol=1e-6)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("source", "subtype", "target", "expected"),
    [
        ("a.wav", "PCM_24", "b.flac", "PCM_24"),
        ("a.flac", "PCM_16", "b.wav", "PCM_16"),
        ("a.wav", "FLOAT", "b.flac", "PCM_24"),
        ("a.ogg", "VORBIS", "b.wav", "PCM_16"),
    ],
)
def test_the_subtype_is_kept_if_the_format_has_it(tmp_path, source, subtype, target, expected):
    before = files.info(recording(tmp_path / source, subtype=subtype))
    denoise_file(Stub(), tmp_path / source, tmp_path / target)
    after = files.info(tmp_path / target)
    assert (after.subtype, after.frames, after.rate, after.channels) == (expected, before.frames, before.rate, 1)


def test_silence_stays_silent(tmp_path):
    source = recording(tmp_path / "a.wav", level=0.0, subtype="PCM_16")
    denoise_file(Stub(), source, tmp_path / "b.wav")
    assert not files.read(tmp_path / "b.wav")[0].any()


def test_a_bad_sample_at_the_end_of_the_input_leaves_no_output(tmp_path):
    samples = np.zeros(200_000, np.float32)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    with pytest.raises(UserError, match=r"a.wav: the sample at 9.070 s is nan"):
        denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav")
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("figure", [False, True])
def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path, figure):
    source = recording(tmp_path / "a.wav")
    existing = tmp_path / ("b.png" if figure else "b.wav")
    existing.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        denoise_file(Stub(), source, tmp_path / "b.wav", figure=figure)
    assert existing.read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["a.wav", existing.name]
    denoise_file(Stub(), source, tmp_path / "b.wav", figure=figure, overwrite=True)
    assert existing.read_bytes() != b"mine"


def test_the_input_is_refused_as_target(tmp_path):
    source = recording(tmp_path / "a.wav")
    before = source.read_bytes()
    (tmp_path / "link.wav").symlink_to(source)
    for target in (source, tmp_path / "link.wav"):
        with pytest.raises(UserError, match="is the input itself"):
            denoise_file(Stub(), source, target, overwrite=True)
        with pytest.raises(UserError, match="is an input and would be overwritten"):
            lone_target([source], target, overwrite=True)
    assert source.read_bytes() == before


def test_peak_memory_does_not_grow_with_the_file(tmp_path):
    model = Fixed(Spectrogram(), 1, 1)

    def peak_memory(length):
        source = recording(tmp_path / f"{length}.wav", length, rate=22050, subtype="PCM_16")
        denoise_file(model, source, tmp_path / "warm.wav", overwrite=True, chunk=2048)
        tracemalloc.start()
        denoise_file(model, source, tmp_path / "out.wav", overwrite=True, chunk=2048)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_memory(2_400_000) < 1.2 * peak_memory(800_000)


def test_a_field_recording_is_denoised(tmp_path, shared_data):
    source = shared_data("birdsong/chiffchaff.flac")
    denoise_file(Stub(), source, tmp_path / "b.flac", reduction=20)
    before, after = files.info(source), files.info(tmp_path / "b.flac")
    assert (after.frames, after.rate, after.subtype) == (before.frames, before.rate, before.subtype)


def test_tags_and_time_of_change_are_kept(tmp_path):
    source = recording(tmp_path / "a.wav", subtype="PCM_16")
    comment = "Recorded at 05:30:00 22/05/2019 (UTC) by AudioMoth 24F3190361CBF4CE"
    with soundfile.SoundFile(source, "r+") as file:
        file.comment = comment
    os.utime(source, ns=(10**18, 10**18 + 123))
    header = denoise_file(Stub(), source, tmp_path / "b.wav")
    assert header.seconds == 20_011 / 44100
    assert files.info(tmp_path / "b.wav").tags["comment"] == comment
    assert (tmp_path / "b.wav").stat().st_mtime_ns == source.stat().st_mtime_ns == 10**18 + 123


def test_metadata_of_recorders_are_kept_with_a_note(tmp_path):
    guano, comment = w.chunk(b"guan", w.GUANO.encode()), w.info(ICMT=w.AUDIOMOTH.encode().ljust(384, b"\0"))
    (tmp_path / "in.wav").write_bytes(w.wave(np.arange(3000) % 500, comment, w.wamd() + guano))
    denoise_file(Stub(), tmp_path / "in.wav", tmp_path / "out.wav", reduction=12)
    before, after = (dict(w.chunks_of((tmp_path / name).read_bytes())) for name in ("in.wav", "out.wav"))
    assert list(after) == list(before) == [b"fmt ", b"LIST", b"data", b"wamd", b"guan"]
    assert (after[b"LIST"], after[b"wamd"]) == (before[b"LIST"], before[b"wamd"])
    note = f"Note: denoised with partae_fast {__version__}, signal kept, reduction at most 12 dB\n"
    assert after[b"guan"].decode() == w.GUANO + note
    assert len(after[b"data"]) == 6000


def test_clipping_is_passed_to_the_writer(tmp_path):
    source = recording(tmp_path / "a.wav", 2000, subtype="PCM_16")
    with pytest.raises(UserError, match="clipping is 'wrap'"):
        denoise_file(Stub(), source, tmp_path / "b.wav", clipping="wrap")
    denoise_file(Stub(), source, tmp_path / "b.wav", clipping="float")
    assert files.info(tmp_path / "b.wav").subtype == "FLOAT"


def test_a_recording_that_changes_while_it_is_read_is_refused(tmp_path):
    source = recording(tmp_path / "a.wav", 100_000)

    def grow(share):
        with open(source, "ab") as file:
            file.write(b"more")

    with pytest.raises(UserError, match=r"a\.wav: changed while it was read"):
        denoise_file(Stub(), source, tmp_path / "b.wav", progress_callback=grow)
    assert os.listdir(tmp_path) == ["a.wav"]


class MemoryLimited(Stub):
    """Model that raises an error for more than `limit` frames at a time."""

    def __init__(self, limit, error):
        super().__init__()
        self.limit, self.error, self.frame_counts = limit, error, []

    def separate(self, x):
        self.frame_counts.append(x.shape[1])
        if x.shape[1] > self.limit:
            raise self.error()
        return super().separate(x)


OUT_OF_MEMORY = [
    MemoryError,
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["host", "GPU", "PyTorch on the host"])
def test_chunks_are_halved_until_memory_suffices(tmp_path, caplog, error):
    limit = CHUNK // 4 + 100  # a quarter of a chunk and its halo
    source, model = recording(tmp_path / "a.wav", 200_000), MemoryLimited(limit, error)
    denoise_file(model, source, tmp_path / "b.wav")
    denoise_file(Stub(), source, tmp_path / "c.wav")
    np.testing.assert_allclose(files.read(tmp_path / "b.wav")[0], files.read(tmp_path / "c.wav")[0], rtol=0, atol=1e-6)
    messages = [record.message for record in caplog.records if "memory" in record.message]
    halves = (CHUNK // 2, CHUNK // 4)
    assert messages == [f"{source}: memory ran out; started again with {n} frames at a time" for n in halves]
    assert model.frame_counts[-1] <= limit


def test_too_little_memory_for_the_smallest_chunk_is_refused(tmp_path):
    source, model = recording(tmp_path / "a.wav"), MemoryLimited(0, MemoryError)
    with pytest.raises(UserError, match=r"a\.wav: memory ran out with only 128 frames of 1 channels at a time"):
        denoise_file(model, source, tmp_path / "b.wav")
    assert len(model.frame_counts) >= 5 and os.listdir(tmp_path) == ["a.wav"]


def test_other_errors_are_raised_without_another_attempt(tmp_path):
    source, model = recording(tmp_path / "a.wav"), MemoryLimited(0, lambda: RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        denoise_file(model, source, tmp_path / "b.wav")
    assert len(model.frame_counts) == 1
