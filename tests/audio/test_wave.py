"""Metadata chunks of WAV and RF64 files, and the samples of the writer."""

import logging
import os
import struct

import numpy as np
import pytest
import soundfile

from partae_fast.audio import files
from partae_fast.audio.wave import INFO_CHUNKS, WaveFile, info_list, metadata_chunks

from . import wave_chunks as w

SAMPLES = np.random.default_rng(0).integers(-(2**15), 2**15, 1001)
FLOATS = (SAMPLES / 2**15).astype(np.float32)[:, None]
BEFORE = w.info(ICMT=w.AUDIOMOTH.encode().ljust(384, b"\0"), IART=b"AudioMoth 24F319055FDF2902\0", IENG=b"M\xfcller\0")
BEFORE += w.bext() + w.chunk(b"iXML", b"<BWFXML><SCENE>dawn</SCENE></BWFXML>")
AFTER = (
    w.wamd()
    + w.cue(10, 500)
    + w.labels(b"call", b"call 2")
    + w.chunk(b"guan", w.GUANO.encode())
    + w.chunk(b"xyz1", b"odd")
)
UNCHANGED = {b"LIST", b"iXML", b"wamd", b"cue ", b"xyz1"}


def copied(source, target, note=None, **options):
    """Write the samples of a file to another, with its metadata, as denoising does."""
    header, (samples, rate) = files.info(source), files.read(source)
    files.write(target, samples, rate, header.subtype, tags=header.tags, chunks=header.chunks, note=note, **options)
    return w.chunks_of(target.read_bytes()) if target.suffix in (".wav", ".rf64") else []


@pytest.mark.parametrize("make", [w.wave, w.rf64])
def test_all_metadata_are_copied_in_their_order(tmp_path, make):
    before = BEFORE + (w.wamd() if make is w.wave else b"")  # of odd length
    (tmp_path / "a.wav").write_bytes(make(SAMPLES, before, AFTER))
    chunks = copied(tmp_path / "a.wav", tmp_path / "b.wav")
    original = w.chunks_of((tmp_path / "a.wav").read_bytes())
    assert chunks == [chunk for chunk in original if chunk[0] != b"ds64"]
    np.testing.assert_array_equal(files.read(tmp_path / "b.wav")[0], FLOATS)
    assert files.info(tmp_path / "b.wav").tags == files.info(tmp_path / "a.wav").tags
    assert files.info(tmp_path / "b.wav").tags["comment"] == w.AUDIOMOTH


@pytest.mark.parametrize("note", [None, "DONE"])
def test_libsndfile_reads_rf64_with_metadata(tmp_path, note):
    """It does not find the samples after a chunk of odd length."""
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, BEFORE + w.bext(b"odd") + w.wamd(), AFTER))
    chunks = copied(tmp_path / "a.wav", tmp_path / "b.rf64", note=note)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "b.rf64")[0], FLOATS[:, 0])
    assert {name for name, _ in chunks} == {b"ds64", b"fmt ", b"data", b"bext", b"guan"} | UNCHANGED
    assert sum(name == b"bext" for name, _ in chunks) == 2


def test_guano_and_broadcast_wave_get_a_note_of_the_processing(tmp_path):
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, BEFORE, AFTER))
    chunks = dict(copied(tmp_path / "a.wav", tmp_path / "b.wav", note="denoised, signal kept"))
    original = dict(w.chunks_of((tmp_path / "a.wav").read_bytes()))
    assert chunks[b"guan"].decode() == w.GUANO + "Note: denoised, signal kept\n"
    line = b"A=PCM,F=22050,W=16,M=mono,T=denoised; signal kept\r\n"
    assert chunks[b"bext"] == original[b"bext"] + line
    assert {name: chunks[name] for name in UNCHANGED} == {name: original[name] for name in UNCHANGED}


@pytest.mark.parametrize(
    ("guano", "expected"),
    [
        (b"GUANO|Version: 1.0\nNote: in rain\nMake: x\n\0\0", b"GUANO|Version: 1.0\nNote: in rain\\nDONE\nMake: x\n"),
        (b"GUANO|Version: 1.0\r\nNote:\r\n", b"GUANO|Version: 1.0\r\nNote:\\nDONE\n"),
        (
            b"GUANO|Version: 1.0\n" + "Loc: São\n".encode(),
            b"GUANO|Version: 1.0\n" + "Loc: São\n".encode() + b"Note: DONE\n",
        ),
        (b"not GUANO", b"not GUANO"),
        (b"", b""),
    ],
)
def test_a_note_is_added_to_that_of_the_recorder(tmp_path, guano, expected):
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, after=w.chunk(b"guan", guano)))
    chunks = dict(copied(tmp_path / "a.wav", tmp_path / "b.wav", note="DONE"))
    assert chunks[b"guan"] == expected


@pytest.mark.parametrize("history", [b"", b"A=ANALOGUE", b"A=ANALOGUE\r\n\0\0\0"])
def test_the_coding_history_is_continued_on_a_new_line(tmp_path, history):
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, before=w.bext(history)))
    chunks = dict(copied(tmp_path / "a.wav", tmp_path / "b.wav", note="DONE"))
    lines = chunks[b"bext"][602:].decode().split("\r\n")
    assert lines == ["A=ANALOGUE"] * bool(history) + ["A=PCM,F=22050,W=16,M=mono,T=DONE", ""]


def test_a_broadcast_chunk_that_is_cut_short_is_copied(tmp_path):
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, before=w.chunk(b"bext", b"short")))
    assert dict(copied(tmp_path / "a.wav", tmp_path / "b.wav", note="DONE"))[b"bext"] == b"short"


@pytest.mark.parametrize("suffix", [".flac", ".aiff", ".caf", ".w64"])
def test_metadata_that_the_format_cannot_hold_are_named(tmp_path, caplog, suffix):
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, BEFORE, AFTER))
    with caplog.at_level(logging.WARNING, "partae_fast"):
        copied(tmp_path / "a.wav", tmp_path / f"b{suffix}")
    (message,) = caplog.messages
    assert "cannot hold the metadata bext, iXML, wamd, cue, adtl, guan, xyz1 of" in message
    assert message.endswith("they are left out: write .wav to keep them")


def test_chunks_about_the_samples_are_not_copied(tmp_path, caplog):
    stale = (
        w.chunk(b"PEAK", bytes(16))
        + w.chunk(b"levl", bytes(8))
        + w.chunk(b"JUNK", bytes(28))
        + w.chunk(b"fact", bytes(4))
    )
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, stale, w.chunk(b"guan", w.GUANO.encode())))
    assert [name for name, _ in copied(tmp_path / "a.wav", tmp_path / "b.wav")] == [b"fmt ", b"data", b"guan"]
    assert caplog.messages == []


def test_chunks_of_odd_length_without_padding_are_found(tmp_path):
    unpadded = (
        b"odd1"
        + struct.pack("<I", 3)
        + b"abc"
        + b"odd2"
        + struct.pack("<I", 5)
        + b"defgh"
        + w.chunk(b"guan", b"GUANO|")
    )
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, after=unpadded))
    names = [chunk.name for chunk in metadata_chunks(tmp_path / "a.wav")]
    assert names == [b"odd1", b"odd2", b"guan"]


def test_a_recording_that_was_never_closed_keeps_the_metadata_before_its_samples(tmp_path):
    content = bytearray(w.wave(np.full(4000, 0x2020), BEFORE))  # samples that look like names of chunks
    position = content.rindex(b"data") + 4
    content[position : position + 4] = bytes(4)
    (tmp_path / "a.wav").write_bytes(content)
    chunks = copied(tmp_path / "a.wav", tmp_path / "b.wav")
    assert [name for name, _ in chunks] == [b"fmt ", b"LIST", b"bext", b"iXML", b"data"]


@pytest.mark.parametrize("length", [0, 2**31, 2**32 - 1])
def test_chunks_that_claim_more_than_the_file_has_are_not_copied(tmp_path, length):
    claim = b"guan" + struct.pack("<I", length) + b"GUANO|Version: 1.0\n"
    (tmp_path / "a.wav").write_bytes(w.wave(SAMPLES, after=claim))
    names = [name for name, _ in copied(tmp_path / "a.wav", tmp_path / "b.wav")]
    assert names == [b"fmt ", b"data"] + [b"guan"] * (length == 0)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("long", [False, True])
def test_libsndfile_reads_what_is_written(tmp_path, subtype, channels, long):
    step = 2.0 ** (1 - 8 * files.SUBTYPE_BYTES[subtype])
    samples = np.random.default_rng(1).uniform(-1, 1, (1001, channels)).astype(np.float32)
    samples[:3] = [[0], [-1], [1]]
    with WaveFile(tmp_path / "a.wav", 384_000, channels, subtype, rf64=long) as file:
        for block in np.split(samples, [1, 500]):
            file.write(block)
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert (file.format, file.subtype, file.samplerate) == ("RF64" if long else "WAV", subtype, 384_000)
        assert (file.frames, file.channels) == (1001, channels)
        back = file.read(dtype="float64")
    exact = subtype in ("FLOAT", "DOUBLE")
    expected = samples if exact else np.minimum(samples.astype(np.float64), 1 - step)
    np.testing.assert_allclose(back.reshape(samples.shape), expected, rtol=0, atol=0 if exact else 0.5001 * step)
    assert w.chunks_of((tmp_path / "a.wav").read_bytes())[-1][0] == b"data"


def test_equal_samples_give_equal_files(tmp_path):
    for name in ("a.wav", "b.wav"):
        files.write(tmp_path / name, FLOATS, 22050, "FLOAT", tags={"comment": "x"})
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_tags_of_another_format_become_an_info_list(tmp_path):
    tags = {name: f"{name} São" for name in INFO_CHUNKS}
    files.write(tmp_path / "a.wav", FLOATS, 22050, tags=tags)
    assert dict(w.chunks_of((tmp_path / "a.wav").read_bytes()))[b"LIST"] == info_list(tags)
    assert files.info(tmp_path / "a.wav").tags == tags


def test_a_header_that_cannot_hold_the_channels_is_refused(tmp_path):
    with pytest.raises(files.UserError, match=r"cannot have 1000000 Hz with 2000 channels"):
        files.write(tmp_path / "a.wav", np.zeros((10, 2000), np.float32), 1_000_000)
    assert os.listdir(tmp_path) == []


def test_a_wav_of_more_than_4_gb_by_mistake_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("partae_fast.audio.wave._WRAP", 1000)
    with (
        pytest.raises(files.UserError, match=r"longer than 4 GB"),
        WaveFile(tmp_path / "a.wav", 1, 1, "PCM_16") as file,
    ):
        file.write(FLOATS)
