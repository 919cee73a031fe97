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
from .optimizers import Optimizer

Watch = Callable[[int, float, AdaptiveDenoisingAutoencoder], None]


@dataclass(frozen=True)
class Settings:
    """Settings of an adaptation. Momentum, first step size and the range of the weights are the paper's.

    gradient: "through" the top network too, or with the top network's output "held" (equation 5).
    learning_rate: of the summed error. momentum: in [0, 1). clip: weights stay in [-clip, clip].
    batch: stacks in a step; an epoch passes once through the recording, from its start.
    dropout: of the bottom network's hidden units, in [0, 1).
    fall: adaptation has settled if the purity error is at most this share of that before the first epoch, in [0, 1).
    tolerance, patience: it has also settled if the error does not fall by this share in `patience` epochs. By default
        the first rise ends it: a top network that leads the bottom network astray makes the error rise before it falls.
    until_settled: whether adaptation ends when it has settled; otherwise it takes all epochs.
    """

    gradient: str = THROUGH
    learning_rate: float = 1e-6
    momentum: float = 0.95
    clip: float = 1.0
    batch: int = 128
    dropout: float = 0.0
    fall: float = 0.9
    tolerance: float = 0.0
    patience: int = 1
    until_settled: bool = True


@dataclass
class Adaptation:
    """The result of an adaptation.

    model: an adapted copy. epoch: the number of epochs that it is adapted for. reason: why adaptation ended.
    purity: the purity error before the first epoch and after each, |Y - U|^2 / |Y|^2, where Y is the bottom network's
    output and U the top network's output on it.
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
    """Train the bottom network on a recording so that the top network reproduces its output.

    No clean signal is needed. Adaptation ends after `epochs` epochs, or when the purity error has fallen by a tenth
    or rises (`settled`). The error is relative to the output's energy, so a softer output is not purer.

    On a GPU an epoch is one CUDA graph, captured once.

    Args:
        model: a trained model with its spectrogram; not changed. The adapted copy is float32.
        audio: (T,) or (T, channels), float; all channels are used. It is scaled to the level of the training by the
            gain of the adapted model's spectrogram.
        rate: sampling rate of the audio in Hz.
        epochs: maximum number of epochs, 0 or more; 0 adapts the level only.
        keep_best: whether to return the model with the lowest purity error instead of the last.
        watch: a function that is called before the first epoch and after each with the number of epochs, the purity
            error and the model, which it must not change.

    Raises UserError if a setting is out of range, the model has no spectrogram, the audio is silent or not finite, or
    the error becomes NaN or infinite.

    Kim & Smaragdis 2015, section 2.3 and equation 5.
    """
    settings = settings or Settings()
    model = unwrapped(model, "adapt")
    _check(model, epochs, settings)
    adapted, magnitudes = _prepared(model, audio, rate)
    result, loop = Adaptation(adapted), _Loop(adapted, magnitudes, settings)
    best, error = None, loop.measure()
    for epoch in range(epochs + 1):
        result.purity.append(error)
        if not math.isfinite(error):
            raise UserError(
                f"adapt: the purity error is {error} after {epoch} epochs; try a smaller learning_rate, now "
                f"{settings.learning_rate:g}"
            )
        if watch:
            watch(epoch, error, adapted)
        if not keep_best:
            result.epoch = epoch
        elif error == min(result.purity):
            result.epoch, best = epoch, loop.weights()
        result.reason = settled(result.purity, settings) if settings.until_settled else ""
        if not result.reason and epoch == epochs:
            result.reason = f"{epochs} epochs are done"
        if result.reason:
            break
        error = loop.epoch()
    if best is not None:
        loop.restore(best)
    return result


class _Loop:
    """The training of the bottom network on a recording's magnitudes (channels, N, H)."""

    def __init__(self, model: AdaptiveDenoisingAutoencoder, magnitudes: Tensor, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.around, self.frames = model.context // 2, magnitudes.shape[1]
        self.padded = F.pad(magnitudes, (0, 0, self.around, self.around))
        self.parameters: dict[str, Tensor] = dict(model.bottom.named_parameters())
        options = {name: getattr(settings, name) for name in ("learning_rate", "momentum", "clip")}
        self.optimizer = Optimizer("clipped_sgd", self.parameters, options)
        self.sums = magnitudes.new_zeros(2)  # |Y - U|^2 and |Y|^2
        self.graph: torch.cuda.CUDAGraph | None = None
        self.step = torch.tensor(model.step, device=magnitudes.device)  # for dropout, which differs in every step
        self.captured = magnitudes.is_cuda

    def epoch(self) -> float:
        """Train one epoch; return the purity error after it."""
        if not self.captured:
            self._steps()
            return self.measure()
        self.graph = self.graph or self._capture()
        self.graph.replay()
        return self._ratio()

    def measure(self) -> float:
        """Return the purity error."""
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
            error, _ = self.model.purity_error(block, self.settings.gradient, self.settings.dropout, self.step)
            error.backward()
            self.optimizer.step(self.model.step)
            self.model.step += 1
            self.step += 1
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
        """Yield stacks (batch, C * H), channel by channel in order of time."""
        for channel in self.padded:
            for start in range(0, self.frames, self.settings.batch):
                count = min(self.settings.batch, self.frames - start)
                yield stack_inner_frames(channel[None, start : start + count + 2 * self.around], self.model.context)[0]

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Capture an epoch and its measure as a graph, after a trial whose effects are undone."""
        before, step = self.weights(), self.model.step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._steps()
            self._measure()
        torch.cuda.current_stream().wait_stream(side)
        self.restore(before)
        for state in self.optimizer.tensors().values():
            state.zero_()
        self.model.step = step
        self.step.fill_(step)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._steps()
            self._measure()
        return graph


def _prepared(
    model: AdaptiveDenoisingAutoencoder, audio: ArrayLike, rate: int
) -> tuple[AdaptiveDenoisingAutoencoder, Tensor]:
    """Return a copy of the model with the recording's gain, and the magnitudes of the recording at that gain."""
    samples = columns_of(audio, "adapt").astype(np.float32, copy=False)
    require_finite(samples, rate, "adapt")
    spectrogram = model.spectrogram
    if spectrogram is None:
        raise UserError("adapt: the model has no spectrogram; set model.spectrogram to that of its training")
    resampled = resample(samples, rate, spectrogram.rate)
    magnitudes = np.stack([spectrogram.magnitude(np.ascontiguousarray(channel)) for channel in resampled.T])
    loudness = float(np.sqrt(np.mean(magnitudes**2, dtype=np.float64))) if magnitudes.size else 0.0
    if not loudness:
        raise UserError("adapt: the recording is silent; denoise it without adaptation")
    gain = float(model.level) / loudness if model.level > 0 else 1.0
    adapted = copy.deepcopy(model).float()
    adapted.spectrogram = replace(spectrogram, gain=spectrogram.gain * gain)
    return adapted, torch.from_numpy(magnitudes * np.float32(gain)).to(model.level.device)


def settled(purity: Sequence[float], settings: Settings) -> str:
    """Return why adaptation has settled; an empty text if it has not.

    The purity error keeps falling long after the output has become worse. The error of the clean signals of training is
    no mark to stop at, because a top network reproduces the smooth outputs of the bottom network better than clean
    speech.

    Args:
        purity: the purity errors before the first epoch and after each.
    """
    if len(purity) > 1 and purity[-1] <= settings.fall * purity[0]:
        return f"the purity error has fallen to {settings.fall:.0%} of {purity[0]:.4g}"
    earlier = purity[: -settings.patience]
    if earlier and min(purity[-settings.patience :]) > (1 - settings.tolerance) * min(earlier):
        return f"no less error for {settings.patience} epoch{'s' if settings.patience > 1 else ''}"
    return ""


def _check(model: AdaptiveDenoisingAutoencoder, epochs: int, settings: Settings) -> None:
    if not isinstance(model, AdaptiveDenoisingAutoencoder):
        raise UserError(f"adapt: a {type(model).__name__} cannot adapt; train a model with --model adaptive-dae")
    if settings.gradient not in GRADIENTS:
        raise UserError(f"adapt: gradient is {settings.gradient!r}; it must be {' or '.join(GRADIENTS)}")
    if epochs < 0 or settings.batch < 1 or settings.patience < 1:
        raise UserError(
            f"adapt: epochs {epochs}, batch {settings.batch} and patience {settings.patience}; epochs must be "
            "at least 0, the others at least 1"
        )
    for name in ("learning_rate", "clip"):
        if not 0 < getattr(settings, name) < math.inf:
            raise UserError(f"adapt: {name} is {getattr(settings, name)}; it must be above 0")
    for name in ("momentum", "dropout", "fall", "tolerance"):
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(f"adapt: {name} is {getattr(settings, name)}; it must be from 0 up to, not including, 1")
