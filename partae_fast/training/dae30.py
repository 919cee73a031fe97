"""Training of DAE-30 on mixtures of voices and noises (Hetherly et al. 2018)."""

from dataclasses import dataclass

from ..mixtures import MixtureSampler
from ..models.dae30 import DAE30
from .mixing import SOURCE, Mixing
from .systems import Given, Run, train

_STEPS, _LEARNING_RATE = 20000, 5e-5


@dataclass(frozen=True)
class Settings(Mixing):
    """The model's settings, see `partae_fast.models.dae30.DAE30`, and those of mixing.

    filters: of each layer. patch: frames and bins of the patch of each mixture that is trained on; 0 for all of it.
    rate: Hz. n_fft, hop: samples of a window and from one to the next; the authors' program has a hop of 128.
    seconds: of a mixture. snr_low, snr_high: dB, the least and the largest ratio of voice to noise.
    batch: mixtures. folds: of an UrbanSound8K tree, those that are trained on, joined by "-"; "" for all.
    """

    filters: int = 128
    patch: int = 0


def fit(given: Given, settings: Settings, run: Run) -> DAE30:
    """Train DAE-30 on mixtures of speech and noise, by Adam with Nesterov momentum; see `fit_system`."""
    return fit_sampler(settings.sampler(*settings.heard(given), run.seed), settings, run)


def fit_sampler(sampler: MixtureSampler, settings: Settings, run: Run) -> DAE30:
    """The same on a sampler's mixtures."""
    model = DAE30(settings.filters, sampler.bins, settings.patch, run.seed)
    model.spectrogram = settings.spectrogram
    return train(model, sampler, run, SOURCE, _STEPS, "nadam", _LEARNING_RATE)
