"""Adaptation of an adaptive denoising autoencoder to the recording that it is to denoise (Kim & Smaragdis 2015)."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from ..audio.arrays import columns_of
from ..audio.files import require_finite
from ..audio.resample import resample
from ..errors import UserError
from ..models.adaptive_dae import GRADIENTS, THROUGH, AdaptiveDenoisingAutoencoder, stack_inner_frames
from ..models.state import unwrapped
from .optimisers import Optimiser

Watch = Callable[[int, float, AdaptiveDenoisingAutoencoder], None]


@dataclass(frozen=True)
class Settings:
    """How a model adapts. The paper prints the momentum, the first step size, the range of the weights, and no more.

    gradient: "through" the top network into the bottom one on both ways, or with its output "held" (equation 5).
    learning_rate: of the summed error. momentum: in [0, 1). clip: weights stay in [-clip, clip].
    batch: stacks in a step; an epoch goes once through the recording, from its beginning.
    dropout: of the bottom network's hidden units meanwhile, in [0, 1).
    tolerance, patience: it has settled where in `patience` epochs the purity error has not fallen by this share.
    until_settled: whether it ends there; else all epochs are gone through.
    """

    gradient: str = THROUGH
    learning_rate: float = 1e-6
    momentum: float = 0.95
    clip: float = 1.0
    batch: int = 128
    dropout: float = 0.0
    tolerance: float = 1e-3
    patience: int = 10
    until_settled: bool = True


@dataclass
class Adaptation:
    """What came of it.

    model: adapted, a copy. epoch: after how many epochs it is so. reason: why there were no more, in words.
    purity: by epochs done, from 0 on, the error that the top network makes on the bottom one's output over the squares
    of that, |Y - U|^2 / |Y|^2.
    """

    model: AdaptiveDenoisingAutoencoder
    epoch: int = 0
    reason: str = ""
    purity: list[float] = field(default_factory=list)


def adapt(
    model: AdaptiveDenoisingAutoencoder,
    audio: ArrayLike,
    rate: int,
    epochs: int = 100,
    settings: Settings | None = None,
    keep_best: bool = False,
    watch: Watch | None = None,
) -> Adaptation:
    """Let the bottom network go on learning on a recording: its output is to be what the top network calls clean.

    No clean signal is asked for. It ends with the first of: `epochs` epochs; a purity error no larger than the top
    network's own on the clean signals of its training; no more fall of the purity error (`settled`). As the error is
    divided by the output's squares, a softer output is no purer.

    On a GPU an epoch is one CUDA graph, captured once, unless there is dropout, which is drawn anew in every step.

    Args:
        model: trained, with its spectrogram; it stays as it is. The adapted copy is float32.
        audio: (T,) or (T, channels), float; all channels are learned from. It is brought to the level of the training,
            and the adapted model's spectrogram knows by what gain.
        rate: of the audio in Hz. epochs: at most, 0 or more; with 0 the level alone is adapted.
        keep_best: whether to return the model at its lowest purity error, in place of the last.
        watch: called before the first epoch and after each with the epochs done, the purity error and the model as it
            is then; it must not change it.

    Raises UserError where a setting is out of range, the model has no spectrogram, the audio is silent or not finite,
    and where the error becomes NaN or infinite.

    Kim & Smaragdis 2015, section 2.3 and equation 5.
    """
    settings = settings or Settings()
    model = unwrapped(model, "adapt")
    _check(model, epochs, settings)
    adapted, magnitudes = _prepared(model, audio, rate)
    found, loop, clean = Adaptation(adapted), _Loop(adapted, magnitudes, settings), float(model.purity)
    best, error = None, loop.measure()
    for epoch in range(epochs + 1):
        found.purity.append(error)
        if not math.isfinite(error):
            raise UserError(
                f"adapt: the purity error is {error} after {epoch} epochs; try a smaller learning_rate, now "
                f"{settings.learning_rate:g}"
            )
        if watch:
            watch(epoch, error, adapted)
        if not keep_best:
            found.epoch = epoch
        elif error == min(found.purity):
            found.epoch, best = epoch, loop.weights()
        found.reason = settled(found.purity, clean, settings) if settings.until_settled else ""
        if not found.reason and epoch == epochs:
            found.reason = f"{epochs} epochs are done"
        if found.reason:
            break
        error = loop.epoch()
    if best is not None:
        loop.restore(best)
    return found


class _Loop:
    """The bottom network's training on one recording's magnitudes (channels, N, H)."""

    def __init__(self, model: AdaptiveDenoisingAutoencoder, magnitudes: Tensor, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.around, self.frames = model.context // 2, magnitudes.shape[1]
        self.padded = F.pad(magnitudes, (0, 0, self.around, self.around))
        self.parameters: dict[str, Tensor] = dict(model.bottom.named_parameters())
        options = {name: getattr(settings, name) for name in ("learning_rate", "momentum", "clip")}
        self.optimiser = Optimiser("clipped_sgd", self.parameters, options)
        self.sums = magnitudes.new_zeros(2)  # |Y - U|^2 and |Y|^2
        self.graph: torch.cuda.CUDAGraph | None = None
        self.captured = magnitudes.is_cuda and not settings.dropout

    def epoch(self) -> float:
        """Go once through the recording; returns the purity error after that."""
        if not self.captured:
            self._steps()
            return self.measure()
        self.graph = self.graph or self._capture()
        self.graph.replay()
        return self._ratio()

    def measure(self) -> float:
        """The purity error."""
        self._measure()
        return self._ratio()

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def _steps(self) -> None:
        self.model.top.requires_grad_(False)
        for block in self._blocks():
            for parameter in self.parameters.values():
                parameter.grad = None
            self.model.purity_error(block, self.settings.gradient, self.settings.dropout)[0].backward()
            self.optimiser.step(self.model.step)
            self.model.step += 1
        for parameter in self.parameters.values():
            parameter.grad = None
        self.model.top.requires_grad_(True)

    def _measure(self) -> None:
        self.sums.zero_()
        with torch.no_grad():
            for block in self._blocks():
                self.sums += torch.stack(self.model.purity_error(block))

    def _ratio(self) -> float:
        error, power = self.sums.tolist()
        return error / power

    def _blocks(self) -> Iterator[Tensor]:
        """Stacks (batch, C * H), channel by channel and in the order of time."""
        for channel in self.padded:
            for start in range(0, self.frames, self.settings.batch):
                count = min(self.settings.batch, self.frames - start)
                yield stack_inner_frames(channel[None, start : start + count + 2 * self.around], self.model.context)[0]

    def _capture(self) -> torch.cuda.CUDAGraph:
        """An epoch and the measure after it, once as a trial, which leaves nothing behind, and once recorded."""
        before, step = self.weights(), self.model.step
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._steps()
            self._measure()
        torch.cuda.current_stream().wait_stream(aside)
        self.restore(before)
        for kept in self.optimiser.tensors().values():
            kept.zero_()
        self.model.step = step
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._steps()
            self._measure()
        return graph


def _prepared(
    model: AdaptiveDenoisingAutoencoder, audio: ArrayLike, rate: int
) -> tuple[AdaptiveDenoisingAutoencoder, Tensor]:
    """A copy of the model that takes the recording at the level of its training, and the magnitudes that it gets."""
    samples = columns_of(audio, "adapt").astype(np.float32, copy=False)
    require_finite(samples, rate, "adapt")
    spectrogram = model.spectrogram
    if spectrogram is None:
        raise UserError("adapt: the model has no spectrogram; set model.spectrogram to that of its training")
    heard = resample(samples, rate, spectrogram.rate)
    magnitudes = np.stack([spectrogram.magnitude(np.ascontiguousarray(channel)) for channel in heard.T])
    loudness = float(np.sqrt(np.mean(magnitudes**2, dtype=np.float64))) if magnitudes.size else 0.0
    if not loudness:
        raise UserError("adapt: the recording is silent, so there is nothing to adapt to; denoise it without")
    gain = float(model.level) / loudness if model.level > 0 else 1.0
    adapted = copy.deepcopy(model).float()
    adapted.spectrogram = replace(spectrogram, gain=spectrogram.gain * gain)
    return adapted, torch.from_numpy(magnitudes * np.float32(gain)).to(model.level.device)


def settled(purity: Sequence[float], clean: float, settings: Settings) -> str:
    """Why adaptation need not go on; empty where it should. No clean signal is asked for.

    Args:
        purity: the purity errors so far, of before the first epoch and after each.
        clean: that of the clean signals of training, 0 where unknown.
    """
    if purity[-1] <= clean:
        return f"as pure as clean signals, whose error is {clean:.4g}"
    earlier = purity[: -settings.patience]
    if earlier and min(purity[-settings.patience :]) > (1 - settings.tolerance) * min(earlier):
        return f"no less error for {settings.patience} epochs"
    return ""


def _check(model: AdaptiveDenoisingAutoencoder, epochs: int, settings: Settings) -> None:
    if not isinstance(model, AdaptiveDenoisingAutoencoder):
        raise UserError(f"adapt: a {type(model).__name__} does not adapt; train one with --model adaptive-dae")
    if settings.gradient not in GRADIENTS:
        raise UserError(f"adapt: gradient is {settings.gradient!r}; it must be {' or '.join(GRADIENTS)}")
    if epochs < 0 or settings.batch < 1 or settings.patience < 1:
        raise UserError(
            f"adapt: epochs {epochs}, batch {settings.batch} and patience {settings.patience}; give 0 epochs or more, "
            "and at least 1 of the others"
        )
    for name in ("learning_rate", "clip"):
        if not 0 < getattr(settings, name) < math.inf:
            raise UserError(f"adapt: {name} is {getattr(settings, name)}; it must be above 0")
    for name in ("momentum", "dropout", "tolerance"):
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(f"adapt: {name} is {getattr(settings, name)}; it must be from 0 up to, not including, 1")
