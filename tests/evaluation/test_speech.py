"""STOI and PESQ of speech."""

import importlib.util

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.evaluation import evaluate as evaluation
from partae_fast.evaluation.evaluate import evaluate
from partae_fast.evaluation.scenes import Scene
from partae_fast.evaluation.speech import SpeechScores
from partae_fast.evaluation.summary import markdown, summarise

from .conftest import hiss


@pytest.fixture
def spoken(shared_data):
    """Return two seconds of a sentence, and its rate."""
    for package in ("pystoi", "pesq"):
        pytest.importorskip(package)
    samples, rate = files.read(shared_data("speech/p287_001_clean.flac"))
    return samples[: 2 * rate, 0], rate


def noise(samples, share):
    random = np.random.default_rng(0)
    return (samples + share * samples.std() * random.normal(size=len(samples))).astype(np.float32)


def test_scores_fall_with_noise_and_are_highest_for_the_clean_signal(spoken):
    samples, rate = spoken
    scorer = SpeechScores(samples, rate)
    clean, some, more = (scorer.of(noise(samples, share)) for share in (0.0, 0.1, 1.0))
    assert clean["stoi"] == pytest.approx(1, abs=1e-4) and clean["pesq"] == pytest.approx(4.644, abs=1e-3)
    for name in ("stoi", "pesq"):
        assert clean[name] > some[name] > more[name] > {"stoi": 0, "pesq": 1}[name]
    assert scorer.of(0.01 * samples)["pesq"] == pytest.approx(4.644, abs=0.05)  # the level does not matter
    assert scorer.of(np.zeros_like(samples)) == {"stoi": 0.0, "pesq": 1.0}


def test_pesq_is_wideband_from_16_khz_on_and_narrowband_below(spoken):
    from partae_fast.audio.resample import resample

    samples, rate = spoken
    noisy = noise(samples, 0.3)
    wide = SpeechScores(samples, rate).of(noisy)["pesq"]
    at_44 = SpeechScores(resample(samples, rate, 44100), 44100).of(resample(noisy, rate, 44100))["pesq"]
    assert at_44 == pytest.approx(wide, abs=0.1)
    at_11 = SpeechScores(resample(samples, rate, 11025), 11025)
    assert (at_11._pesq_rate, at_11._band) == (8000, "nb")
    assert at_11.of(resample(noisy, rate, 11025))["pesq"] > wide + 0.2
    with pytest.raises(UserError, match="the rate is 4000 Hz; PESQ needs 8000 Hz or more: leave --speech out"):
        SpeechScores(resample(samples, rate, 4000), 4000)


def test_recordings_that_pesq_cannot_score_are_refused(spoken):
    samples, rate = spoken
    with pytest.raises(UserError, match=r"PESQ finds no speech in the clean recording, or less than 0\.25 s"):
        SpeechScores(samples[: rate // 5], rate)


@pytest.mark.parametrize(("package", "score"), [("pystoi", "STOI"), ("pesq", "PESQ")])
def test_missing_packages_are_named(package, score, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(UserError, match=rf"{score} needs {package}; `pip install partae-fast\[evaluate\]`"):
        SpeechScores(np.ones(16000, np.float32), 16000)


def test_scores_are_in_rows_and_tables(spoken, monkeypatch):
    monkeypatch.setattr(evaluation, "has_bss", lambda: False)
    samples, rate = spoken
    scene = Scene("sentence", samples, hiss(2.0, 1)[: len(samples)], hiss(1.0, 2), rate, (100.0, 4000.0))
    half = [lambda scene: lambda mixture, noise_only, rate: scene.song + 0.25 * (mixture - scene.song)]
    rows = evaluate([scene], half, [0.0], others=[], speech=True)
    by_method = {row["method"]: row for row in rows}
    assert by_method["partae"]["stoi"] > by_method["input"]["stoi"]
    assert by_method["partae"]["pesq"] > by_method["input"]["pesq"]
    text = markdown(summarise(rows))
    assert "All scores in dB (STOI from 0 to 1, PESQ from 1 to 4.6), means" in text
    assert f"| {by_method['input']['stoi']:.3f} | {by_method['input']['pesq']:.2f} |" in text
    assert "stoi" not in evaluate([scene], half, [0.0], others=[])[0]


def test_speech_has_no_meaning_with_the_protocol(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path), "--protocol", "--speech"]) == 2
    assert "--speech was given with --protocol, where it has no meaning" in capsys.readouterr().err
