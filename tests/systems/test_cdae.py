"""Tests of the training of source separation with one network per source."""

from typing import Any

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.sampling.segments import SegmentSampler
from partae_fast.systems import cdae
from partae_fast.systems.cdae import Settings, fit_excerpts, read_songs, relative_errors
from partae_fast.training.options import TrainingOptions
from partae_fast.training.stems import songs
from tests.calls import fit

RATE = 8000
SMALL: dict[str, Any] = {"rate": RATE, "n_fft": 48, "hop": 12, "batch": 8, "epochs": 1}


@pytest.mark.parametrize("network", ["cdae", "fnn"])
def test_model_is_trained_on_songs(network, tree, tmp_path):
    model = fit(system=network, stems=tree, settings=SMALL, checkpoint=tmp_path / "c", backend="eager")
    assert model.sources == ("bass", "drums", "other", "vocals") and len(model.history.loss) > 1
    material = read_songs(songs([tree]), Settings(network, **SMALL))
    magnitudes = np.concatenate([model.spectrogram.magnitude(excerpt[0]) for excerpt in material.training])
    np.testing.assert_allclose(model.scale.numpy(), np.sqrt(np.mean(magnitudes**2)), rtol=1e-4)
    by_bin = read_songs(songs([tree]), Settings(network, equalise=True, **SMALL)).scale
    np.testing.assert_allclose(by_bin, np.sqrt(np.mean(magnitudes**2, axis=0)), rtol=1e-4)
    again = fit(system=network, stems=tree, settings=SMALL, checkpoint=tmp_path / "c", resume=True, backend="eager")
    assert again.history.loss == model.history.loss  # all epochs were complete


def test_training_reduces_the_relative_error(tree):
    settings = Settings(**{"network": "fnn", **SMALL, "batch": 16, "epochs": 12})
    material = read_songs(songs([tree]), settings)
    held_out = SegmentSampler(material.held_out, material.spectrogram, 1, 16, 0)
    untrained = relative_errors(settings.model(material.sources, 0), held_out)
    trained = relative_errors(fit_excerpts(material, settings, TrainingOptions(backend="eager")), held_out)
    assert (
        np.mean(trained) < 0.6 < 0.9 < np.mean(untrained) and np.all(np.less(trained, untrained)) and len(trained) == 4
    )


def test_defaults_are_those_of_the_paper():
    paper = Settings()
    assert (paper.n_fft, paper.hop, paper.rate, paper.batch, paper.epochs) == (2048, 1024, 44100, 100, 100)
    assert ((paper.frames - 1) * paper.hop + paper.n_fft) / paper.rate == pytest.approx(0.37, abs=0.005)
    assert not paper.equalise and not paper.stop


def test_each_source_has_a_schedule_of_its_own(tree, monkeypatch):
    schedules = []
    monkeypatch.setattr(cdae, "train", lambda *_, schedule, **__: schedules.append(schedule))
    settings = Settings("fnn", epoch_steps=7, **SMALL)
    fit_excerpts(read_songs(songs([tree]), settings), settings, TrainingOptions(backend="eager"))
    (schedule,) = schedules
    assert schedule.every == 7 and schedule.stop == 0
    assert schedule.groups == tuple(f"networks.{number}." for number in range(4))
    names = dict(settings.model(("a", "b", "c", "d"), 0).named_parameters())
    assert all(sum(name.startswith(group) for group in schedule.groups) == 1 for name in names)


def test_a_silent_source_follows_the_others(tree):
    settings = Settings("fnn", **SMALL)
    material = read_songs(songs([tree]), settings)
    for excerpt in material.held_out:
        excerpt[2] = 0
    held_out = SegmentSampler(material.held_out, material.spectrogram, 1, 16, 0)
    errors = relative_errors(settings.model(material.sources, 0), held_out)
    assert errors[1] == pytest.approx(np.mean([errors[0], *errors[2:]]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"held_out": 1.0}, "held_out is 1; it must be a share"),
        ({"epochs": -1}, "epochs is -1"),
        ({"epoch_steps": -2}, "epoch_steps -2; they must be 0 or more"),
        ({"network": "rnn"}, "network is 'rnn'; choose cdae or fnn"),
        ({"n_fft": 64, "hop": 16}, "bins is 33; it must be a multiple of 25"),
    ],
)
def test_settings_out_of_range_are_refused(changed, message, tree):
    with pytest.raises(pf.UserError, match=message):
        fit(system="cdae", stems=tree, settings=SMALL | changed)
