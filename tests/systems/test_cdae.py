"""Tests of the training of source separation with one network per source."""

from typing import Any

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.sampling.segments import SegmentSampler
from partae_fast.systems.cdae import Settings, fit_excerpts, read_songs, relative_error
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
    np.testing.assert_allclose(np.sqrt(np.mean(magnitudes**2, axis=0)), model.scale.numpy(), rtol=1e-4)
    level = read_songs(songs([tree]), Settings(network, equalise=False, **SMALL)).scale
    np.testing.assert_allclose(level, np.sqrt(np.mean(magnitudes**2)), rtol=1e-4)
    again = fit(system=network, stems=tree, settings=SMALL, checkpoint=tmp_path / "c", resume=True, backend="eager")
    assert again.history.loss == model.history.loss  # all epochs were complete


def test_training_reduces_the_relative_error(tree):
    settings = Settings(**{"network": "fnn", **SMALL, "batch": 16, "epochs": 12})
    material = read_songs(songs([tree]), settings)
    held_out = SegmentSampler(material.held_out, material.spectrogram, 1, 16, 0)
    untrained = relative_error(settings.model(material.sources, 0), held_out)
    assert (
        relative_error(fit_excerpts(material, settings, TrainingOptions(backend="eager")), held_out)
        < 0.4
        < 0.7
        < untrained
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"held_out": 1.0}, "held_out is 1; it must be a share"),
        ({"epochs": -1}, "epochs is -1"),
        ({"network": "rnn"}, "network is 'rnn'; choose cdae or fnn"),
        ({"n_fft": 64, "hop": 16}, "bins is 33; it must be a multiple of 25"),
    ],
)
def test_settings_out_of_range_are_refused(changed, message, tree):
    with pytest.raises(pf.UserError, match=message):
        fit(system="cdae", stems=tree, settings=SMALL | changed)
