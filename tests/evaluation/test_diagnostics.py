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
        Spectrogram(rate=8000, n_fft=2 * len(signal), hop=len(signal), low=4000 / len(signal), high=4000.0),
        [np.tile(np.float32(signal), (length, 1)) for length in (50, 150)],
        [np.tile(np.float32(noise), (length, 1)) for length in (5000, 1)],
    )


def test_ratios_are_relative_to_the_noise_of_each_bin():
    """The two bins have mask gains 0.1 and 0.9. Their noise has the powers 4 and 1, and the rest 16 and 9."""
    diagnostics = diagnose(FixedGains([0.25, 0.6], [0.75, 0.2]), constant_spectrograms([4.0, 3.0], [2.0, 1.0]))
    assert diagnostics.reduction == pytest.approx(-10 * math.log10((0.1**2 + 0.9**2) / 2))
    assert diagnostics.kept == pytest.approx(10 * math.log10((4 * 0.1**2 + 9 * 0.9**2) / 13))
    assert diagnostics.total_reduction == pytest.approx(-10 * math.log10((4 * 0.1**2 + 0.9**2) / 5))
    assert diagnostics.total_kept == pytest.approx(10 * math.log10((16 * 0.1**2 + 9 * 0.9**2) / 25))
    residual = 200 * 9 * 0.2**2 + 5001 * 0.2**2  # 0 in the first bin, 0.2 of the magnitude in the second
    assert diagnostics.reconstruction == pytest.approx(10 * math.log10((200 * 25 + 5001 * 5) / residual))
    assert diagnostics.lines()[:3] == [
        "noise-only audio is attenuated by 3.9 dB",
        "audio that may contain signal keeps -2.5 dB of its energy",
        "reconstruction SNR 20.4 dB",
    ]


def rumble_and_hiss(reduction, kept):
    """Return diagnostics where rumble 60 dB above the noise is in the first 15 of 128 bins, with mask gains of 1.

    The other bins have a song of the power of the noise, and mask gains that give `reduction` and `kept` dB.
    """
    noise, signal = np.ones(128), np.full(128, 2.0**0.5)
    noise[:15] = signal[:15] = 1000.0
    gains = np.full(128, 10 ** (-reduction / 20))
    gains[:15] = 1.0

    class Gains(FixedGains):
        """A model that also lets the song pass: its mask is 1 where the magnitude is above that of the noise."""

        def separate(self, x):
            gain = np.where(x.numpy() > 1.2, 10 ** (kept / 20), gains)
            gain[..., :15] = 1.0
            power = gain / np.maximum(1 - gain, 1e-9)  # of a Wiener filter with this gain
            return x * torch.from_numpy(np.sqrt(power)).float(), x

    return diagnose(Gains([], []), constant_spectrograms(signal, noise))


def test_rumble_does_not_hide_the_attenuation_at_other_frequencies():
    """In sums of energies, noise is attenuated by 0.0 dB, and signal and noise are not separated."""
    diagnostics = rumble_and_hiss(reduction=24.6, kept=-1.0)
    assert diagnostics.total_reduction == pytest.approx(0.0, abs=0.01) and not diagnostics.warnings
    assert diagnostics.reduction == pytest.approx(-10 * math.log10((15 + 113 * 10**-2.46) / 128), abs=0.01)
    octaves = [(round(octave.low), round(octave.high)) for octave in diagnostics.octaves]
    assert octaves == [(31, 469), (500, 969), (1000, 1969), (2000, 4000)]
    assert [octave.reduction for octave in diagnostics.octaves] == pytest.approx([0, *[24.6] * 3], abs=0.01)
    assert [octave.kept for octave in diagnostics.octaves] == pytest.approx([0, *[-1.0] * 3], abs=0.01)
    assert diagnostics.lines()[2] == (
        "by octave, both in dB: 31-469 Hz 0.0 and 0.0, 500-969 Hz 24.6 and -1.0, 1-2 kHz 24.6 and -1.0, "
        "2-4 kHz 24.6 and -1.0"
    )


def test_a_model_that_separates_in_no_octave_gives_a_warning():
    assert any("not separated" in line for line in rumble_and_hiss(reduction=3.5, kept=-1.0).warnings)
    assert not rumble_and_hiss(reduction=4.5, kept=-1.0).warnings


def test_a_bin_of_rounding_errors_has_no_weight():
    """A low-pass filter leaves 1e-12 of the power in the second bin, where the mask gain is 1."""
    model, silent = FixedGains([0.1, 1.0], [0.3, 0.0]), 1e-6
    diagnostics = diagnose(model, constant_spectrograms([2.0, 30 * silent], [1.0, silent]))
    assert diagnostics.reduction == pytest.approx(20.0, abs=0.1)


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
