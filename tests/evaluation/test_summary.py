"""Means, differences and intervals, checked against scores with known values."""

import numpy as np
import pytest

from partae_fast.evaluation.summary import bootstrap, markdown, summarise

from .conftest import score_rows


@pytest.mark.parametrize("seeds", [1, 3])
def test_summary_contains_means_over_scenes_and_paired_differences(seeds):
    partae, gate = np.array([[1.0, 5.0], [3.0, 6.0], [8.0, 7.0]]), np.array([[2.0, 4.0], [3.5, 2.0], [1.0, 0.0]])
    summary = summarise(score_rows(partae, gate, seeds))
    means, differences = summary["means"], summary["differences"]
    assert means["si_sdr"]["partae"]["-5"][0] == pytest.approx(4.0)
    assert means["si_sdr"]["partae"]["all"][0] == pytest.approx(5.0)
    assert means["si_sdr_full"]["partae"]["all"][0] == pytest.approx(4.0)
    np.testing.assert_allclose(differences["gate"]["each"], partae - gate)
    assert differences["gate"]["all"][0] == pytest.approx((partae - gate).mean())
    assert [(scene, level) for scene, level, _ in differences["gate"]["below"]] == [("s0", -5.0), ("s1", -5.0)]
    assert differences["input"]["below"] == [] and "partae" not in differences
    assert summary["seconds"] == {"mean": 2.0, "most": 2.0}


def test_95_percent_intervals_contain_the_mean_in_95_percent_of_draws():
    random, hits = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = bootstrap(random.normal(3.0, 1.0, 24))
        hits += low < 3.0 < high
    assert 0.89 <= hits / 300 <= 0.98


def test_paired_differences_do_not_depend_on_the_difficulty_of_scenes():
    hard = np.linspace(-10, 10, 12)[:, None].repeat(2, 1)
    summary = summarise(score_rows(hard + 1.0, hard))
    assert summary["differences"]["gate"]["all"] == pytest.approx([1.0, 1.0, 1.0])
    mean, low, high = summary["means"]["si_sdr"]["partae"]["all"]
    assert high - low > 4 and low < mean < high


def test_one_scene_has_no_interval():
    summary = summarise(score_rows([[1.0, 2.0]], [[0.0, 0.0]]))
    assert summary["means"]["si_sdr"]["partae"]["all"] == [1.5, None, None]
    assert "| partae | 1.0 | 2.0 | 1.5 |" in markdown(summary)


def test_markdown_lists_the_cases_where_partae_is_worse():
    text = markdown(summarise(score_rows([[1.0, 5.0], [-6.0, 6.0]], [[2.0, 4.0], [-7.0, 9.0]])))
    assert "- below input: s1 at -5 dB by 1.0" in text
    assert "- below gate: s1 at 0 dB by 3.0; s0 at -5 dB by 1.0" in text
    assert "| gate | +0.0 [-1.0, +1.0] | -1.0 [-3.0, +1.0] | -0.5 [-1.0, +0.0] | 2 of 4 |" in text
    assert "- partae took 2.0 s per scene and level, 2.0 s at most" in text
