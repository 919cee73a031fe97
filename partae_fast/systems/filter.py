"""A filter without a network: a decision-directed Wiener gain times one learned from how often each power occurs."""

from dataclasses import dataclass
from typing import ClassVar

from ..audio.offset import centred, offset_window
from ..audio.spectrogram import Spectrogram
from ..models.noise_filter import FilterModel, NoiseFilter
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.spectrograms import UsualSpectrogram, spectrogram_for
from ..training.trainer import History
from .registry import System
from .spectrogram_settings import SpectrogramSettings

MOST = 1 << 23  # samples of either kind that the filter learns from: 6 min at the usual rate
SOURCE = "Ephraim & Malah 1984; Scalart & Filho 1996; docs/quality.md"


@dataclass(frozen=True)
class Settings(SpectrogramSettings):
    """Settings of the filter: its band and rate, and the hop, of which its windows are 8 and 16."""

    usual: ClassVar[UsualSpectrogram] = UsualSpectrogram(rate=22050, n_fft=256, hop=64, low=80.0, high=11025.0)
    steps: ClassVar[int] = 0


def fit(material: Material, settings: Settings, options: TrainingOptions) -> FilterModel:
    """Set a filter by noisy recordings, and noise or labels; returns it, ready to denoise. No step is trained."""
    sources = [*material.labelled_sources(), *(material.sources("noise") if material.noise else [])]
    spectrogram = spectrogram_for(sources, settings.usual, settings.asked)
    model = FilterModel(spectrogram.bins, spectrogram.hop)
    model.filter = learned_filter(material, spectrogram, options.seed)
    model.spectrogram, model.history = spectrogram, History()
    return model


def learned_filter(material: Material, spectrogram: Spectrogram, seed: int) -> NoiseFilter:
    """The filter of a material's recordings, or of as many as `MOST` samples of either kind; the seed says of which."""
    noise_filter = NoiseFilter(spectrogram.hop)
    signal, noise = (
        [centred(stretch, offset_window(spectrogram)) for stretch in stretches]
        for stretches in material.weakly_labelled(spectrogram.rate, MOST, seed)
    )
    noise_filter.learn(signal, noise, spectrogram.rate)
    return noise_filter


SYSTEMS = (System("filter", SOURCE, Settings, fit, ("recordings",), ("noise", "labels")),)
