"""How a network for each source of a mixture is trained, convolutional or feed-forward (Grais & Plumbley 2017)."""

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
from ..training.plateau import Plateau
from ..training.session import train
from ..training.stems import Song, songs
from .registry import System

logger = logging.getLogger("partae_fast")

NETWORKS = CONVOLUTIONAL, FEED_FORWARD = ("cdae", "fnn")
SOURCE = "Grais & Plumbley 2017, Single channel audio source separation using convolutional denoising autoencoders"
OPTIMIZER, LEARNING_RATE = "nadam", 0.002
_FLOOR = 1e-3  # of the mean over the bins: the least that a bin is divided by


@dataclass(frozen=True)
class Settings:
    """Settings of the networks and their training; the paper's are in parentheses.

    Networks see each bin divided by its root mean square over the mixtures (equalise), because otherwise the rectified
    outputs of quiet bins are soon 0 for good; the paper mentions neither. The convolutional network takes windows whose
    n_fft / 2 + 1 bins are a multiple of 25. An epoch draws as many segments as the songs have side by side.
    """

    network: str = setting(CONVOLUTIONAL, "cdae, convolutional, or fnn, the paper's feed-forward baseline")
    frames: int = setting(FRAMES, "in a segment of the convolutional network, a multiple of 3 (15)")
    epochs: int = setting(100, "at most (100)")
    batch: int = setting(100, "segments in a batch (100)")
    patience: int = setting(3, "epochs without improvement on held-out audio before the learning rate is divided (3)")
    divisor: float = setting(10.0, "what the learning rate is divided by (10)")
    stop: int = setting(10, "epochs without improvement after which training ends; 0 for never")
    held_out: float = setting(0.2, "share of each song, its end, that is held out, above 0 and below 1")
    equalise: bool = setting(True, "divide each bin by its RMS, not all bins by one number")
    rate: int = setting(44100, "sample rate that the model works at, Hz (44100)")
    n_fft: int = setting(2048, "samples in a window (2048)")
    hop: int = setting(512, "samples from one window to the next (512)")

    def model(self, sources: Sequence[str], seed: int) -> SourceSeparator:
        """The model for sources of these names, before the first step; UserError for an unknown network."""
        bins = self.n_fft // 2 + 1
        if self.network == CONVOLUTIONAL:
            return ConvDAESeparator(sources, bins, self.frames, seed)
        if self.network == FEED_FORWARD:
            return FeedForwardSeparator(sources, bins, seed)
        raise UserError(f"network is {self.network!r}; choose {' or '.join(NETWORKS)}")


@dataclass(frozen=True)
class StemExcerpts:
    """Excerpts (1 + sources, T) to learn from and held out, the mixture first, and their spectrogram.

    scale: (bins,) of the model, see `Settings.equalise`.
    """

    sources: tuple[str, ...]
    spectrogram: Spectrogram
    scale: NDArray[np.float32]
    training: list[NDArray[np.float32]]
    held_out: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Piece:
    """A mixture (T,) and the stems (T,) in it, by source, at one rate."""

    name: str
    mixture: NDArray[np.float32]
    stems: dict[str, NDArray[np.float32]]


def read_songs(found: Sequence[Song], settings: Settings) -> StemExcerpts:
    """`make_excerpts` songs, read at the settings' rate."""
    pieces = []
    for song in found:
        mixture, stems = song.read(settings.rate)
        pieces.append(Piece(song.name, mixture, dict(zip(song.stems, stems, strict=True))))
    return make_excerpts(pieces, settings)


def make_excerpts(pieces: Sequence[Piece], settings: Settings) -> StemExcerpts:
    """What is learnt from pieces, and the scale at which: the mixtures' magnitudes have a root mean square of 1.

    Raises UserError for settings out of range, and where what would be learnt from is silent.
    """
    if not 0 < settings.held_out < 1:
        raise UserError(f"held_out is {settings.held_out:g}; it is a share of each song, above 0 and below 1")
    if settings.epochs < 0:
        raise UserError(f"epochs is {settings.epochs}; it must be 0 or more")
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
        raise UserError("the mixtures are silent but for their ends, which are held out; give songs with more in them")
    scale = np.sqrt((square if settings.equalise else np.full_like(square, square.mean())) / frames)
    scale = np.maximum(scale, _FLOOR * scale.mean()).astype(np.float32)
    return StemExcerpts(tuple(pieces[0].stems), spectrogram, scale, training, held_out)


def fit(material: Material, settings: Settings, options: TrainingOptions) -> SourceSeparator:
    """Train on songs in stems; the model has a network for each of their sources.

    One schedule of the learning rate serves all networks, which are trained side by side: it follows the mean over the
    sources of the squared error relative to the source's power. (In the paper each network follows its own.)

    Raises UserError for settings out of range, and for songs that cannot be learnt from.
    """
    return fit_excerpts(read_songs(songs(material.stems), settings), settings, options)


def fit_excerpts(material: StemExcerpts, settings: Settings, options: TrainingOptions) -> SourceSeparator:
    """`fit` on songs that were read."""
    model = settings.model(material.sources, options.seed)
    common = (material.spectrogram, model.frames, settings.batch, options.seed)
    sampler = SegmentSampler(material.training, *common)
    held_out = SegmentSampler(material.held_out, *common).to(options.chosen_device())
    model.spectrogram = material.spectrogram
    model.scale.copy_(torch.from_numpy(material.scale))
    epoch = max(1, round(sampler.segments / settings.batch))
    logger.info(
        "%d segments to learn from, %d held out, of %s; an epoch has %d steps",
        *(sampler.segments, held_out.segments, ", ".join(material.sources), epoch),
    )

    plateau = Plateau(
        epoch, lambda model: relative_error(model, held_out), settings.patience, settings.divisor, settings.stop
    )
    return train(
        model,
        sampler,
        options,
        source=SOURCE,
        steps=settings.epochs * epoch,
        optimizer=OPTIMIZER,
        learning_rate=LEARNING_RATE,
        plateau=plateau,
    )


def relative_error(model: SourceSeparator, sampler: SegmentSampler) -> float:
    """The mean over the sources of their squared error relative to their power, in the model's scale.

    Sources that are silent do not count. 1 is what silence has.
    """
    error = power = torch.zeros(len(model.sources), dtype=torch.float64)
    with torch.no_grad():
        for mixture, wanted in sampler.in_order():
            made, wanted = model(mixture) / model.scale, wanted / model.scale
            error = error + (made - wanted).double().square().sum((0, 2, 3)).cpu()
            power = power + wanted.double().square().sum((0, 2, 3)).cpu()
    heard = power > 0
    return float((error[heard] / power[heard]).mean())


SYSTEMS = tuple(
    System(name, SOURCE, Settings, fit, ("stems",), presets={"network": name}) for name in (CONVOLUTIONAL, FEED_FORWARD)
)
