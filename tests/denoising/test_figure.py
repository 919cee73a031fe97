"""The figure: it can be drawn of anything that can be denoised, and its filters are in their places."""

import numpy as np
import pytest
import soundfile
import torch

from partae_fast.audio import Spectrogram
from partae_fast.denoising.figure import COLUMNS, _decibels, _mosaic, _spectrograms, figure
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError

from .models import Stub


@pytest.mark.parametrize("foreground", ["half", "all", "none"])
def test_it_is_drawn_for_any_share_of_latents(tmp_path, foreground):
    model = Stub()
    model.foreground = {"half": model.foreground, "all": torch.ones(6), "none": torch.zeros(6)}[foreground]
    audio = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    figure(tmp_path / "a.png", audio, audio, 0 * audio, 22050, model, title="noise")
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


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
    _spectrograms(page, {"input": audio, "signal": 0.1 * audio, "noise": 0.9 * audio}, 44_100, Spectrogram())
    panels = [axes for axes in page.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["input", "signal", "noise"]
    levels = []
    for axes in panels:
        image = axes.images[0]
        assert image.get_clim() == (-70, 0)
        assert image.get_extent() == [0, 1, 0, 22.05]
        assert axes.get_ylim() == (0, 22.05 / 2)
        levels.append(image.get_array())
    assert levels[0].max() == pytest.approx(0)
    assert levels[1].max() == pytest.approx(-20, abs=1e-3)
    loudest = np.unravel_index(levels[0].argmax(), levels[0].shape)[0] / levels[0].shape[0] * 22.05
    assert loudest == pytest.approx(4.0, abs=0.1)


def test_a_short_call_is_not_lost_in_a_long_recording():
    view = Spectrogram(rate=8000, n_fft=128, hop=32, low=0.0, high=4000.0)
    audio = np.zeros(8000 * 60, np.float32)
    audio[240_000:240_400] = np.sin(np.arange(400))
    levels = _decibels(audio, view)
    assert len(levels) <= COLUMNS
    assert levels.max() == pytest.approx(10 * np.log10((view.magnitude(audio) ** 2).max()))
    assert np.argmax(levels.max(axis=1)) / len(levels) == pytest.approx(0.5, abs=0.01)


def test_filters_are_sorted_by_their_peak_and_scaled_each():
    filters = np.zeros((2, 3, 5), np.float32)  # (taps, filters, bins)
    filters[0, 0, 4] = 10.0
    filters[1, 1, 0] = -0.5
    filters[0, 2, 2] = 1.0
    mosaic = _mosaic(filters, columns=2)
    assert mosaic.shape == (2 * 7, 2 * 3)
    # On the upper row peaks at bin 0 (negative, second tap) and bin 2; on the lower one at bin 4.
    assert {(int(y), int(x)): mosaic[y, x] for y, x in np.argwhere(np.nan_to_num(mosaic))} == {
        (7, 1): -1.0,
        (9, 3): 1.0,
        (4, 0): 1.0,
    }
