"""Audio and pictures as data URIs."""

import base64
import io

import numpy as np
import pytest
import soundfile

from partae_fast.audio import Spectrogram
from partae_fast.labels import Event
from partae_fast.report.media import picture, players, slowdown

from .conftest import RATE, sound


def decode(uri):
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:audio/flac"
    return soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="float64")


def test_players_have_a_common_gain_and_the_loudest_reaches_the_peak():
    signal, noise = sound(1, (0.2, 0.5)), sound(1, seed=1)
    parts = {"before": signal + noise, "signal": signal, "noise": noise}
    uris, gain = players(parts, RATE)
    decoded = {}
    for name, part in parts.items():
        samples, rate = decode(uris[name])
        assert rate == RATE and np.abs(samples - part * 10 ** (gain / 20)).max() <= 2**-15
        decoded[name] = samples
    assert np.abs(decoded["before"]).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    assert np.abs(decoded["signal"] + decoded["noise"] - decoded["before"]).max() <= 3 * 2**-15


def test_silence_has_a_player():
    for length in (1, 500):
        uris, gain = players({"before": np.zeros(length, np.float32)}, RATE)
        assert gain == 0 and not decode(uris["before"])[0].any()


@pytest.mark.parametrize(("rate", "slower", "played"), [(96_000, 1, 48_000), (384_000, 10, 38_400), (8000, 1, 8000)])
def test_players_have_rates_of_browsers_and_a_lower_pitch_if_slower(rate, slower, played):
    tone = np.sin(2 * np.pi * 3000 * slower * np.arange(rate) / rate).astype(np.float32)
    uris, _ = players({"before": tone}, rate, slower)
    samples, file_rate = decode(uris["before"])
    assert file_rate == played and len(samples) == pytest.approx(slower * played, abs=2)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * played / len(samples) == pytest.approx(3000, abs=2)


def test_only_bands_of_ultrasound_are_played_slower():
    assert slowdown(Spectrogram(rate=384_000, n_fft=2048, hop=512, low=15_000.0, high=120_000.0)) == 10
    assert slowdown(Spectrogram(rate=96_000, n_fft=512, hop=128, low=100.0, high=22_000.0)) == 1


def test_a_picture_has_the_position_of_its_time_axis_and_marks_events():
    """The picture is white outside the axis and black inside; an event is cyan."""
    from PIL import Image

    parts = dict.fromkeys(("before", "signal", "noise"), np.zeros(RATE, np.float32))
    parts["before"] = sound(1)
    events = [Event(5.4, 5.6, low=2000.0, high=4000.0), Event(5.8, 5.9)]
    unmarked, marked = (picture(parts, RATE, Spectrogram(), 5.0, marks) for marks in ((), events))
    images = []
    for webp in (unmarked, marked):
        kind, _, content = webp.uri.partition(";base64,")
        assert kind == "data:image/webp"
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert image.size == webp.pixels
        images.append(np.asarray(image.convert("RGB"), float))
    row = images[0][round(0.5 * unmarked.pixels[1])].mean(axis=1)  # in the signal's panel, which is black
    edges = [round(share * unmarked.pixels[0]) for share in (unmarked.left, unmarked.left + unmarked.width)]
    assert row[edges[0] + 4 : edges[1] - 4].max() < 60 < 200 < row[edges[0] - 6] and row[edges[1] + 5] > 200
    cyan = (images[1][:, :, 1] > images[1][:, :, 0] + 50).any(axis=0)  # no colour of the scale is as green
    positions = (np.flatnonzero(cyan) / unmarked.pixels[0] - unmarked.left) / unmarked.width
    assert positions.min() == pytest.approx(0.4, abs=0.01) and positions.max() == pytest.approx(0.9, abs=0.01)
    assert not (images[0][:, :, 1] > images[0][:, :, 0] + 50).any()
