"""Rows, means, intervals and the files of an evaluation, by denoisers whose scores are known."""

import csv
import importlib.util
import json

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.evaluation import evaluate as evaluation
from partae_fast.evaluation import results
from partae_fast.evaluation.evaluate import evaluate
from partae_fast.evaluation.scenes import Scene
from partae_fast.evaluation.summary import bootstrap, markdown, summarise
from partae_fast.metrics import band, si_sdr, snr

from .conftest import RATE, hiss, song

SCENES = [
    Scene(f"scene {seed}", song(1.0), hiss(1.0, seed), hiss(1.0, seed + 9), RATE, (2000.0, 5000.0)) for seed in (1, 2)
]
HAS_BSS = evaluation.has_bss


def nearer(share):
    """A denoiser that knows the song: of the noise it leaves `share`."""
    return lambda scene: lambda mixture, noise_only, rate: scene.song + share * (mixture - scene.song)


@pytest.fixture(autouse=True)
def no_bss(monkeypatch):
    """What fast_bss_eval is needed for has a test of its own."""
    monkeypatch.setattr(evaluation, "has_bss", lambda: False)


def test_rows_have_every_scene_level_method_and_seed_with_its_scores():
    rows = evaluate(SCENES, [nearer(0.5), nearer(0.25)], levels=(-5.0, 5.0), others=["gate", "ratio-mask"])
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


def test_denoisers_get_the_mixture_and_noise_only_audio_with_its_mismatch():
    seen = []

    def ours(scene):
        return lambda *given: seen.append(given) or given[0]

    evaluate(SCENES[:1], [ours], levels=[0.0], mismatch=-12.0, others=[])
    (mixture, noise_only, rate), expected = seen[0], SCENES[0].mixture(0.0, -12.0)
    assert rate == RATE and np.array_equal(mixture, expected[0]) and np.array_equal(noise_only, expected[1])


def test_silence_scores_the_least_and_not_infinity():
    (row,) = [r for r in evaluate(SCENES[:1], [lambda scene: lambda x, *_: 0 * x], [0.0], others=[]) if r["seed"] == 0]
    assert row["si_sdr"] == -100 and row["snr"] == 0


def test_bss_is_scored_where_it_can_be(monkeypatch):
    pytest.importorskip("fast_bss_eval")
    monkeypatch.setattr(evaluation, "has_bss", lambda: True)
    rows = evaluate(SCENES[:1], [nearer(0.1)], levels=[0.0], others=[])
    assert rows[0]["sar"] > 50 > rows[0]["sir"] and rows[0]["sdr"] == pytest.approx(0, abs=1)
    assert rows[1]["sdr"] == pytest.approx(20, abs=1) and rows[1]["sdr_full"] > rows[0]["sdr_full"] + 19


def test_bss_is_left_out_and_said_where_it_is_missing(monkeypatch, caplog):
    HAS_BSS.cache_clear()
    monkeypatch.setattr(evaluation, "has_bss", HAS_BSS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = evaluate(SCENES[:1], [nearer(0.1)], levels=[0.0, 5.0], others=[])
    HAS_BSS.cache_clear()
    assert len(rows) == 4 and all("sdr" not in row and "si_sdr" in row for row in rows)
    assert caplog.text.count("left out: SDR, SIR and SAR need fast_bss_eval") == 1


def test_noisereduce_is_the_better_of_its_modes_for_each_scene_and_level(monkeypatch):
    """The modes' scores are made to change places from scene to scene."""

    def mode(stationary):
        return lambda mixture, *_: mixture if stationary == (len(mixture) == RATE) else hiss(len(mixture) / RATE, 0)

    monkeypatch.setattr(evaluation.peers, "noisereduce", mode)
    longer = Scene("longer", song(1.5), hiss(1.5, 1), hiss(1.0, 2), RATE, (2000.0, 5000.0))
    rows = evaluate([SCENES[0], longer], [nearer(1.0)], levels=[0.0], others=["noisereduce"])
    by = {(row["scene"], row["method"]): row for row in rows}
    for scene, better in (("scene 1", "noisereduce-stationary"), ("longer", "noisereduce-nonstationary")):
        assert by[scene, "noisereduce"] == {**by[scene, better], "method": "noisereduce"}
        assert by[scene, "noisereduce"]["si_sdr"] > -3


def test_noisereduce_is_left_out_and_said_where_it_is_missing_and_wanted_where_it_is_named(monkeypatch, caplog):
    def absent(stationary):
        raise UserError("noisereduce is not installed")

    monkeypatch.setattr(evaluation.peers, "noisereduce", absent)
    rows = evaluate(SCENES[:1], [nearer(1.0)], levels=[0.0])
    assert {row["method"] for row in rows} == {"input", "wiener", "gate", "ratio-mask", "partae"}
    assert "left out: noisereduce is not installed" in caplog.text
    with pytest.raises(UserError, match="not installed"):
        evaluate(SCENES[:1], [nearer(1.0)], others=["noisereduce"])


def test_bad_wishes_are_refused_before_the_work_and_a_scene_that_fails_is_named():
    def fails(scene):
        def denoiser(*_):
            raise UserError("too short")

        return denoiser

    with pytest.raises(UserError, match="peer 'nosuch' is not known; choose of noisereduce, wiener"):
        evaluate(SCENES, [nearer(1.0)], others=["nosuch"])
    for wrong in ({"levels": [np.nan]}, {"levels": [0.0, 200.0]}, {"mismatch": -np.inf}):
        with pytest.raises(UserError, match=r"it must lie within -100 \.\. 100"):
            evaluate(SCENES, [nearer(1.0)], **wrong)
    with pytest.raises(UserError, match="two scenes are called scene 1"):
        evaluate([SCENES[0], SCENES[0]], [nearer(1.0)])
    with pytest.raises(UserError, match="scene 1 at -10 dB: partae: too short"):
        evaluate(SCENES, [fails], others=[])


def rows_of(ours, peer, seeds=1):
    """Rows with these SI-SDRs (scenes, levels) of ours and of the gate."""
    rows = []
    for i in range(len(ours)):
        for j, level in enumerate((-5.0, 0.0)):
            common = {"scene": f"s{i}", "level": level, "seconds": 2.0}
            for method, value in (("input", level), ("gate", peer[i][j])):
                rows.append({**common, "method": method, "seed": None, "si_sdr": value, "si_sdr_full": value})
            for seed in range(seeds):
                value = ours[i][j] + seed - (seeds - 1) / 2
                rows.append({**common, "method": "partae", "seed": seed, "si_sdr": value, "si_sdr_full": value - 1})
    return rows


@pytest.mark.parametrize("seeds", [1, 3])
def test_summary_has_means_over_scenes_and_paired_differences(seeds):
    ours, peer = np.array([[1.0, 5.0], [3.0, 6.0], [8.0, 7.0]]), np.array([[2.0, 4.0], [3.5, 2.0], [1.0, 0.0]])
    found = summarise(rows_of(ours, peer, seeds))
    means, differences = found["means"], found["differences"]
    assert means["si_sdr"]["partae"]["-5"][0] == pytest.approx(4.0)
    assert means["si_sdr"]["partae"]["all"][0] == pytest.approx(5.0)
    assert means["si_sdr_full"]["partae"]["all"][0] == pytest.approx(4.0)
    np.testing.assert_allclose(differences["gate"]["each"], ours - peer)
    assert differences["gate"]["all"][0] == pytest.approx((ours - peer).mean())
    assert [(scene, level) for scene, level, _ in differences["gate"]["below"]] == [("s0", -5.0), ("s1", -5.0)]
    assert differences["input"]["below"] == [] and "partae" not in differences
    assert found["seconds"] == {"mean": 2.0, "most": 2.0}


def test_intervals_hold_the_mean_as_often_as_they_promise():
    """Scenes drawn anew 300 times: about 95 % of the intervals hold the mean that they are drawn from."""
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = bootstrap(random.normal(3.0, 1.0, 24))
        held += low < 3.0 < high
    assert 0.89 <= held / 300 <= 0.98


def test_pairing_takes_out_what_the_scenes_have_in_common():
    hard = np.linspace(-10, 10, 12)[:, None].repeat(2, 1)
    found = summarise(rows_of(hard + 1.0, hard))
    assert found["differences"]["gate"]["all"] == pytest.approx([1.0, 1.0, 1.0])
    mean, low, high = found["means"]["si_sdr"]["partae"]["all"]
    assert high - low > 4 and low < mean < high


def test_one_scene_has_no_interval():
    found = summarise(rows_of([[1.0, 2.0]], [[0.0, 0.0]]))
    assert found["means"]["si_sdr"]["partae"]["all"] == [1.5, None, None]
    assert "| partae | 1.0 | 2.0 | 1.5 |" in markdown(found)


def test_markdown_says_where_ours_is_below():
    told = markdown(summarise(rows_of([[1.0, 5.0], [-6.0, 6.0]], [[2.0, 4.0], [-7.0, 9.0]])))
    assert "- below input: s1 at -5 dB by 1.0" in told
    assert "- below gate: s1 at 0 dB by 3.0; s0 at -5 dB by 1.0" in told
    assert "| gate | +0.0 [-1.0, +1.0] | -1.0 [-3.0, +1.0] | -0.5 [-1.0, +0.0] | 2 of 4 |" in told
    assert "- partae took 2.0 s a scene and level, 2.0 s at most" in told


def test_results_are_written_whole_and_not_over_others(tmp_path):
    rows = rows_of([[1.0, 5.0], [3.0, 6.0]], [[2.0, 4.0], [3.5, 2.0]])
    report = {"environment": results.environment(), "settings": {"steps": 3}, "summary": summarise(rows), "rows": rows}
    folder = tmp_path / "new"
    results.check_place(folder, False)
    results.write(folder, report)
    assert {path.name for path in folder.iterdir()} == {f"evaluation.{kind}" for kind in ("csv", "json", "md", "png")}
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == rows
    read = list(csv.DictReader((folder / "evaluation.csv").read_text().splitlines()))
    assert [(r["scene"], float(r["si_sdr"])) for r in read] == [(r["scene"], r["si_sdr"]) for r in rows]
    told = (folder / "evaluation.md").read_text()
    assert "steps 3" in told and "| s1 | -5 | -5.0 | 3.5 | 3.0 |" in told
    assert (folder / "evaluation.png").stat().st_size > 10_000
    assert {"date", "threads", "versions"} <= set(report["environment"])
    results.check_place(folder, True)
    with pytest.raises(UserError, match="exists already"):
        results.check_place(folder, False)
    with pytest.raises(UserError, match="the folder cannot be created"):
        results.check_place(folder / "evaluation.md" / "below", False)
