"""The figure: it can be drawn of anything that can be denoised, and its filters are in their places."""

import numpy as np
import pytest
import soundfile

from partae_fast.audio import Spectrogram
from partae_fast.denoising.figure import COLUMNS, RANGE, _decibels, figure, spectrograms
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from .models import Stub


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG\r\n\x1a\n"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_it_is_drawn_in_the_format_of_its_suffix(tmp_path, suffix, begins):
    audio = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    figure(tmp_path / f"a{suffix}", audio, audio, 0 * audio, 22050, Stub(), title="$no$ m_a^t_h")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(begins)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_it_is_drawn_of_silence_however_short(tmp_path, length, recwarn):
    silence = np.zeros(length, np.float32)
    figure(tmp_path / "a.png", silence, silence, silence, 8000, Stub())
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert not recwarn.list


def test_it_stands_beside_the_denoised_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, (9000, 2)) / 4, 44100)
    denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav", part="noise", figure=True)
    assert (tmp_path / "b.png").is_file()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    audio = np.zeros(1000, np.float32)
    with pytest.raises(UserError, match="does not exist"):
        figure(tmp_path / "none" / "a.png", audio, audio, audio, 8000, Stub())


def test_panels_share_their_scale_and_their_axes_are_seconds_and_kilohertz():
    from matplotlib.figure import Figure

    time = np.arange(44_100) / 44_100
    audio = np.sin(2 * np.pi * 4000 * time)
    page = Figure()
    parts = {"before": audio, "signal": 0.1 * audio, "noise": 0.9 * audio}
    panels = spectrograms(page, parts, 44_100, Spectrogram(), start=3.0)
    assert [axes.get_title(loc="left") for axes in panels] == ["before", "signal", "noise"]
    levels = []
    for axes in panels:
        image = axes.images[0]
        assert image.get_clim() == (-RANGE, 0)
        assert image.get_extent() == [3, 4, 0, 22.05]
        assert axes.get_ylim() == (0, 22.05 / 2)
        assert axes.get_ylabel() == "frequency (kHz)"
        levels.append(image.get_array())
    assert panels[-1].get_xlabel() == "time (s)" and "dB" in page.axes[-1].get_ylabel()
    assert levels[0].max() == pytest.approx(0)
    assert levels[1].max() == pytest.approx(-20, abs=1e-3)
    loudest = np.unravel_index(levels[0].argmax(), levels[0].shape)[0] / levels[0].shape[0] * 22.05
    assert loudest == pytest.approx(4.0, abs=0.1)


def test_rumble_below_the_band_does_not_darken_what_is_in_it():
    from matplotlib.figure import Figure

    time = np.arange(22_050) / 22_050
    rumble, song = np.sin(2 * np.pi * 50 * time), 0.01 * np.sin(2 * np.pi * 4000 * time)
    page = Figure()
    image = spectrograms(page, {"before": rumble + song}, 22_050, Spectrogram())[0].images[0]
    row = round(4000 / 11_025 * image.get_array().shape[0])
    assert image.get_array()[row - 3 : row + 4].max() == pytest.approx(0, abs=1e-3)
    assert image.colorbar.extend == "both"


@pytest.mark.parametrize(("band", "dashed"), [((1700.0, 7200.0), [1.7, 7.2]), ((80.0, 11025.0), [])])
def test_the_models_band_is_shown_where_it_is_narrower_than_the_picture(band, dashed):
    from matplotlib.figure import Figure

    audio = np.zeros(4000)
    panels = spectrograms(Figure(), {"before": audio}, 22050, Spectrogram(low=band[0], high=band[1]))
    assert [line.get_ydata()[0] for line in panels[0].lines] == dashed
    assert ("1.7 to 7.2 kHz" in panels[0].get_title(loc="right")) == bool(dashed)


def test_bats_get_windows_as_short_as_their_calls():
    """A click of a millisecond at 384 kHz stays a few milliseconds wide."""
    from matplotlib.figure import Figure

    audio = np.zeros(384_000 // 4)
    audio[40_000:40_384] = np.sin(np.arange(384))
    band = Spectrogram(rate=384_000, n_fft=1024, hop=256, low=15_000.0, high=120_000.0)
    image = spectrograms(Figure(), {"before": audio}, 384_000, band)[0].images[0].get_array()
    wide = np.count_nonzero(image.max(axis=0) > -40) / image.shape[1] * 0.25
    assert wide < 0.005


def test_a_short_call_is_not_lost_in_a_long_recording():
    view = Spectrogram(rate=8000, n_fft=128, hop=32, low=0.0, high=4000.0)
    audio = np.zeros(8000 * 60, np.float32)
    audio[240_000:240_400] = np.sin(np.arange(400))
    levels = _decibels(audio, view)
    assert len(levels) <= COLUMNS
    assert levels.max() == pytest.approx(10 * np.log10((view.magnitude(audio) ** 2).max()))
    assert np.argmax(levels.max(axis=1)) / len(levels) == pytest.approx(0.5, abs=0.01)
