"""Training of DAE-30 on mixtures of voices and noises (Hetherly et al. 2018)."""

from dataclasses import dataclass

from ..models.dae30 import DAE30
from ..sampling.mixtures import MixtureSampler
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .mixing import SOURCE, MixtureSettings
from .registry import System

_STEPS, _LEARNING_RATE = 20000, 5e-5


@dataclass(frozen=True)
class Settings(MixtureSettings):
    """Settings of DAE-30 (see `partae_fast.models.dae30.DAE30`) and of the mixtures."""

    filters: int = setting(128, "filters per layer")
    patch: int = setting(0, "train on a patch of this many frames and bins of each mixture; 0 for the whole mixture")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> DAE30:
    """Train DAE-30 on mixtures of speech and noise with Nadam."""
    return fit_sampler(settings.sampler(*settings.sounds(material), options.seed), settings, options)


def fit_sampler(sampler: MixtureSampler, settings: Settings, options: TrainingOptions) -> DAE30:
    """Train DAE-30 on the mixtures of a sampler."""
    model = DAE30(settings.filters, sampler.bins, settings.patch, options.seed)
    model.spectrogram = settings.spectrogram
    return train(model, sampler, options, SOURCE, _STEPS, "nadam", _LEARNING_RATE)


SYSTEMS = (System("dae-30", SOURCE, Settings, fit, ("speech", "noise")),)
