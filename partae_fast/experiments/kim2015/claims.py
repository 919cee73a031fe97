"""The claims of Kim & Smaragdis 2015, with their rules and verdicts."""

from collections.abc import Sequence

import numpy as np

from ...models.adaptive_dae import GRADIENTS, HELD, THROUGH
from ..claims import Claim
from .scores import ADAPTED, MEASURES, SPEECH, Panel, Row, curve, mean

# dB: the smallest rise of SIR, the smallest peak of SDR, and the largest acceptable fall of SDR.
MIN_RISE, MIN_PEAK, MAX_FALL = 1.0, 0.1, 0.5
MIN_KINDS = 0.75  # share of the noise kinds in which adaptation must be worth it


def check_claims(rows: Sequence[Row]) -> list[Claim]:
    """Check each claim against the rows of the speech panels; see `scores`.

    Means are over tests. The figures are of the gradient through the top network.

    Kim & Smaragdis 2015, section 3 and figure 3.
    """
    return [_sir_rises(rows), _sar_falls_slower(rows), _sdr_peaks(rows), _largest_gain(rows), _worth_it(rows)]


def change(rows: Sequence[Row], panel: Panel, measure: str) -> float:
    """Return the difference of a measure between the last epoch and the start of adaptation, in dB."""
    values = list(curve(rows, panel, measure).values())
    return values[-1] - values[0]


def peak(rows: Sequence[Row], panel: Panel, gradient: str = THROUGH) -> tuple[int, float]:
    """Return the epoch of the highest SDR, and its gain over the start of adaptation in dB."""
    sdr = curve(rows, panel, "sdr", gradient)
    best = max(sdr, key=lambda epoch: sdr[epoch])
    return best, sdr[best] - sdr[0]


def settled_gain(rows: Sequence[Row], measure: str, gradient: str = THROUGH, **key: str) -> float:
    """Return the mean gain in dB from the start of adaptation to the epoch at which it settles.

    Adaptation settles by a rule that needs no clean signal; see `partae_fast.training.adapt`. `key` selects rows.
    """
    key = {"method": ADAPTED[gradient], **key}
    return mean(rows, measure, settled=True, **key) - mean(rows, measure, epoch=0, **key)


def compare_gradients(rows: Sequence[Row]) -> str:
    """Return a comparison of both gradients as text: at the peaks of SDR, and where adaptation settles."""
    peaks = {g: float(np.mean([peak(rows, panel, g)[1] for panel in SPEECH])) for g in GRADIENTS}
    ends = {g: settled_gain(rows, "sdr", g) for g in GRADIENTS}

    def better(gains: dict[str, float]) -> str:
        return "the gradient through the top network" if gains[THROUGH] > gains[HELD] else "the gradient with U held"

    return (
        f"At the peaks of SDR, {better(peaks)} is better: mean gain {peaks[THROUGH]:+.2f} dB through, "
        f"{peaks[HELD]:+.2f} dB with U held. Where adaptation settles, {better(ends)} is better: {ends[THROUGH]:+.2f} "
        f"dB through, {ends[HELD]:+.2f} dB held (SIR {settled_gain(rows, 'sir', THROUGH):+.2f} and "
        f"{settled_gain(rows, 'sir', HELD):+.2f} dB, SAR {settled_gain(rows, 'sar', THROUGH):+.2f} and "
        f"{settled_gain(rows, 'sar', HELD):+.2f} dB)."
    )


def _sir_rises(rows: Sequence[Row]) -> Claim:
    rises = {panel: change(rows, panel, "sir") for panel in SPEECH}
    return Claim(
        "a",
        "SIR rises with adaptation",
        f"In every panel, SIR after the last epoch is at least {MIN_RISE:g} dB above SIR before the first",
        all(rise >= MIN_RISE for rise in rises.values()),
        _listed(rises),
    )


def _sar_falls_slower(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for panel in SPEECH:
        sir, sar = change(rows, panel, "sir"), change(rows, panel, "sar")
        holds = holds and -sir < sar < 0
        figures.append(f"{panel} SAR {sar:+.2f}, SIR {sir:+.2f} dB")
    rule = "In every panel, SAR falls from the first to the last epoch, by less than SIR rises"
    return Claim("b", "SAR falls, more slowly than SIR rises", rule, holds, "; ".join(figures))


def _sdr_peaks(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for panel in SPEECH:
        epoch, gain = peak(rows, panel)
        last = max(curve(rows, panel, "sdr"))
        holds = holds and gain >= MIN_PEAK and epoch < last
        figures.append(f"{panel} {gain:+.2f} dB after {epoch} of {last} epochs")
    rule = f"In every panel, SDR is highest before the last epoch, at least {MIN_PEAK:g} dB above SDR before the first"
    return Claim("c", "SDR peaks after some epochs", rule, holds, "; ".join(figures))


def _largest_gain(rows: Sequence[Row]) -> Claim:
    gains = {panel: peak(rows, panel)[1] for panel in SPEECH}
    best = max(gains, key=lambda panel: gains[panel])
    return Claim(
        "d",
        "SDR gains most at -5 dB with five frames",
        "The gain of SDR at its peak is larger in panel d than in any other",
        best == SPEECH[-1],
        _listed(gains),
    )


def _worth_it(rows: Sequence[Row]) -> Claim:
    kinds = list(dict.fromkeys(row["noise"] for row in rows))
    gains = {kind: {m: settled_gain(rows, m, noise=kind) for m in MEASURES} for kind in kinds}
    good = [kind for kind, gain in gains.items() if gain["sir"] >= MIN_RISE and gain["sdr"] >= -MAX_FALL]
    return Claim(
        "e",
        "Adaptation is worth it in noise that training did not contain, without a clean signal to stop it",
        f"Where adaptation settles, SIR has risen by at least {MIN_RISE:g} dB and SDR has fallen by at most "
        f"{MAX_FALL:g} dB, means over panels, in at least three quarters of the noise kinds",
        len(good) >= MIN_KINDS * len(kinds),
        "; ".join(f"{kind} SIR {gain['sir']:+.2f}, SDR {gain['sdr']:+.2f} dB" for kind, gain in gains.items()),
    )


def _listed(gains: dict[Panel, float]) -> str:
    return "; ".join(f"{panel} {gain:+.2f} dB" for panel, gain in gains.items())
