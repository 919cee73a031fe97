"""Separation of arrays, streams and files."""

import os

import numpy as np
import pytest
import soundfile
import torch

import partae_fast as pf
from partae_fast.audio.files import read
from partae_fast.denoising.edges import Edges
from partae_fast.denoising.separate import separate, separate_blocks, separate_file

from ..audio import wave_chunks as w

RATE = 8000


@pytest.fixture(scope="module")
def model():
    separator = pf.ConvDAESeparator(["drums", "vocals", "bass"], bins=25, frames=6, seed=1)
    separator.spectrogram = pf.Spectrogram(rate=RATE, n_fft=48, hop=12, low=0.0, high=RATE / 2)
    return separator


@pytest.fixture(scope="module")
def stereo():
    return np.random.default_rng(0).normal(0, 0.1, (3001, 2)).astype(np.float32)


def test_a_source_is_the_mixture_times_its_mask_in_both_channels(model, stereo):
    spectrogram, edges = model.spectrogram, Edges(model.spectrogram, RATE, model.frames)  # no halo
    extended = np.concatenate(list(edges.extend([stereo])))
    with torch.no_grad():
        masks = model.masks(torch.from_numpy(spectrogram.magnitude(extended.mean(axis=1)))).numpy()
    assert masks.std() > 0.05
    sources = separate(stereo, RATE, model)
    assert list(sources) == ["drums", "vocals", "bass"]
    for source, mask in zip(sources.values(), masks, strict=True):
        for channel in range(2):
            expected = spectrogram.istft(mask * spectrogram.stft(extended[:, channel]), len(extended))
            np.testing.assert_allclose(source[:, channel], next(edges.cut([expected[:, None]]))[:, 0], atol=2e-6)


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_sources_sum_to_the_mixture(model, stereo, rate):
    sources = separate(stereo, rate, model)
    assert all(part.shape == stereo.shape for part in sources.values())
    np.testing.assert_allclose(sum(sources.values()), stereo, atol=1e-7)
    assert min(float(np.std(part)) for part in sources.values()) > 1e-3


@pytest.mark.parametrize("step", [None, 2])
def test_a_stream_in_chunks_equals_the_whole_array(model, stereo, step):
    expected = np.stack(list(separate(stereo, RATE, model, step).values()))
    blocks = np.split(stereo, [1, 700, 701, 2000])
    chunked = np.concatenate(list(separate_blocks(blocks, RATE, 2, model, step, chunk=7)), axis=1)
    np.testing.assert_allclose(chunked, expected, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 11, 48])
def test_silence_of_any_length_stays_silent(model, length):
    assert {part.shape for part in separate(np.zeros(length), RATE, model).values()} == {(length,)}
    assert not np.stack(list(separate(np.zeros(length), RATE, model).values())).any()


def test_sources_are_equal_if_all_estimates_are_0(model, stereo):
    silent = pf.ConvDAESeparator(["a", "b"], bins=25, frames=6)
    silent.spectrogram = model.spectrogram
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.zero_()
    first, second = separate(stereo, RATE, silent).values()
    np.testing.assert_allclose(first, stereo / 2, atol=1e-6)
    np.testing.assert_allclose(second, stereo / 2, atol=1e-6)


def test_files_keep_rate_channels_length_and_subtype(model, stereo, tmp_path):
    soundfile.write(tmp_path / "song.flac", stereo, 11025, subtype="PCM_16")
    shares = []
    targets, header = separate_file(model, tmp_path / "song.flac", tmp_path / "out", progress_callback=shares.append)
    assert [path.name for path in targets.values()] == ["drums.flac", "vocals.flac", "bass.flac"]
    headers = [soundfile.info(path) for path in targets.values()]
    assert {(h.samplerate, h.channels, h.frames, h.subtype) for h in headers} == {(11025, 2, 3001, "PCM_16")}
    assert header.frames == 3001 and shares[-1] == 1
    total = sum(read(path)[0] for path in targets.values())
    assert np.abs(total - read(tmp_path / "song.flac")[0]).max() <= 1.5 / 32768 + 1e-7


def test_invalid_arguments_are_refused(model, stereo):
    without_spectrogram = pf.ConvDAESeparator(["a"], bins=25, frames=6)
    denoiser = pf.ConvPartitionedAutoencoder(bins=25)
    for arguments, message in [
        ((stereo, RATE, without_spectrogram), "the model has no spectrogram"),
        ((stereo, RATE, denoiser), "does not separate mixtures into sources; use denoise"),
        ((stereo, 0, model), "rate is 0 Hz"),
        ((stereo, RATE, model, 4), "step is 4; it must divide"),
        ((np.zeros((2, 2, 2)), RATE, model), r"has shape \(2, 2, 2\)"),
        ((np.array([0.0, np.nan]), RATE, model), "the sample at 0.000 s is nan"),
    ]:
        with pytest.raises(pf.UserError, match=message):
            separate(*arguments)
    with pytest.raises(pf.UserError, match="separates a mixture into drums, vocals, bass; use separate"):
        pf.denoise(stereo, RATE, model)


def test_the_input_and_existing_files_are_not_overwritten(model, stereo, tmp_path):
    soundfile.write(tmp_path / "drums.wav", stereo, RATE)
    with pytest.raises(pf.UserError, match="is the input itself; write to another folder"):
        separate_file(model, tmp_path / "drums.wav", tmp_path, overwrite=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bass.wav").write_text("mine")
    with pytest.raises(pf.UserError, match="exists"):
        separate_file(model, tmp_path / "drums.wav", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bass.wav"]
    (tmp_path / "file").write_text("")
    with pytest.raises(pf.UserError, match="file: cannot be created"):
        separate_file(model, tmp_path / "drums.wav", tmp_path / "file")


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_source_is_written_through_a_link(model, stereo, tmp_path, overwrite):
    soundfile.write(tmp_path / "song.wav", stereo, RATE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vocals.wav").symlink_to(tmp_path / "mine.wav")  # which does not exist yet
    with pytest.raises(pf.UserError, match=r"vocals\.wav: is a symbolic link, and outputs are written to"):
        separate_file(model, tmp_path / "song.wav", tmp_path / "out", overwrite=overwrite)
    assert not (tmp_path / "mine.wav").exists()


def test_metadata_of_recorders_are_kept_in_every_source(model, tmp_path):
    (tmp_path / "in.wav").write_bytes(w.wave(np.arange(3000) % 500, after=w.chunk(b"guan", w.GUANO.encode())))
    os.utime(tmp_path / "in.wav", ns=(10**18, 10**18))
    targets, _ = separate_file(model, tmp_path / "in.wav", tmp_path / "out")
    assert {path.stat().st_mtime_ns for path in targets.values()} == {10**18}
    for name, path in targets.items():
        guano = dict(w.chunks_of(path.read_bytes()))[b"guan"].decode()
        assert guano.startswith(w.GUANO + f"Note: {name} separated with partae_fast ")
