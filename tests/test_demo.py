"""Tests of the synthetic scene, and of the files and scores of the demo."""

import json

import numpy as np
import pytest

from partae_fast import UserError, demo, load
from partae_fast.audio import files
from partae_fast.metrics import band, si_sdr


def test_scene_depends_on_the_seed_alone():
    first, again, other = (demo.scene(4.0, 2.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.noisy, again.noisy) and np.array_equal(first.noise, again.noise)
    assert not np.array_equal(first.noisy, other.noisy)


def test_scene_has_the_stated_level_and_noise_of_another_time():
    scene = demo.scene(12.0, 6.0, seed=3)
    assert scene.clean.shape == scene.noisy.shape == (12 * demo.RATE,) and scene.noise.shape == (6 * demo.RATE,)
    signal, noise = (band(audio, demo.RATE, 1700, 7200) for audio in (scene.clean, scene.noisy - scene.clean))
    assert 10 * np.log10((signal**2).sum() / (noise**2).sum()) == pytest.approx(demo.INPUT_DB, abs=0.01)
    assert max(np.abs(scene.noisy).max(), np.abs(scene.noise).max()) < 1  # nothing clips in a 16-bit file
    masking = scene.noisy - scene.clean
    # The noise-only recording does not contain the noise that masks the songs, at any time shift.
    spectra = [np.fft.rfft(audio, 2 * len(masking)) for audio in (masking, scene.noise)]
    correlation = np.abs(np.fft.irfft(spectra[0] * spectra[1].conj())).max()
    assert correlation < 0.3 * np.linalg.norm(masking) * np.linalg.norm(scene.noise)


def test_demo_writes_every_file_and_scores_the_written_one(tmp_path):
    result = demo.demo(tmp_path / "out", steps=5, seconds=8.0, progress=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(demo.OUTPUTS)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics == {name: value for name, value in result.items() if name != "files"}
    noisy, denoised, noise = (files.read(tmp_path / "out" / n)[0] for n in ("noisy.wav", "denoised.wav", "noise.wav"))
    assert np.abs(denoised + noise - noisy).max() <= 2 / 2**15  # two roundings to 16 bits
    clean = band(demo.scene(8.0, 8.0).clean, demo.RATE, 1700, 7200)
    score = si_sdr(clean, band(denoised[:, 0], demo.RATE, 1700, 7200))
    assert metrics["si_sdr_db"]["denoised"] == pytest.approx(score, abs=0.006)
    assert load(tmp_path / "out" / "model.safetensors").spectrogram.bins == 128
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_demo_does_not_overwrite_by_default(tmp_path):
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(UserError, match=r"metrics\.json"):
        demo.demo(tmp_path, steps=1, seconds=8.0)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "mine"


@pytest.mark.slow
def test_demo_improves_si_sdr_by_6_db(tmp_path):
    """With a tenth of the steps on half the recording; `.ci/run` checks a demo without arguments."""
    score = demo.demo(tmp_path, steps=200, seconds=30.0, progress=False)["si_sdr_db"]
    assert score["denoised"] >= score["noisy"] + 6
    assert score["denoised"] >= score["untrained"] + 3
