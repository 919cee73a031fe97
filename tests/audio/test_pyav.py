"""Files of phones as PyAV itself writes them: read, streamed, trained on and denoised."""

from fractions import Fraction

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.audio import files
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from ..denoising.models import Fixed

av = pytest.importorskip("av", reason="needs PyAV (extra phones)")

RATE = 44100
SECONDS = 2.0


def chirps(seconds=SECONDS, channels=1, rate=RATE):
    """Return noise with a chirp in each half second, (T, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    chirp = 0.3 * np.sin(2 * np.pi * (1500 + 3000 * (time % 0.5)) * (time % 0.5)) * (time % 0.5 < 0.2)
    noise = np.random.default_rng(0).normal(0, 0.03, (len(time), channels))
    return (chirp[:, None] + noise).astype(np.float32)


def write(path, codec, samples, rate=RATE, streams=1, video=False, options=None, form=None, metadata=None):
    """Encode samples (T, channels) with a codec, in a container of the path's suffix."""
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        container.metadata.update(metadata or {})
        pictures = container.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p") if video else None
        layout = "mono" if samples.shape[1] == 1 else "stereo"
        outputs = [container.add_stream(codec, rate=rate, layout=layout) for _ in range(streams)]
        for output in outputs:
            output.bit_rate = 128_000
        container.start_encoding()  # opens the codecs, which then have a frame size
        if pictures:
            for number in range(10):
                picture = av.VideoFrame(16, 16, "yuv420p")
                picture.time_base, picture.pts = Fraction(1, 5), number
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        for output in outputs:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
            resampler = av.AudioResampler(output.format.name, layout, rate, frame_size=output.frame_size or 1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(output.encode(piece))
            container.mux(output.encode(None))
    return path


def delay(samples, original):
    """Return by how many frames the samples lag behind the original, from the peak of their correlation."""
    length = 2 * max(len(samples), len(original))
    spectra = np.fft.rfft(original, length).conj() * np.fft.rfft(samples, length)
    lag = int(np.argmax(np.fft.irfft(spectra, length)))
    return lag - length if lag > length // 2 else lag


# Frames that the codec's decoder lacks at the start (-), or keeps of the encoder's padding there.
FORMATS = {
    ".m4a": ("aac", 0),
    ".mp4": ("aac", 0),
    ".mov": ("aac", 0),
    ".aac": ("aac", 1024),
    ".wma": ("wmav2", -2048),
    ".ac3": ("ac3", 256),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", FORMATS)
def test_lossy_formats_are_read_and_streamed(tmp_path, caplog, suffix, channels):
    codec, expected_delay = FORMATS[suffix]
    form = {".aac": "adts", ".wma": "asf"}.get(suffix)
    path = write(tmp_path / f"memo{suffix}", codec, chirps(channels=channels), form=form)
    samples, rate = files.read(path)
    header = files.info(path)
    assert (rate, samples.shape[1], header.rate, header.channels) == (RATE, channels, RATE, channels)
    # The encoders fill their last frames, of up to 2048 samples.
    assert abs(len(samples) - SECONDS * RATE) <= 4096 and abs(header.seconds - SECONDS) < 0.1
    assert delay(samples[:, 0], chirps()[:, 0]) == expected_delay
    for size, first in ((1000, 0), (777, 12_345)):
        blocks = list(files.blocks(path, size, first))
        assert max(map(len, blocks)) <= size
        np.testing.assert_array_equal(np.concatenate(blocks), samples[first:])
    assert caplog.messages == []


def test_lossless_samples_are_exact_and_the_output_keeps_their_resolution(tmp_path):
    steps = np.random.default_rng(0).integers(-(2**23), 2**23, (5000, 2))
    path = write(tmp_path / "memo.m4a", "alac", (steps / 2**23).astype(np.float32))
    np.testing.assert_array_equal(files.read(path)[0][:1000], (steps[:1000] / 2**23).astype(np.float32))
    denoise_file(Fixed(pf.Spectrogram(rate=RATE)), path, tmp_path / "out.wav")
    assert files.info(tmp_path / "out.wav").subtype == "PCM_24"


def test_amr_is_read(tmp_path):
    # 50 frames of 20 ms of the highest rate, 31 bytes each, and one without data.
    frames = [b"\x3c" + np.random.default_rng(number).bytes(31) for number in range(50)]
    (tmp_path / "memo.amr").write_bytes(b"#!AMR\n" + b"".join(frames))
    samples, rate = files.read(tmp_path / "memo.amr")
    assert (samples.shape, rate) == ((8000, 1), 8000)


def test_tags_are_read(tmp_path):
    path = write(tmp_path / "memo.m4a", "aac", chirps(0.2), metadata={"title": "Dawn", "comment": "Käuzchen"})
    tags = files.info(path).tags
    assert (tags["title"], tags["comment"]) == ("Dawn", "Käuzchen")


def test_the_sound_of_a_video_is_read(tmp_path, caplog):
    path = write(tmp_path / "memo.mp4", "aac", chirps(), video=True)
    assert abs(len(files.read(path)[0]) - SECONDS * RATE) <= 4096
    assert caplog.messages == []


def test_a_video_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "memo.mp4"), "w") as container:
        pictures = container.add_stream("mpeg4", rate=5)
        pictures.width = pictures.height = 16
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(pictures.encode(None))
    with pytest.raises(UserError, match="has no audio; leave it out"):
        files.read(tmp_path / "memo.mp4")


def test_of_two_streams_the_first_is_read_with_a_warning(tmp_path, caplog):
    path = write(tmp_path / "memo.mp4", "aac", chirps(0.5), streams=2)
    assert abs(len(files.read(path)[0]) - 0.5 * RATE) <= 4096
    assert caplog.messages == [f"{path}: has 2 audio streams; only the first is used"]


def test_a_file_of_no_length_is_refused(tmp_path):
    with av.open(str(tmp_path / "memo.m4a"), "w") as container:
        container.add_stream("aac", rate=RATE, layout="mono")
        container.start_encoding()
    with pytest.raises(UserError, match="has no audio; leave it out"):
        files.read(tmp_path / "memo.m4a")


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [(".aac", "aac", {}), (".wma", "wmav2", {}), (".m4a", "aac", {"movflags": "faststart"})],
)
def test_a_file_that_is_cut_short_is_read_up_to_there(tmp_path, caplog, suffix, codec, options):
    form = {".aac": "adts", ".wma": "asf"}.get(suffix)
    path = write(tmp_path / f"memo{suffix}", codec, chirps(10.0), form=form, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, rate = files.read(path)
    assert 4 < len(samples) / rate < 6
    assert len(caplog.messages) == 1 and "damaged or cut short" in caplog.text and "could be decoded" in caplog.text


def test_a_file_without_its_index_is_refused(tmp_path):
    path = write(tmp_path / "memo.m4a", "aac", chirps())  # the index is at the end
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"not usable as audio: .*; copy it again, or convert it"):
        files.read(path)


def test_memos_are_trained_on_and_denoised(tmp_path):
    song = write(tmp_path / "song.m4a", "aac", chirps(4.0, 2))
    noise = write(tmp_path / "noise.wma", "wmav2", chirps(3.0)[:, :1] * 0.1, form="asf")
    settings = {"rate": 22050, "n_fft": 256, "hop": 128, "bins": 16, "latents": 8, "frames": 64, "batch": 4}
    model = pf.fit([song], noise=[noise], settings=settings, options=pf.TrainingOptions(steps=5, progress=False))
    denoise_file(model, song, tmp_path / "out.wav")
    header = files.info(tmp_path / "out.wav")
    assert (header.rate, header.channels, header.frames) == (RATE, 2, len(files.read(song)[0]))
