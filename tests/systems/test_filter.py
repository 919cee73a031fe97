"""The system `filter` by labels and by recordings of noise, and its part in `field`."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.models import FilteredDenoisingAutoencoder, FilterModel
from partae_fast.systems.filter import learned_filter
from partae_fast.training.material import Material

RATE = 22050


def hiss(seconds, seed, level=0.05):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def song(seconds):
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * 3000.0 * t) * (t % 1 < 0.5)).astype(np.float32)


def snr(reference, estimate):
    return 10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2))


MIXTURE = song(4.0) + hiss(4.0, 0)


def test_it_denoises_without_a_step():
    model = pf.fit([(MIXTURE, RATE)], noise=[(hiss(3.0, 1), RATE)], system="filter")
    assert isinstance(model, FilterModel) and model.history.loss == []
    assert snr(song(4.0), pf.denoise(MIXTURE, RATE, model)) > snr(song(4.0), MIXTURE) + 8
    assert (model.spectrogram.low, model.spectrogram.high, model.spectrogram.hop) == (80.0, 11025.0, 64)


def test_its_band_and_rate_follow_settings_and_recordings():
    model = pf.fit(
        [(MIXTURE, RATE)], noise=[(hiss(3.0, 1), RATE)], system="filter", settings={"low": 2000.0, "high": 4000.0}
    )
    assert (model.spectrogram.low, model.spectrogram.high) == (2000.0, 4000.0)
    low = pf.fit([(MIXTURE[::2], RATE // 2)], noise=[(hiss(3.0, 1), RATE)], system="filter")
    assert low.spectrogram.high == RATE / 4


def test_labels_say_what_is_noise(tmp_path):
    audio = np.concatenate([hiss(2.0, 3), MIXTURE, hiss(2.0, 4)])
    files.write(tmp_path / "a.wav", audio, RATE, "FLOAT")
    (tmp_path / "a.txt").write_text("2\t6\tsong\n")
    model = pf.fit([tmp_path / "a.wav"], labels=tmp_path / "a.txt", system="filter")
    assert snr(song(4.0), pf.denoise(MIXTURE, RATE, model)) > snr(song(4.0), MIXTURE) + 8
    with pytest.raises(UserError, match=r"there is no noise-only time"):
        pf.fit([tmp_path / "a.wav"], system="filter")


def test_field_averages_its_network_with_the_filter():
    recordings, options = [(MIXTURE, RATE)], pf.TrainingOptions(steps=12, progress=False, backend="eager", device="cpu")
    noise = [(hiss(3.0, 1), RATE)]
    field = pf.fit(recordings, noise=noise, options=options)
    assert isinstance(field, FilteredDenoisingAutoencoder) and field.share == 0.75
    networks = pf.fit(recordings, noise=noise, settings={"filter_share": 0.0}, options=options)
    assert networks.w_enc.equal(field.w_enc) and networks.mask == field.mask
    parts = [pf.denoise(MIXTURE, RATE, m) for m in (networks, pf.fit(recordings, noise=noise, system="filter"))]
    np.testing.assert_allclose(pf.denoise(MIXTURE, RATE, field), 0.25 * parts[0] + 0.75 * parts[1], atol=1e-5)
    with pytest.raises(UserError, match="filter_share is 2"):
        pf.fit(recordings, noise=noise, settings={"filter_share": 2.0}, options=options)


def test_of_many_recordings_some_are_read(monkeypatch):
    """In an order of the seed, and as many as are enough."""
    monkeypatch.setattr("partae_fast.systems.filter.MAX_SAMPLES", 5 * RATE)
    material = Material([(MIXTURE * (1 + i), RATE) for i in range(6)], [(hiss(3.0, i), RATE) for i in range(6)])
    signal, noise = material.weakly_labelled(RATE, 5 * RATE, seed=1)
    assert len(signal) == 2 and len(noise) == 2
    other, _ = material.weakly_labelled(RATE, 5 * RATE, seed=2)
    assert {float(np.abs(x).max()) for x in signal} != {float(np.abs(x).max()) for x in other}
    spectrogram = pf.Spectrogram(rate=RATE, n_fft=256, hop=64, low=80.0, high=11025.0)
    levels = [learned_filter(material, spectrogram, seed).level_512 for seed in (1, 1, 2)]
    assert levels[0].equal(levels[1]) and not levels[0].equal(levels[2])


def test_of_a_long_recording_pieces_are_read(tmp_path):
    """Of all its parts, and labels are of the whole recording's time."""
    long = np.concatenate([hiss(20.0, 1), MIXTURE, hiss(20.0, 2)])
    files.write(tmp_path / "a.wav", long, RATE, "FLOAT")
    (tmp_path / "a.txt").write_text("20\t24\tsong\n")
    material = Material([tmp_path / "a.wav"], labels=[tmp_path / "a.txt"])
    whole, parts = (material.weakly_labelled(RATE, most, seed=3) for most in (None, 16 * RATE))
    # 8 pieces of 2 s, of which that in the song is signal, but for the guard around it.
    assert sum(map(len, parts[1])) == pytest.approx(14 * RATE, rel=0.15) and len(parts[1]) >= 6
    assert sum(map(len, parts[0])) <= 4 * RATE
    for kind, (some, every) in enumerate(zip(parts, whole, strict=True)):
        joined = np.concatenate(every)
        for x in some:
            at = np.flatnonzero(joined == x[0])
            assert any(np.array_equal(joined[i : i + len(x)], x) for i in at), kind


def test_the_command_line_trains_it(tmp_path, capsys):
    files.write(tmp_path / "a.wav", MIXTURE, RATE, "FLOAT")
    files.write(tmp_path / "n.wav", hiss(3.0, 1), RATE, "FLOAT")
    paths = [str(tmp_path / name) for name in ("a.wav", "n.wav", "m.safetensors", "out.wav")]
    assert cli.main(["train", paths[0], "--noise", paths[1], "--model", "filter", "--out", paths[2]]) == 0
    assert "m.safetensors: 0 steps" in capsys.readouterr().out
    assert cli.main(["denoise", paths[2], paths[0], "--out", paths[3]]) == 0
    done, _ = files.read(tmp_path / "out.wav")
    assert snr(song(4.0), done[:, 0]) > snr(song(4.0), MIXTURE) + 8
