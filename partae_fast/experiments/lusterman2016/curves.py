"""What one run of training leaves: its loss, and the error of what it denoises, over steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOSS_EVERY, MSE_EVERY = 10, 50  # steps that a loss is the mean of; steps from a measure of the MSE to the next
_SETTLED = 5  # measures of the MSE, and _SETTLED_LOSSES losses, whose mean is where a run has come to
_SETTLED_LOSSES = 20
_SMOOTHED = 5  # losses, in looking for the step of convergence
_LEFT = 0.1  # of the fall of the loss, at the step of convergence


@dataclass(frozen=True)
class Curves:
    """A model's training.

    Attributes:
        system: its name, one of `members.SYSTEMS` or of `members.EXTRAS`.
        snr: dB of the signal to the noise. seed: of weights and batches.
        loss: its mean over each `LOSS_EVERY` steps.
        mse: mean squared error between the peak-normalised clean example and the denoised one, every `MSE_EVERY` steps,
            the first before any.
        final: SNR gain, SI-SDR and SDR of the denoised example at the end, in dB, by name.
        seconds: that training took, measures left out.
    """

    system: str
    snr: float
    seed: int
    loss: list[float]
    mse: list[float]
    final: dict[str, float]
    seconds: float

    @property
    def name(self) -> str:
        """What tells it from the others of a run."""
        return name_of(self.system, self.snr, self.seed)

    @property
    def settled_loss(self) -> float:
        """The loss at the end: the mean of the last 200 steps."""
        return float(np.mean(self.loss[-_SETTLED_LOSSES:]))

    @property
    def settled_mse(self) -> float:
        """The MSE at the end: the mean of the last five measures."""
        return float(np.mean(self.mse[-_SETTLED:]))

    @property
    def converged(self) -> int:
        """The step from which less than a tenth of the loss's fall is left, the loss being smoothed over 50 steps.

        The fall is from the loss of the first steps to that of the last ones.
        """
        weights = np.full(_SMOOTHED, 1 / _SMOOTHED)
        smooth = np.convolve(self.loss, weights, mode="valid")
        first, last = self.loss[0], self.settled_loss
        under = smooth <= last + _LEFT * (first - last)
        return LOSS_EVERY * (int(np.argmax(under)) + _SMOOTHED) if under.any() else LOSS_EVERY * len(self.loss)


def name_of(system: str, snr: float, seed: int) -> str:
    """The name of a run among others, fit for a file."""
    return f"{system.replace(' ', '-')}_{snr:+g}dB_seed{seed}"


def of(curves: Iterable[Curves], system: str, snr: float | None = None) -> list[Curves]:
    """Those of a system, and of an SNR."""
    return [c for c in curves if c.system == system and snr in (None, c.snr)]


def mean(curves: Sequence[Curves], what: str) -> float:
    """The mean of an attribute, such as "settled_mse", over the seeds."""
    return float(np.mean([getattr(c, what) for c in curves]))


def band(
    curves: Sequence[Curves], what: str
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Mean, least and largest of "loss" or "mse" over the seeds, a value for each point."""
    values = np.array([getattr(c, what) for c in curves])
    return values.mean(0), values.min(0), values.max(0)
