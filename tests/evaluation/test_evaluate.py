"""Evaluation of denoisers with known scores."""

import importlib.util

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.evaluation import evaluate as evaluation
from partae_fast.evaluation.evaluate import evaluate
from partae_fast.evaluation.scenes import Scene
from partae_fast.metrics import band, si_sdr, snr

from .conftest import RATE, hiss, song

SCENES = [
    Scene(f"scene {seed}", song(1.0), hiss(1.0, seed), hiss(1.0, seed + 9), RATE, (2000.0, 5000.0)) for seed in (1, 2)
]
HAS_BSS = evaluation.has_bss


def attenuating(share):
    """Return a denoiser that knows the song and keeps `share` of the noise."""
    return lambda scene: lambda mixture, noise_only, rate: scene.song + share * (mixture - scene.song)


@pytest.fixture(autouse=True)
def no_bss(monkeypatch):
    """Skip SDR, SIR and SAR, which are slow; they have their own tests."""
    monkeypatch.setattr(evaluation, "has_bss", lambda: False)


def test_there_is_a_row_for_each_scene_level_method_and_seed():
    rows = evaluate(SCENES, [attenuating(0.5), attenuating(0.25)], levels=(-5.0, 5.0), others=["gate", "ratio-mask"])
    assert [(r["method"], r["seed"]) for r in rows[:5]] == [
        ("input", None), ("gate", None), ("ratio-mask", None), ("partae", 0), ("partae", 1),
    ]  # fmt: skip
    assert [(r["scene"], r["level"]) for r in rows[::5]] == [(s.name, level) for s in SCENES for level in (-5, 5)]
    for row in rows:
        scene = next(s for s in SCENES if s.name == row["scene"])
        if row["method"] == "input":
            mixture, _ = scene.mixture(row["level"])
            parts = [band(x, RATE, *scene.band) for x in (scene.song, mixture)]
            assert row["snr"] == pytest.approx(snr(*parts)) == pytest.approx(row["level"], abs=1e-3)
            assert row["si_sdr"] == pytest.approx(si_sdr(*parts))
            assert row["si_sdr_full"] == pytest.approx(si_sdr(scene.song, mixture))
        if row["method"] == "partae":
            gain = 20 * np.log10((2, 4)[row["seed"]])
            assert row["snr"] == pytest.approx(row["level"] + gain, abs=1e-3)
        assert row["seconds"] >= 0 and "sdr" not in row


def test_denoisers_get_the_mixture_and_mismatched_noise_only_audio():
    calls = []

    def recording_denoiser(scene):
        return lambda *arguments: calls.append(arguments) or arguments[0]

    evaluate(SCENES[:1], [recording_denoiser], levels=[0.0], mismatch=-12.0, others=[])
    (mixture, noise_only, rate), expected = calls[0], SCENES[0].mixture(0.0, -12.0)
    assert rate == RATE and np.array_equal(mixture, expected[0]) and np.array_equal(noise_only, expected[1])


def test_score_of_silence_is_finite():
    (row,) = [r for r in evaluate(SCENES[:1], [lambda scene: lambda x, *_: 0 * x], [0.0], others=[]) if r["seed"] == 0]
    assert row["si_sdr"] == -100 and row["snr"] == 0


def test_bss_ratios_are_computed_if_fast_bss_eval_is_installed(monkeypatch):
    pytest.importorskip("fast_bss_eval")
    monkeypatch.setattr(evaluation, "has_bss", lambda: True)
    rows = evaluate(SCENES[:1], [attenuating(0.1)], levels=[0.0], others=[])
    assert rows[0]["sar"] > 50 > rows[0]["sir"] and rows[0]["sdr"] == pytest.approx(0, abs=1)
    assert rows[1]["sdr"] == pytest.approx(20, abs=1) and rows[1]["sdr_full"] > rows[0]["sdr_full"] + 19


def test_bss_ratios_are_skipped_with_one_warning_without_fast_bss_eval(monkeypatch, caplog):
    HAS_BSS.cache_clear()
    monkeypatch.setattr(evaluation, "has_bss", HAS_BSS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = evaluate(SCENES[:1], [attenuating(0.1)], levels=[0.0, 5.0], others=[])
    HAS_BSS.cache_clear()
    assert len(rows) == 4 and all("sdr" not in row and "si_sdr" in row for row in rows)
    assert caplog.text.count("skipped: SDR, SIR and SAR need fast_bss_eval") == 1


def test_noisereduce_is_scored_in_its_better_mode_for_each_scene_and_level(monkeypatch):
    def mode(stationary):
        return lambda mixture, *_: mixture if stationary == (len(mixture) == RATE) else hiss(len(mixture) / RATE, 0)

    monkeypatch.setattr(evaluation.peers, "noisereduce", mode)
    longer = Scene("longer", song(1.5), hiss(1.5, 1), hiss(1.0, 2), RATE, (2000.0, 5000.0))
    rows = evaluate([SCENES[0], longer], [attenuating(1.0)], levels=[0.0], others=["noisereduce"])
    by = {(row["scene"], row["method"]): row for row in rows}
    for scene, better in (("scene 1", "noisereduce-stationary"), ("longer", "noisereduce-nonstationary")):
        assert by[scene, "noisereduce"] == {**by[scene, better], "method": "noisereduce"}
        assert by[scene, "noisereduce"]["si_sdr"] > -3


def test_missing_noisereduce_is_skipped_by_default_and_an_error_by_name(monkeypatch, caplog):
    def absent(stationary):
        raise UserError("noisereduce is not installed")

    monkeypatch.setattr(evaluation.peers, "noisereduce", absent)
    rows = evaluate(SCENES[:1], [attenuating(1.0)], levels=[0.0])
    assert {row["method"] for row in rows} == {"input", "wiener", "gate", "ratio-mask", "partae"}
    assert "skipped: noisereduce is not installed" in caplog.text
    with pytest.raises(UserError, match="not installed"):
        evaluate(SCENES[:1], [attenuating(1.0)], others=["noisereduce"])


def test_invalid_arguments_and_failing_denoisers_are_reported():
    def fails(scene):
        def denoiser(*_):
            raise UserError("too short")

        return denoiser

    with pytest.raises(UserError, match="peer 'nosuch' is unknown; choose from noisereduce, wiener"):
        evaluate(SCENES, [attenuating(1.0)], others=["nosuch"])
    for wrong in ({"levels": [np.nan]}, {"levels": [0.0, 200.0]}, {"mismatch": -np.inf}):
        with pytest.raises(UserError, match=r"it must lie within -100 \.\. 100"):
            evaluate(SCENES, [attenuating(1.0)], **wrong)
    with pytest.raises(UserError, match="two scenes are called scene 1"):
        evaluate([SCENES[0], SCENES[0]], [attenuating(1.0)])
    with pytest.raises(UserError, match="scene 1 at -10 dB: partae: too short"):
        evaluate(SCENES, [fails], others=[])
