"""The figure of a denoised recording: formats, scales, axes and resolution."""

import numpy as np
import pytest
import soundfile

from partae_fast.audio import Spectrogram
from partae_fast.denoising.figure import COLUMNS, RANGE, _decibels, draw_spectrograms, plot_denoising
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from .models import Stub


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n\x1a\n"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_the_suffix_selects_the_format(tmp_path, suffix, magic):
    audio = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    plot_denoising(tmp_path / f"a{suffix}", audio, audio, 0 * audio, 22050, Stub(), title="$no$ m_a^t_h")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(magic)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_short_silence_is_plotted_without_warnings(tmp_path, length, recwarn):
    silence = np.zeros(length, np.float32)
    plot_denoising(tmp_path / "a.png", silence, silence, silence, 8000, Stub())
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert not recwarn.list


def test_the_figure_is_in_the_folder_of_the_denoised_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, (9000, 2)) / 4, 44100)
    denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav", part="noise", figure=True)
    assert (tmp_path / "b.png").is_file()


def test_a_missing_folder_is_refused(tmp_path):
    audio = np.zeros(1000, np.float32)
    with pytest.raises(UserError, match="does not exist"):
        plot_denoising(tmp_path / "gone" / "a.png", audio, audio, audio, 8000, Stub())


def test_panels_share_a_scale_and_have_axes_in_seconds_and_kilohertz():
    from matplotlib.figure import Figure

    time = np.arange(44_100) / 44_100
    audio = np.sin(2 * np.pi * 4000 * time)
    figure = Figure()
    parts = {"before": audio, "signal": 0.1 * audio, "noise": 0.9 * audio}
    panels = draw_spectrograms(figure, parts, 44_100, Spectrogram(), start=3.0)
    assert [axes.get_title(loc="left") for axes in panels] == ["before", "signal", "noise"]
    levels = []
    for axes in panels:
        image = axes.images[0]
        assert image.get_clim() == (-RANGE, 0)
        assert image.get_extent() == [3, 4, 0, 22.05]
        assert axes.get_ylim() == (0, 22.05 / 2)
        assert axes.get_ylabel() == "frequency (kHz)"
        levels.append(image.get_array())
    assert panels[-1].get_xlabel() == "time (s)" and "dB" in figure.axes[-1].get_ylabel()
    assert levels[0].max() == pytest.approx(0)
    assert levels[1].max() == pytest.approx(-20, abs=1e-3)
    loudest = np.unravel_index(levels[0].argmax(), levels[0].shape)[0] / levels[0].shape[0] * 22.05
    assert loudest == pytest.approx(4.0, abs=0.1)


def test_the_scale_ignores_rumble_below_the_band():
    from matplotlib.figure import Figure

    time = np.arange(22_050) / 22_050
    rumble, song = np.sin(2 * np.pi * 50 * time), 0.01 * np.sin(2 * np.pi * 4000 * time)
    figure = Figure()
    image = draw_spectrograms(figure, {"before": rumble + song}, 22_050, Spectrogram())[0].images[0]
    row = round(4000 / 11_025 * image.get_array().shape[0])
    assert image.get_array()[row - 3 : row + 4].max() == pytest.approx(0, abs=1e-3)
    assert image.colorbar.extend == "both"


@pytest.mark.parametrize(("band", "dashed"), [((1700.0, 7200.0), [1.7, 7.2]), ((80.0, 11025.0), [])])
def test_a_band_narrower_than_the_axis_is_marked(band, dashed):
    from matplotlib.figure import Figure

    audio = np.zeros(4000)
    panels = draw_spectrograms(Figure(), {"before": audio}, 22050, Spectrogram(low=band[0], high=band[1]))
    assert [line.get_ydata()[0] for line in panels[0].lines] == dashed
    assert ("1.7 to 7.2 kHz" in panels[0].get_title(loc="right")) == bool(dashed)


def test_a_click_of_1_ms_at_384_khz_is_less_than_5_ms_wide():
    from matplotlib.figure import Figure

    audio = np.zeros(384_000 // 4)
    audio[40_000:40_384] = np.sin(np.arange(384))
    band = Spectrogram(rate=384_000, n_fft=1024, hop=256, low=15_000.0, high=120_000.0)
    image = draw_spectrograms(Figure(), {"before": audio}, 384_000, band)[0].images[0].get_array()
    width = np.count_nonzero(image.max(axis=0) > -40) / image.shape[1] * 0.25
    assert width < 0.005


def test_a_short_call_stays_visible_in_a_long_recording():
    spectrogram = Spectrogram(rate=8000, n_fft=128, hop=32, low=0.0, high=4000.0)
    audio = np.zeros(8000 * 60, np.float32)
    audio[240_000:240_400] = np.sin(np.arange(400))
    levels = _decibels(audio, spectrogram)
    assert len(levels) <= COLUMNS
    assert levels.max() == pytest.approx(10 * np.log10((spectrogram.magnitude(audio) ** 2).max()))
    assert np.argmax(levels.max(axis=1)) / len(levels) == pytest.approx(0.5, abs=0.01)
