"""A filter without a network: see `partae_fast.models.noise_filter`."""

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

MAX_SAMPLES = 1 << 23  # of each kind that the filter learns from: 6 min at the usual rate
SOURCE = "Ephraim & Malah 1984; Scalart & Filho 1996; Smaragdis, Raj & Shashanka 2007; docs/quality.md"


@dataclass(frozen=True)
class Settings(SpectrogramSettings):
    """Settings of the filter: band, rate, and the hop; the windows have 4 to 64 hops."""

    usual: ClassVar[UsualSpectrogram] = UsualSpectrogram(rate=22050, n_fft=256, hop=64, low=80.0, high=11025.0)
    steps: ClassVar[int] = 0


def fit(material: Material, settings: Settings, options: TrainingOptions) -> FilterModel:
    """Return a filter for noisy recordings, with noise-only audio or labels. There are no training steps."""
    sources = [*material.labelled_sources(), *(material.sources("noise") if material.noise else [])]
    spectrogram = spectrogram_for(sources, settings.usual, settings.asked)
    noise_filter = learned_filter(material, spectrogram, options.seed)
    model = FilterModel(spectrogram.bins, **noise_filter.config())
    model.filter = noise_filter
    model.spectrogram, model.history = spectrogram, History()
    return model


def learned_filter(material: Material, spectrogram: Spectrogram, seed: int) -> NoiseFilter:
    """Return a filter for a material's recordings, from at most `MAX_SAMPLES` random samples of each kind."""
    noise_filter = NoiseFilter(spectrogram.hop, spectrogram.rate, spectrogram.low)
    signal, noise = (
        [centred(stretch, offset_window(spectrogram)) for stretch in stretches]
        for stretches in material.weakly_labelled(spectrogram.rate, MAX_SAMPLES, seed)
    )
    noise_filter.learn(signal, noise)
    return noise_filter


SYSTEMS = (System("filter", SOURCE, Settings, fit, ("recordings",), ("noise", "labels")),)
