"""The curves of a training run: its loss, and the error of a denoised example, over steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .models import TEXT

LOSS_EVERY, MSE_EVERY = 10, 50  # steps per value of the loss curve; steps between two measurements of the MSE
_SETTLED_MSES, _SETTLED_LOSSES = 5, 20  # values whose mean is the final MSE or loss
_SMOOTHING = 5  # values of the loss curve per value of the smoothed one, in the search for convergence
_REMAINING = 0.1  # share of the fall of the loss that is left at convergence


@dataclass(frozen=True)
class Curves:
    """The curves of one model.

    Attributes:
        system: name of the system; see `models.ModelSpec`.
        snr: of the signal to the noise in dB.
        seed: of weights and batches.
        loss: means over each `LOSS_EVERY` steps.
        mse: mean squared error between the peak-normalised clean and denoised examples, every `MSE_EVERY` steps and
            before the first.
        final: SNR gain, SI-SDR and SDR of the denoised example after training, in dB, by name.
        seconds: of training, without the measurements.
        version: of the thesis, one of `models.VERSIONS`.
        input_mse: that of the noisy example itself; None in runs of earlier versions.
    """

    system: str
    snr: float
    seed: int
    loss: list[float]
    mse: list[float]
    final: dict[str, float]
    seconds: float
    version: str = TEXT
    input_mse: float | None = None

    @property
    def name(self) -> str:
        """The name of the run; see `run_name`."""
        return run_name(self.system, self.snr, self.seed, self.version)

    @property
    def settled_loss(self) -> float:
        """The final loss, the mean of the last 200 steps."""
        return float(np.mean(self.loss[-_SETTLED_LOSSES:]))

    @property
    def settled_mse(self) -> float:
        """The final MSE, the mean of the last five measurements."""
        return float(np.mean(self.mse[-_SETTLED_MSES:]))

    @property
    def converged(self) -> int:
        """The step from which less than a tenth of the fall of the loss is left.

        The loss is smoothed over 50 steps. Its fall is the difference between the loss of the first steps and the
        final loss.
        """
        weights = np.full(_SMOOTHING, 1 / _SMOOTHING)
        smooth = np.convolve(self.loss, weights, mode="valid")
        first, last = self.loss[0], self.settled_loss
        below = smooth <= last + _REMAINING * (first - last)
        return LOSS_EVERY * (int(np.argmax(below)) + _SMOOTHING) if below.any() else LOSS_EVERY * len(self.loss)


def run_name(system: str, snr: float, seed: int, version: str = TEXT) -> str:
    """Return the name of a run, which can be part of a file name."""
    return f"{system.replace(' ', '-')}_{snr:+g}dB_seed{seed}" + ("" if version == TEXT else f"_{version}")


def select(curves: Iterable[Curves], system: str, snr: float | None = None) -> list[Curves]:
    """Return the curves of a system, at one SNR or at all."""
    return [c for c in curves if c.system == system and snr in (None, c.snr)]


def mean(curves: Sequence[Curves], attribute: str) -> float:
    """Return the mean of an attribute, such as "settled_mse", over the seeds."""
    return float(np.mean([getattr(c, attribute) for c in curves]))


def input_mse(curves: Iterable[Curves]) -> float | None:
    """Return the mean MSE of the noisy examples themselves; None if no run has it."""
    values = [c.input_mse for c in curves if c.input_mse is not None]
    return float(np.mean(values)) if values else None


def band(
    curves: Sequence[Curves], measure: str
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Return mean, minimum and maximum over the seeds of "loss" or "mse", a value for each point."""
    values = np.array([getattr(c, measure) for c in curves])
    return values.mean(0), values.min(0), values.max(0)
