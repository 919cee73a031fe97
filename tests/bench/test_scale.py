"""Tests of the measurements at scale: their claims, exit codes and test recordings."""

import json

import pytest

import partae_fast as pf
from partae_fast.bench.scale import __main__, common, folder, soak, work
from partae_fast.models import FilteredDenoisingAutoencoder


def test_a_claim_that_does_not_hold_is_reported(tmp_path, capsys):
    assert common.write(tmp_path, "x", {"rows": [1], "claims": {"all is well": True}}, "X", ["text"]) == 0
    assert common.write(tmp_path, "x", {"rows": [1], "claims": {"a": True, "b": False}}, "X", ["text"]) == 1
    assert "DOES NOT HOLD**: b" in capsys.readouterr().out
    assert "- holds: a" in (tmp_path / "x.md").read_text()
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["claims"] == {"a": True, "b": False} and report["environment"]["processor"]


@pytest.mark.parametrize(("last", "holds"), [(101, True), (103, False)])
def test_growth_is_measured_after_the_warm_up(last, holds):
    sizes = [50, 90, *[100] * 8, *[last] * 2]  # one every ten seconds: the first two are the warm-up
    samples = [{"seconds": 10.0 * i + 4, "resident_bytes": size} for i, size in enumerate(sizes)]
    report = soak._evaluate(samples, 100.0)
    assert report["growth"] == pytest.approx(last / 100 - 1)
    assert list(report["claims"].values()) == [holds, True]
    assert list(soak._evaluate(samples[:8], 100.0)["claims"].values()) == [True, False]


def test_the_given_fraction_of_recordings_is_corrupt_and_cannot_be_read(tmp_path):
    assert not folder.make_recordings(tmp_path / "good", 9, 0) and len(folder._names(tmp_path / "good")) == 9
    tmp_path = tmp_path / "mixed"
    bad = folder.make_recordings(tmp_path, 60, 0.1)
    assert len(bad) == 6 and len(folder._names(tmp_path)) == 60
    assert sum(folder._whole(tmp_path, tmp_path, name) for name in folder._names(tmp_path)) == 54


def test_names_of_measurements(capsys):
    assert __main__.main(["nothere"]) == 2 and "work,memory,folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        __main__.main(["soak", "--help"])
    assert "--minutes" in capsys.readouterr().out


def test_a_line_is_fitted_to_time_against_work():
    def fit(*seconds):
        return work._fit([{"work": 10.0**i, "unit": "min", "seconds": value} for i, value in enumerate(seconds)])

    assert fit(1.0) is None
    line, noisy, through_zero = fit(2 + 0.5, 2 + 5, 2 + 50), fit(3.0, 2.9), fit(1.0, 20.0)
    assert line and noisy and through_zero
    assert line["fixed"] == pytest.approx(2) and line["per_unit"] == pytest.approx(0.5)
    assert line["proportional"] == pytest.approx(40)  # 0.5 * 40 is ten times 2
    assert noisy["per_unit"] == 0 and noisy["proportional"] == float("inf")
    assert through_zero["fixed"] == 0


def test_the_model_is_the_default_with_its_filter(tmp_path):
    model = pf.load(common.model_file(tmp_path / "model.safetensors"))
    assert isinstance(model, FilteredDenoisingAutoencoder) and 0 < model.share < 1
    assert all(level.all() for name, level in model.filter.named_buffers() if name.startswith("level"))
