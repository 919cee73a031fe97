"""The report of a model, by hand for a model that is nothing but factors, and for one that was trained."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.evaluation.report import report
from partae_fast.masking.mask import Mask
from partae_fast.training.spectrograms import Spectrograms
from tests.calls import fit, prepare

from .conftest import RATE, hiss, song


@dataclass
class Factors:
    """Signal and noise are the magnitudes of each bin times a factor."""

    signal: list[float]
    noise: list[float]
    foreground = torch.tensor([1.0, 0.0])
    mask = Mask(exponent=2.0)
    w_enc = torch.zeros(1)

    def separate(self, x):
        return x * torch.tensor(self.signal), x * torch.tensor(self.noise)


def material(signal, noise):
    """Recordings whose every frame is as given, of several lengths; one is longer than the model sees at a time."""
    return Spectrograms(
        Spectrogram(),
        [np.tile(np.float32(signal), (length, 1)) for length in (50, 150)],
        [np.tile(np.float32(noise), (length, 1)) for length in (5000, 1)],
    )


def test_figures_are_ratios_of_energy():
    """Two bins: gains 0.1 and 0.9. Signal-bearing energies 4 + 1 a frame, noise-only 1 + 0."""
    found = report(Factors([0.25, 0.6], [0.75, 0.2]), material([2.0, 1.0], [1.0, 0.0]))
    assert found.reduction == pytest.approx(20.0)
    assert found.kept == pytest.approx(10 * math.log10((4 * 0.1**2 + 0.9**2) / 5))
    missed = 200 * 0.2**2  # nothing in the first bin, 0.2 of the second, in the 200 frames that have it
    assert found.reconstruction == pytest.approx(10 * math.log10((200 * 5 + 5001) / missed))
    assert found.warnings == ()
    assert found.lines() == [
        "noise-only audio is attenuated by 20.0 dB",
        "-7.7 dB of what may have signal is kept",
        "reconstruction SNR 28.8 dB",
    ]


@pytest.mark.parametrize(
    ("model", "warning"),
    [
        (Factors([0.03, 0.0], [0.9, 0.9]), "the foreground is silent"),
        (Factors([0.0, 0.0], [0.0, 0.0]), "the foreground is silent"),
        (Factors([0.9, 0.9], [0.09, 0.0]), "the background is empty"),
        (Factors([0.7, 0.7], [0.7, 0.7]), "nothing was told apart"),
        (Factors([0.5, 0.4], [0.4, 0.5]), "nothing was told apart"),
    ],
)
def test_a_partition_that_failed_is_said(model, warning):
    found = report(model, material([1.0, 1.0], [1.0, 0.1]))
    assert any(warning in line for line in found.warnings)
    assert sum(line.startswith("warning: ") for line in found.lines()) == len(found.warnings)
    assert all(math.isfinite(figure) for figure in (found.reduction, found.kept, found.reconstruction))


@pytest.mark.parametrize("model", [Factors([0.04, 0.04], [0.9, 0.9]), Factors([0.9, 0.9], [0.11, 0.11])])
def test_a_partition_just_within_the_thresholds_is_not_warned_of(model):
    told = report(model, material([1.0, 0.5], [0.1, 1.0])).warnings
    assert not [line for line in told if "silent" in line or "empty" in line]


def test_a_model_without_a_partition_has_no_reconstruction_to_judge():
    model = Factors([0.9, 0.9], [0.0, 0.0])
    model.foreground = torch.ones(2)
    found = report(model, material([1.0, 1.0], [1.0, 1.0]))
    assert found.reconstruction is None and not [line for line in found.lines() if "reconstruction" in line]
    assert not [line for line in found.warnings if "background" in line]


def test_a_trained_model_takes_noise_away_and_keeps_the_song():
    recordings = {"recordings": [(song() + hiss(3.0, 1), RATE)], "noise": [(hiss(2.0, 2), RATE)]}
    made = prepare(**recordings, system="stowell2015")
    before, after = (
        report(fit(**recordings, system="stowell2015", steps=steps, progress=False), made) for steps in (0, 300)
    )
    assert after.reduction > 10 and after.kept > -6 and after.reconstruction > 3 and after.warnings == ()
    assert before.reconstruction < 1 and before.warnings
