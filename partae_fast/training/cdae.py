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
from .plateau import Plateau
from .segments import SegmentSampler
from .stems import Song, songs
from .systems import SYSTEMS, Given, Run, train

logger = logging.getLogger("partae_fast")

NETWORKS = CONVOLUTIONAL, FEED_FORWARD = ("cdae", "fnn")
OPTIMIZER, LEARNING_RATE = "nadam", 0.002
_FLOOR = 1e-3  # of the mean over the bins: the least that a bin is divided by


@dataclass(frozen=True)
class Settings:
    """What networks are trained with.

    network: cdae, the convolutional one, or fnn, the feed-forward one that the paper compares it with.
    frames: in a segment that the convolutional one sees, a multiple of 3 (the paper: 15); the other sees single frames.
    epochs: at most; in one as many segments are drawn as the songs have side by side (the paper: 100).
    batch: segments in a step (the paper: 100).
    patience, divisor: after so many epochs without improvement on what is held out the learning rate, 0.002 at first,
        is divided (the paper: 3 and 10). stop: after so many training ends; 0 for never.
    held_out: the share of each song, its end, that is not learnt from, above 0 and below 1.
    equalise: whether networks see each bin divided by its root mean square over the mixtures, for else the rectified
        outputs of quiet bins are soon 0 for good; or all bins by one number (the paper tells of neither).
    rate: in Hz, at which the model works; songs are resampled (the paper: 44100).
    n_fft, hop: window and hop in samples (the paper: 2048 and 512). The convolutional network takes windows whose
        n_fft / 2 + 1 bins are a multiple of 25.
    """

    network: str = CONVOLUTIONAL
    frames: int = FRAMES
    epochs: int = 100
    batch: int = 100
    patience: int = 3
    divisor: float = 10.0
    stop: int = 10
    held_out: float = 0.2
    equalise: bool = True
    rate: int = 44100
    n_fft: int = 2048
    hop: int = 512

    def model(self, sources: Sequence[str], seed: int) -> SourceSeparator:
        """The model for sources of these names, before the first step; UserError for an unknown network."""
        bins = self.n_fft // 2 + 1
        if self.network == CONVOLUTIONAL:
            return ConvDAESeparator(sources, bins, self.frames, seed)
        if self.network == FEED_FORWARD:
            return FeedForwardSeparator(sources, bins, seed)
        raise UserError(f"network is {self.network!r}; choose {' or '.join(NETWORKS)}")


@dataclass(frozen=True)
class Material:
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


def read_songs(found: Sequence[Song], settings: Settings) -> Material:
    """`material_of` songs, read at the settings' rate."""
    pieces = []
    for song in found:
        mixture, stems = song.read(settings.rate)
        pieces.append(Piece(song.name, mixture, dict(zip(song.stems, stems, strict=True))))
    return material_of(pieces, settings)


def material_of(pieces: Sequence[Piece], settings: Settings) -> Material:
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
    return Material(tuple(pieces[0].stems), spectrogram, scale, training, held_out)


def fit(given: Given, settings: Settings, run: Run) -> SourceSeparator:
    """Train on songs in stems; the model has a network for each of their sources.

    One schedule of the learning rate serves all networks, which are trained side by side: it follows the mean over the
    sources of the squared error relative to the source's power. (In the paper each network follows its own.)

    Raises UserError for settings out of range, and for songs that cannot be learnt from.
    """
    return fit_material(read_songs(songs(given.stems), settings), settings, run)


def fit_material(material: Material, settings: Settings, run: Run) -> SourceSeparator:
    """`fit` on songs that were read."""
    model = settings.model(material.sources, run.seed)
    common = (material.spectrogram, model.frames, settings.batch, run.seed)
    sampler = SegmentSampler(material.training, *common)
    held_out = SegmentSampler(material.held_out, *common).to(run.chosen_device())
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
        run,
        source=SYSTEMS["cdae"].source,
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
