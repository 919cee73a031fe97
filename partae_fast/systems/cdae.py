"""Training of one network per source of a mixture (Grais & Plumbley 2017)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..models.cdae import FRAMES, ConvDAESeparator
from ..models.fnn import FeedForwardSeparator
from ..models.separation import SourceSeparator
from ..sampling.segments import SegmentSampler
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.schedules import Plateau
from ..training.session import train
from ..training.stems import Song, songs
from .registry import System

logger = logging.getLogger("partae_fast")

NETWORKS = CONVOLUTIONAL, FEED_FORWARD = ("cdae", "fnn")
SOURCE = "Grais & Plumbley 2017, Single channel audio source separation using convolutional denoising autoencoders"
OPTIMIZER, LEARNING_RATE = "nadam", 0.002
_FLOOR = 1e-3  # the smallest scale of a bin, relative to the mean over the bins


@dataclass(frozen=True)
class Settings:
    """Settings of the networks and their training.

    Magnitudes are divided by their root mean square over the mixtures. With equalise, each bin is divided by its own;
    then quiet bins weigh as much as loud ones in the loss, which equation 1 of the paper does not say. For the
    convolutional network, the n_fft / 2 + 1 bins must be a multiple of 25. By default an epoch has as many segments as
    fit side by side into the songs.
    """

    network: str = setting(CONVOLUTIONAL, "cdae (convolutional) or fnn (the feed-forward baseline of the paper)")
    frames: int = setting(FRAMES, "frames in a segment of the convolutional network, a multiple of 3 (paper: 15)")
    epochs: int = setting(100, "largest number of epochs (paper: 100)")
    batch: int = setting(100, "segments in a batch (paper: 100)")
    patience: int = setting(
        3, "epochs without improvement on held-out audio before the learning rate is divided (paper: 3)"
    )
    divisor: float = setting(10.0, "the learning rate is divided by this number (paper: 10)")
    stop: int = setting(0, "epochs without improvement of any source after which training ends; 0 for never (paper: 0)")
    epoch_steps: int = setting(0, "steps in an epoch; 0 for as many as use the songs once")
    held_out: float = setting(0.2, "share at the end of each song to hold out, above 0 and below 1")
    equalise: bool = setting(False, "divide each bin by its own RMS, instead of all bins by one number")
    rate: int = setting(44100, "sample rate of the model, Hz (paper: 44100)")
    n_fft: int = setting(2048, "samples in a window (paper: 2048)")
    hop: int = setting(1024, "samples from one window to the next (paper: 1024, so 15 frames last 0.37 s)")

    def model(self, sources: Sequence[str], seed: int) -> SourceSeparator:
        """Return an untrained model for sources of these names.

        Raises UserError for an unknown network.
        """
        bins = self.n_fft // 2 + 1
        if self.network == CONVOLUTIONAL:
            return ConvDAESeparator(sources, bins, self.frames, seed)
        if self.network == FEED_FORWARD:
            return FeedForwardSeparator(sources, bins, seed)
        raise UserError(f"network is {self.network!r}; choose {' or '.join(NETWORKS)}")


@dataclass(frozen=True)
class StemExcerpts:
    """Excerpts of songs for training and for validation, with their spectrogram."""

    sources: tuple[str, ...]
    spectrogram: Spectrogram
    scale: NDArray[np.float32]  # (bins,), see `Settings`
    training: list[NDArray[np.float32]]  # (1 + sources, T) each, the mixture first
    held_out: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Piece:
    """A mixture (T,) and its stems (T,) by source, at one sample rate."""

    name: str
    mixture: NDArray[np.float32]
    stems: dict[str, NDArray[np.float32]]


def read_songs(song_files: Sequence[Song], settings: Settings) -> StemExcerpts:
    """Read songs at the sample rate of the settings and make excerpts of them."""
    pieces = []
    for song in song_files:
        mixture, stems = song.read(settings.rate)
        pieces.append(Piece(song.name, mixture, dict(zip(song.stems, stems, strict=True))))
    return make_excerpts(pieces, settings)


def make_excerpts(pieces: Sequence[Piece], settings: Settings) -> StemExcerpts:
    """Split pieces into training and held-out excerpts, and compute the scale.

    Raises UserError for settings out of range, and if all training excerpts are silent.
    """
    if not 0 < settings.held_out < 1:
        raise UserError(f"held_out is {settings.held_out:g}; it must be a share above 0 and below 1")
    if settings.epochs < 0 or settings.epoch_steps < 0:
        raise UserError(f"epochs is {settings.epochs} and epoch_steps {settings.epoch_steps}; they must be 0 or more")
    spectrogram = Spectrogram(
        settings.rate, settings.n_fft, settings.hop, low=0.0, high=settings.rate / 2, bins=settings.n_fft // 2 + 1
    )
    training, held_out, square, frames = [], [], np.zeros(spectrogram.bins), 0
    for piece in pieces:
        tracks = np.stack([piece.mixture, *piece.stems.values()])
        cut = round(len(piece.mixture) * (1 - settings.held_out))
        training.append(tracks[:, :cut])
        held_out.append(tracks[:, cut:])
        magnitudes = spectrogram.magnitude(training[-1][0])
        square += np.square(magnitudes, dtype=np.float64).sum(axis=0)
        frames += len(magnitudes)
    if not square.any():
        raise UserError("the mixtures are silent except for their held-out ends; give songs that are not silent")
    scale = np.sqrt((square if settings.equalise else np.full_like(square, square.mean())) / frames)
    scale = np.maximum(scale, _FLOOR * scale.mean()).astype(np.float32)
    return StemExcerpts(tuple(pieces[0].stems), spectrogram, scale, training, held_out)


def fit(material: Material, settings: Settings, options: TrainingOptions) -> SourceSeparator:
    """Train on songs given as stems; the model has a network for each source.

    All networks are trained together, each with a learning-rate schedule of its own, which follows its squared error on
    held-out audio.

    Raises UserError for settings out of range, and for songs that cannot be used for training.
    """
    return fit_excerpts(read_songs(songs(material.stems), settings), settings, options)


def fit_excerpts(material: StemExcerpts, settings: Settings, options: TrainingOptions) -> SourceSeparator:
    """Train as `fit` does, on excerpts that are in memory."""
    model = settings.model(material.sources, options.seed)
    common = (material.spectrogram, model.frames, settings.batch, options.seed)
    sampler = SegmentSampler(material.training, *common)
    held_out = SegmentSampler(material.held_out, *common).to(options.chosen_device())
    model.spectrogram = material.spectrogram
    model.scale.copy_(torch.from_numpy(material.scale))
    epoch = settings.epoch_steps or max(1, round(sampler.segments / settings.batch))
    logger.info(
        "%d segments for training, %d held out, of %s; an epoch has %d steps",
        *(sampler.segments, held_out.segments, ", ".join(material.sources), epoch),
    )

    plateau = Plateau(
        epoch,
        lambda model: relative_errors(model, held_out),
        settings.patience,
        settings.divisor,
        settings.stop,
        groups=[f"networks.{number}." for number in range(len(model.sources))],
    )
    return train(
        model,
        sampler,
        options,
        source=SOURCE,
        steps=settings.epochs * epoch,
        optimizer=OPTIMIZER,
        learning_rate=LEARNING_RATE,
        schedule=plateau,
    )


def relative_errors(model: SourceSeparator, sampler: SegmentSampler) -> list[float]:
    """Return the squared error of each source relative to its power, in the scale of the model.

    An output of silence has an error of 1. A silent source has the mean error of the others.
    """
    error = power = torch.zeros(len(model.sources), dtype=torch.float64)
    with torch.no_grad():
        for mixture, target in sampler.in_order():
            output, target = model(mixture) / model.scale, target / model.scale
            error = error + (output - target).double().square().sum((0, 2, 3)).cpu()
            power = power + target.double().square().sum((0, 2, 3)).cpu()
    audible = power > 0
    relative = error / power
    return torch.where(audible, relative, relative[audible].mean()).tolist()


SYSTEMS = tuple(
    System(name, SOURCE, Settings, fit, ("stems",), presets={"network": name}) for name in (CONVOLUTIONAL, FEED_FORWARD)
)
