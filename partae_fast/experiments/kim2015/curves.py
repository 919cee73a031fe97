"""What is measured: SDR, SIR and SAR of every test, epoch by epoch of adaptation, and of what does not adapt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...audio.spectrogram import Spectrogram
from ...denoising.denoise import denoise
from ...metrics import bss_of_each
from ...models import nmf
from ...models.adaptive_dae import GRADIENTS, THROUGH, AdaptiveDenoisingAutoencoder
from ...training.adapt import Settings, adapt, settled
from .data import Audio, Material, Test

MEASURES = ("sdr", "sir", "sar")
INPUT = "input"
ADAPTED = {gradient: f"adapted, {gradient}" for gradient in GRADIENTS}
SPEECH_COMPONENTS, NOISE_COMPONENTS, ITERATIONS = 40, 20, 100  # of NMF; our choice

Row = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """A panel of figure 3: the ratio of its mixtures in dB, frames of a stack, and hidden layers of a network."""

    letter: str
    snr: float
    context: int
    layers: int = 2

    def __str__(self) -> str:
        frames = "one frame" if self.context == 1 else f"{self.context} frames"
        return f"({self.letter}) {self.snr:+g} dB, {frames}"


SPEECH = (Panel("a", 0.0, 1), Panel("b", 0.0, 5), Panel("c", -5.0, 1), Panel("d", -5.0, 5))
SINGING = Panel("e", 0.0, 3, layers=3)


def measured_epochs(epochs: int) -> list[int]:
    """After which epochs outputs are measured, up to the last.

    >>> measured_epochs(60)
    [0, 1, 2, 5, 10, 20, 30, 40, 50, 60]
    """
    early = [epoch for epoch in (0, 1, 2, 5) if epoch < epochs]
    return [*early, *range(10, epochs, 10), epochs]


def adapted(
    material: Material,
    model: AdaptiveDenoisingAutoencoder,
    panel: Panel,
    epochs: int,
    learning_rate: float,
    told: Callable[[int], object],
) -> Iterator[Row]:
    """The rows of a trained model that adapts to each test, with the gradient through the top network and with it held.

    Each has, besides what it is of, the epoch, the purity error, the measures in dB, and `settled`: whether the rule
    that needs no clean signal ends adaptation here. All epochs are gone through all the same. Of an epoch that is not
    among `measured_epochs` there is a row only where it ends there. `told` is called with 1 after each test.
    """
    for gradient in GRADIENTS:
        settings = Settings(gradient=gradient, learning_rate=learning_rate, until_settled=False)
        for test in material.tests:
            mixture, noise = test.mixed(panel.snr)
            note = _Notes(mixture, material.rate, epochs, float(model.purity), settings)
            adapt(model, mixture, material.rate, epochs, settings, watch=note)
            about = _about(panel, test, ADAPTED[gradient])
            for row, measured in zip(note.rows, _measures(test, noise, note.outputs), strict=True):
                yield {**about, **row, **measured}
            told(1)


class _Notes:
    """Watches a model adapt to a mixture: a row and an output for each epoch that is to be measured."""

    def __init__(self, mixture: Audio, rate: int, epochs: int, clean: float, settings: Settings) -> None:
        self.mixture, self.rate, self.clean, self.settings = mixture, rate, clean, settings
        self.wanted, self.epochs, self.ended = set(measured_epochs(epochs)), epochs, False
        self.purity: list[float] = []
        self.rows: list[Row] = []
        self.outputs: list[Audio] = []

    def __call__(self, epoch: int, error: float, model: AdaptiveDenoisingAutoencoder) -> None:
        self.purity.append(error)
        ends = not self.ended and (epoch == self.epochs or bool(settled(self.purity, self.clean, self.settings)))
        self.ended = self.ended or ends
        if epoch in self.wanted or ends:
            self.rows.append({"epoch": epoch, "settled": ends, "purity": error})
            self.outputs.append(denoise(self.mixture, self.rate, model))


def unadapted(material: Material, panels: Sequence[Panel], seed: int) -> Iterator[Row]:
    """The rows of the mixtures themselves and of NMF, which has no epochs: the same for panels of one ratio.

    Semi-supervised NMF has the clean voices' dictionary and finds the noise's in the mixture; supervised NMF has that
    of the noises to learn from.
    """
    spectrogram = material.spectrogram
    voices = _magnitudes(spectrogram, np.concatenate(material.clean))
    noises = _magnitudes(spectrogram, np.concatenate(list(material.noise.values())))
    methods: dict[str, Callable[[Tensor], Tensor]] = {}
    for divergence in nmf.DIVERGENCES:
        of_voices = nmf.learned(voices, SPEECH_COMPONENTS, divergence, ITERATIONS, seed)
        of_noises = nmf.learned(noises, NOISE_COMPONENTS, divergence, ITERATIONS, seed)
        for kind, noise in (("semi-supervised", NOISE_COMPONENTS), ("supervised", of_noises)):
            methods[nmf_named(kind, divergence)] = partial(
                nmf.separated, speech=of_voices, noise=noise, divergence=divergence, iterations=ITERATIONS, seed=seed
            )
    for snr in dict.fromkeys(panel.snr for panel in panels):
        for test in material.tests:
            mixture, noise = test.mixed(snr)
            spectra = spectrogram.stft(mixture)
            outputs = {INPUT: mixture}
            magnitudes = torch.from_numpy(np.abs(spectra))
            for method, separated in methods.items():
                gain = (separated(magnitudes) / magnitudes.clamp_min(1e-12)).numpy()
                outputs[method] = spectrogram.istft(spectra * gain, len(mixture))
            measures = _measures(test, noise, list(outputs.values()))
            for method, measured in zip(outputs, measures, strict=True):
                for panel in panels:
                    if panel.snr == snr:
                        about = {**_about(panel, test, method), "epoch": None, "settled": None, "purity": None}
                        yield {**about, **measured}


def nmf_named(kind: str, divergence: str) -> str:
    """The method's name in the rows; kind is "semi-supervised" or "supervised"."""
    return f"{kind} NMF, {divergence}"


def mean(rows: Sequence[Row], measure: str, **where: Any) -> float:
    """The mean of a measure over the rows that have all of `where`: over tests.

    >>> mean([{"epoch": 0, "sdr": 1.0}, {"epoch": 0, "sdr": 2.0}, {"epoch": 1, "sdr": 9.0}], "sdr", epoch=0)
    1.5
    """
    return float(np.mean([row[measure] for row in rows if all(row[key] == value for key, value in where.items())]))


def curve(rows: Sequence[Row], panel: Panel, measure: str, gradient: str = THROUGH) -> dict[int, float]:
    """Means over tests by epoch, of the epochs at which all tests are measured."""
    own = [row for row in rows if (row["panel"], row["method"]) == (panel.letter, ADAPTED[gradient])]
    tests = {(row["voice"], row["noise"]) for row in own}
    epochs = sorted({row["epoch"] for row in own})
    counts = {epoch: sum(row["epoch"] == epoch for row in own) for epoch in epochs}
    return {epoch: mean(own, measure, epoch=epoch) for epoch in epochs if counts[epoch] == len(tests)}


def _about(panel: Panel, test: Test, method: str) -> Row:
    of_panel = {"panel": panel.letter, "snr": panel.snr, "context": panel.context}
    return {**of_panel, "voice": test.voice_name, "noise": test.kind, "method": method}


def _measures(test: Test, noise: Audio, outputs: Sequence[Audio]) -> Iterator[dict[str, float]]:
    for found in bss_of_each(test.voice, noise, outputs):
        yield {measure: getattr(found, measure) for measure in MEASURES}


def _magnitudes(spectrogram: Spectrogram, audio: Audio) -> Tensor:
    return torch.from_numpy(np.abs(spectrogram.stft(audio)))
