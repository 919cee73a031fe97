"""Tests of `partae evaluate` on synthetic recordings."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from partae_fast.evaluation import evaluate as evaluation

from .conftest import RATE, sound, write

FEW = ("--levels", "-5", "5", "--peers", "gate", "--threads", "1")


@pytest.fixture
def data(here, monkeypatch):
    """Write data/clean with one song and data/noise with two noises.

    The slow measures SDR, SIR and SAR are left out.
    """
    monkeypatch.setattr(evaluation, "has_bss", lambda: False)
    for folder in ("clean", "noise"):
        (here / "data" / folder).mkdir(parents=True)
    write(here / "data" / "clean" / "song.wav", sound(2, 1, songs=True) - sound(2, 1))
    write(here / "data" / "noise" / "hiss.wav", sound(4, 3))
    write(here / "data" / "noise" / "hum.wav", np.cumsum(sound(4, 4), 0, dtype=np.float32) / 50)
    return Path("data")


def test_models_are_trained_scored_and_results_written(partae, data):
    code, out, err = partae("evaluate", data, "--steps", "20", "--seeds", "2", "--out", "results", *FEW)
    assert code == 0, err
    assert "mean over 2 scenes" in out and "- below input:" in out and "- below gate:" in out
    rows = list(csv.DictReader(Path("results", "evaluation.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 4  # scenes, levels; input, gate and two seeds
    assert {(r["method"], r["seed"]) for r in rows} == {("input", ""), ("gate", ""), ("partae", "0"), ("partae", "1")}
    report = json.loads(Path("results", "evaluation.json").read_text())
    assert report["settings"]["steps"] == 20 and report["settings"]["seeds"] == 2
    assert set(report["settings"]["bands"]) == {"song, hiss", "song, hum"}
    assert "song, hum at 5 dB: input 5.0, gate" in err
    code, _, err = partae("evaluate", data, "--out", "results", *FEW)
    assert code == 2 and "exists already" in err


def test_model_is_scored_and_json_printed(partae, data):
    low, high = "2000", "7000"
    code, out, err = partae("evaluate", data, "--model", "m.safetensors", "--low", low, "--high", high, "--json", *FEW)
    assert code == 0, err
    report = json.loads(out)
    assert report["settings"]["model"] == "m.safetensors" and report["settings"]["bands"]["song, hum"] == [2000, 7000]
    assert len(report["rows"]) == 2 * 2 * 3
    scores = [row["si_sdr"] for row in report["rows"] if row["method"] == "partae"]
    assert len(set(scores)) == 4 and report["summary"]["means"]["si_sdr"]["partae"]["all"][0] == pytest.approx(
        np.mean(scores)
    )


@pytest.fixture
def kinds(here):
    """recordings/ with two kinds of songs and two of noise."""
    for number, kind in enumerate(("tit", "speech")):
        place = here / "recordings" / "clean" / kind
        place.mkdir(parents=True)
        write(place / "a.wav", sound(4, number, songs=True) - sound(4, number))
    for number, kind in enumerate(("rain", "wind")):
        place = here / "recordings" / "noise" / kind
        place.mkdir(parents=True)
        write(place / "a.wav", sound(8, 5 + number))
    return Path("recordings")


def test_the_protocol_compares_presets_on_scenes_of_two_halves(partae, kinds):
    arguments = ("--protocol", "--presets", "filter", "--scenes", "2", "--seed", "5", "--peers", "gate", "wiener-512")
    code, out, err = partae("evaluate", kinds, *arguments, "--out", "found", "--threads", "1")
    assert code == 0, err
    assert "2 scenes, 6 mixtures" in out and "| over the best fixed filter, chosen on the other half |" in out
    rows = list(csv.DictReader(Path("found", "protocol.csv").read_text().splitlines()))
    assert {row["half"] for row in rows} == {"0", "1"} and {row["method"] for row in rows} == {
        "input", "gate", "wiener-512", "filter",
    }  # fmt: skip
    assert out in Path("found", "protocol.md").read_text() and Path("found", "protocol.png").exists()
    code, _, err = partae("evaluate", kinds, *arguments, "--out", "found")
    assert code == 2 and "exists already" in err
    code, out, err = partae("evaluate", kinds, *arguments, "--quick", "--json", "--threads", "1")
    assert code == 0 and json.loads(out)["summary"]["cases"] == 2, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "--quick"), "--quick was given without --protocol"),
        (("data", "--protocol", "--levels", "5"), "--levels was given with --protocol"),
        (("data", "--protocol", "--presets", "nosuch"), "preset 'nosuch' is not known"),
        (("data", "--protocol", "--scenes", "3"), "scenes is 3; it must be an even number"),
        (("data", "--protocol"), "clean: 0 kinds of recordings are long enough"),
        (("nowhere",), "nowhere: has no folder clean"),
        (("data", "--peers", "nosuch"), "peer 'nosuch' is unknown"),
        (("data", "--preset", "nosuch"), "preset 'nosuch' is not known"),
        (("data", "--model", "m.safetensors", "--seeds", "2"), "--model and --seeds cannot be combined"),
        (("data", "--model", "nosuch.safetensors"), "nosuch.safetensors: no such file"),
        (("data", "--low", "5000", "--high", "4000"), "song, hiss: the band is 5000 to 4000 Hz"),
        (("data", "--out", "song.wav"), "song.wav: the folder cannot be created"),
        (("data", "--levels", "loud"), "invalid float value: 'loud'"),
    ],
)
def test_bad_arguments_are_refused(partae, data, arguments, message):
    code, out, err = partae("evaluate", *arguments)
    assert code == 2 and not out and message in err and err.count("\n") == 1


def test_scene_too_short_to_train_on_is_refused(partae, data):
    write(data / "clean" / "click.wav", sound(0.05, 5), RATE)
    code, _, err = partae("evaluate", data, "--low", "2000", "--high", "7000", *FEW)
    assert code == 2 and "click, hiss at -5 dB: partae: audio that may have signal lasts" in err.splitlines()[-1]
