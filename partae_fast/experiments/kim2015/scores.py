"""SDR, SIR and SAR of every test, over the epochs of adaptation, and of the baselines: the mixture and NMF."""

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
from .data import Audio, Recordings, TestPair

MEASURES = ("sdr", "sir", "sar")
INPUT = "input"
ADAPTED = {gradient: f"adapted, {gradient}" for gradient in GRADIENTS}
SPEECH_COMPONENTS, NOISE_COMPONENTS, ITERATIONS = 40, 20, 100  # of NMF; the paper gives no values

Row = dict[str, Any]  # the columns of `_key` and `adapted_scores`; `experiment` adds the seed


@dataclass(frozen=True)
class Panel:
    """A panel of figure 3.

    Attributes:
        letter: of the panel.
        snr: of the mixtures in dB.
        context: frames of a stack.
        layers: hidden layers of a network.
    """

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
    """Return the epochs after which outputs are measured, up to the last.

    >>> measured_epochs(60)
    [0, 1, 2, 5, 10, 20, 30, 40, 50, 60]
    """
    early = [epoch for epoch in (0, 1, 2, 5) if epoch < epochs]
    return [*early, *range(10, epochs, 10), epochs]


def adapted_scores(
    recordings: Recordings,
    model: AdaptiveDenoisingAutoencoder,
    panel: Panel,
    epochs: int,
    learning_rate: float,
    progress_callback: Callable[[int], object],
) -> Iterator[Row]:
    """Adapt a trained model to each test, with each kind of gradient, and yield the rows.

    A row has the columns of `_key`, the epoch, the purity error, the measures in dB and `settled`, which is true at the
    epoch at which the rule without clean signals ends adaptation. Adaptation continues to the last epoch nevertheless.
    There is a row for each of `measured_epochs` and for the epoch at which adaptation settles.

    Args:
        recordings: with the tests.
        model: trained for the panel.
        panel: of the figure.
        epochs: of adaptation.
        learning_rate: of adaptation.
        progress_callback: called with 1 after each test.
    """
    for gradient in GRADIENTS:
        settings = Settings(gradient=gradient, learning_rate=learning_rate, until_settled=False)
        for pair in recordings.test_pairs:
            mixture, noise = pair.mix(panel.snr)
            recorder = _Recorder(mixture, recordings.rate, epochs, settings)
            adapt(model, mixture, recordings.rate, epochs, settings, watch=recorder)
            key = _key(panel, pair, ADAPTED[gradient])
            for row, measures in zip(recorder.rows, _measures(pair, noise, recorder.outputs), strict=True):
                yield {**key, **row, **measures}
            progress_callback(1)


class _Recorder:
    """A callback of `adapt` that keeps a row and an output for each epoch to measure."""

    def __init__(self, mixture: Audio, rate: int, epochs: int, settings: Settings) -> None:
        self.mixture, self.rate, self.settings = mixture, rate, settings
        self.measured, self.epochs, self.ended = set(measured_epochs(epochs)), epochs, False
        self.purity: list[float] = []
        self.rows: list[Row] = []
        self.outputs: list[Audio] = []

    def __call__(self, epoch: int, error: float, model: AdaptiveDenoisingAutoencoder) -> None:
        self.purity.append(error)
        ends = not self.ended and (epoch == self.epochs or bool(settled(self.purity, self.settings)))
        self.ended = self.ended or ends
        if epoch in self.measured or ends:
            self.rows.append({"epoch": epoch, "settled": ends, "purity": error})
            self.outputs.append(denoise(self.mixture, self.rate, model))


def baseline_scores(recordings: Recordings, panels: Sequence[Panel], seed: int) -> Iterator[Row]:
    """Yield the rows of the mixtures themselves and of NMF; panels with the same SNR have the same scores.

    Semi-supervised NMF uses a dictionary of the clean voices and learns the noise's from the mixture. Supervised NMF
    uses a dictionary of the training noises too.
    """
    spectrogram = recordings.spectrogram
    voices = _magnitudes(spectrogram, np.concatenate(recordings.voices))
    noises = _magnitudes(spectrogram, np.concatenate(list(recordings.noises.values())))
    methods: dict[str, Callable[[Tensor], Tensor]] = {}
    for divergence in nmf.DIVERGENCES:
        speech = nmf.learn(voices, SPEECH_COMPONENTS, divergence, ITERATIONS, seed)
        learned_noise = nmf.learn(noises, NOISE_COMPONENTS, divergence, ITERATIONS, seed)
        for kind, noise in (("semi-supervised", NOISE_COMPONENTS), ("supervised", learned_noise)):
            methods[nmf_method(kind, divergence)] = partial(
                nmf.separate, speech=speech, noise=noise, divergence=divergence, iterations=ITERATIONS, seed=seed
            )
    for snr in dict.fromkeys(panel.snr for panel in panels):
        for pair in recordings.test_pairs:
            mixture, noise = pair.mix(snr)
            spectra = spectrogram.stft(mixture)
            outputs = {INPUT: mixture}
            magnitudes = torch.from_numpy(np.abs(spectra))
            for method, separate in methods.items():
                gain = (separate(magnitudes) / magnitudes.clamp_min(1e-12)).numpy()
                outputs[method] = spectrogram.istft(spectra * gain, len(mixture))
            all_measures = _measures(pair, noise, list(outputs.values()))
            for method, measures in zip(outputs, all_measures, strict=True):
                for panel in panels:
                    if panel.snr == snr:
                        key = {**_key(panel, pair, method), "epoch": None, "settled": None, "purity": None}
                        yield {**key, **measures}


def nmf_method(kind: str, divergence: str) -> str:
    """Return the name of a method in the rows; `kind` is "semi-supervised" or "supervised"."""
    return f"{kind} NMF, {divergence}"


def mean(rows: Sequence[Row], measure: str, **key: Any) -> float:
    """Return the mean of a measure over the rows with the values in `key`.

    >>> mean([{"epoch": 0, "sdr": 1.0}, {"epoch": 0, "sdr": 2.0}, {"epoch": 1, "sdr": 9.0}], "sdr", epoch=0)
    1.5
    """
    return float(np.mean([row[measure] for row in rows if all(row[name] == value for name, value in key.items())]))


def curve(rows: Sequence[Row], panel: Panel, measure: str, gradient: str = THROUGH) -> dict[int, float]:
    """Return means over tests by epoch, for the epochs at which all tests were measured."""
    selected = [row for row in rows if (row["panel"], row["method"]) == (panel.letter, ADAPTED[gradient])]
    tests = {(row["seed"], row["voice"], row["noise"]) for row in selected}
    epochs = sorted({row["epoch"] for row in selected})
    counts = {epoch: sum(row["epoch"] == epoch for row in selected) for epoch in epochs}
    return {epoch: mean(selected, measure, epoch=epoch) for epoch in epochs if counts[epoch] == len(tests)}


def _key(panel: Panel, pair: TestPair, method: str) -> Row:
    """Return the columns that identify a row."""
    columns = {"panel": panel.letter, "snr": panel.snr, "context": panel.context}
    return {**columns, "voice": pair.voice_name, "noise": pair.noise_kind, "method": method}


def _measures(pair: TestPair, noise: Audio, outputs: Sequence[Audio]) -> Iterator[dict[str, float]]:
    for ratios in bss_of_each(pair.voice, noise, outputs):
        yield {measure: getattr(ratios, measure) for measure in MEASURES}


def _magnitudes(spectrogram: Spectrogram, audio: Audio) -> Tensor:
    return torch.from_numpy(np.abs(spectrogram.stft(audio)))
