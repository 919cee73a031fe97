"""Diagnostics, checked against ratios computed by hand for a model of fixed gains, and for trained models."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.evaluation.diagnostics import diagnose
from partae_fast.masking.mask import Mask
from partae_fast.training.spectrograms import Spectrograms
from tests.calls import fit, prepare

from .conftest import RATE, hiss, song


@dataclass
class FixedGains:
    """A model whose signal and noise estimates are the magnitudes of each bin times a fixed gain."""

    signal: list[float]
    noise: list[float]
    foreground = torch.tensor([1.0, 0.0])
    mask = Mask(exponent=2.0)
    w_enc = torch.zeros(1)

    def separate(self, x):
        return x * torch.tensor(self.signal), x * torch.tensor(self.noise)


def constant_spectrograms(signal, noise):
    """Return recordings of several lengths, one longer than a chunk, in which every frame is the same."""
    return Spectrograms(
        Spectrogram(),
        [np.tile(np.float32(signal), (length, 1)) for length in (50, 150)],
        [np.tile(np.float32(noise), (length, 1)) for length in (5000, 1)],
    )


def test_ratios_are_computed_from_energies():
    """The two bins have mask gains 0.1 and 0.9. A frame with signal has energy 4 + 1, a noise-only frame 1 + 0."""
    diagnostics = diagnose(FixedGains([0.25, 0.6], [0.75, 0.2]), constant_spectrograms([2.0, 1.0], [1.0, 0.0]))
    assert diagnostics.reduction == pytest.approx(20.0)
    assert diagnostics.kept == pytest.approx(10 * math.log10((4 * 0.1**2 + 0.9**2) / 5))
    residual = 200 * 0.2**2  # 0 in the first bin, 0.2 in the second, in the 200 frames where it is not 0
    assert diagnostics.reconstruction == pytest.approx(10 * math.log10((200 * 5 + 5001) / residual))
    assert diagnostics.warnings == ()
    assert diagnostics.lines() == [
        "noise-only audio is attenuated by 20.0 dB",
        "audio that may contain signal keeps -7.7 dB of its energy",
        "reconstruction SNR 28.8 dB",
    ]


@pytest.mark.parametrize(
    ("model", "warning"),
    [
        (FixedGains([0.03, 0.0], [0.9, 0.9]), "the foreground is silent"),
        (FixedGains([0.0, 0.0], [0.0, 0.0]), "the foreground is silent"),
        (FixedGains([0.9, 0.9], [0.09, 0.0]), "the background is empty"),
        (FixedGains([0.7, 0.7], [0.7, 0.7]), "signal and noise are not separated"),
        (FixedGains([0.5, 0.4], [0.4, 0.5]), "signal and noise are not separated"),
    ],
)
def test_failed_partition_gives_warning(model, warning):
    diagnostics = diagnose(model, constant_spectrograms([1.0, 1.0], [1.0, 0.1]))
    assert any(warning in line for line in diagnostics.warnings)
    assert sum(line.startswith("warning: ") for line in diagnostics.lines()) == len(diagnostics.warnings)
    ratios = diagnostics.reduction, diagnostics.kept, diagnostics.reconstruction
    assert all(math.isfinite(ratio) for ratio in ratios)


@pytest.mark.parametrize("model", [FixedGains([0.04, 0.04], [0.9, 0.9]), FixedGains([0.9, 0.9], [0.11, 0.11])])
def test_partition_just_above_thresholds_gives_no_warning(model):
    warnings = diagnose(model, constant_spectrograms([1.0, 0.5], [0.1, 1.0])).warnings
    assert not [line for line in warnings if "silent" in line or "empty" in line]


def test_model_without_partition_has_no_reconstruction_ratio():
    model = FixedGains([0.9, 0.9], [0.0, 0.0])
    model.foreground = torch.ones(2)
    diagnostics = diagnose(model, constant_spectrograms([1.0, 1.0], [1.0, 1.0]))
    assert diagnostics.reconstruction is None
    assert not [line for line in diagnostics.lines() if "reconstruction" in line]
    assert not [line for line in diagnostics.warnings if "background" in line]


def test_training_reduces_noise_and_keeps_signal():
    arguments = {"recordings": [(song() + hiss(3.0, 1), RATE)], "noise": [(hiss(2.0, 2), RATE)]}
    spectrograms = prepare(**arguments, system="stowell2015")
    before, after = (
        diagnose(fit(**arguments, system="stowell2015", steps=steps, progress=False), spectrograms)
        for steps in (0, 300)
    )
    assert after.reduction > 10 and after.kept > -6 and after.reconstruction > 3 and after.warnings == ()
    assert before.reconstruction < 1 and before.warnings
