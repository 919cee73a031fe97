"""The paper's claims, each with a rule that was set before any model was trained, and what this run says of them."""

from collections.abc import Sequence

import numpy as np

from ...models.adaptive_dae import GRADIENTS, HELD, THROUGH
from ..claims import Claim
from .curves import ADAPTED, MEASURES, SPEECH, Panel, Row, curve, mean

# dB: what counts as a rise of SIR, as a peak of SDR, and as a fall of SDR that is too much.
RISE, PEAK, FALL = 1.0, 0.1, 0.5
KINDS_OF_FOUR = 0.75  # share of the noise kinds on which adaptation must be worth it


def judge(rows: Sequence[Row]) -> list[Claim]:
    """The verdict on each claim, from the rows of all panels of speech; see `curves`.

    Means are over tests. Figures are of the gradient through the top network but where both are compared.

    Kim & Smaragdis 2015, section 3 and figure 3.
    """
    return [_sir_rises(rows), _sar_falls_slower(rows), _sdr_peaks(rows), _most_at_worst(rows), _worth_it(rows)]


def change(rows: Sequence[Row], panel: Panel, measure: str) -> float:
    """From before adaptation to after the last epoch, dB."""
    found = list(curve(rows, panel, measure).values())
    return found[-1] - found[0]


def peak(rows: Sequence[Row], panel: Panel, gradient: str = THROUGH) -> tuple[int, float]:
    """The epoch after which SDR is highest, and how many dB it is then above that before adaptation."""
    found = curve(rows, panel, "sdr", gradient)
    best = max(found, key=lambda epoch: found[epoch])
    return best, found[best] - found[0]


def where_settled(rows: Sequence[Row], measure: str, gradient: str = THROUGH, **where: str) -> float:
    """Mean gain, dB, from before adaptation to where the rule that needs no clean signal ends it."""
    own = {"method": ADAPTED[gradient], **where}
    return mean(rows, measure, settled=True, **own) - mean(rows, measure, epoch=0, **own)


def gradients_compared(rows: Sequence[Row]) -> str:
    """Which gradient does better, in words: at the peak of each panel's SDR, and where adaptation settles."""
    peaks = {g: float(np.mean([peak(rows, panel, g)[1] for panel in SPEECH])) for g in GRADIENTS}
    ends = {g: where_settled(rows, "sdr", g) for g in GRADIENTS}

    def better(found: dict[str, float]) -> str:
        return "through the top network" if found[THROUGH] > found[HELD] else "with U held"

    return (
        f"At the peaks of SDR the gradient {better(peaks)} does better: mean gain {peaks[THROUGH]:+.2f} dB through, "
        f"{peaks[HELD]:+.2f} dB with U held. Where it settles, {better(ends)}: {ends[THROUGH]:+.2f} dB through, "
        f"{ends[HELD]:+.2f} dB held (SIR {where_settled(rows, 'sir', THROUGH):+.2f} and "
        f"{where_settled(rows, 'sir', HELD):+.2f} dB, SAR {where_settled(rows, 'sar', THROUGH):+.2f} and "
        f"{where_settled(rows, 'sar', HELD):+.2f} dB)."
    )


def _sir_rises(rows: Sequence[Row]) -> Claim:
    found = {panel: change(rows, panel, "sir") for panel in SPEECH}
    return Claim(
        "a",
        "SIR rises with adaptation",
        f"In every panel SIR is after the last epoch at least {RISE:g} dB above that before the first",
        all(rise >= RISE for rise in found.values()),
        _listed(found),
    )


def _sar_falls_slower(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for panel in SPEECH:
        sir, sar = change(rows, panel, "sir"), change(rows, panel, "sar")
        holds = holds and -sir < sar < 0
        figures.append(f"{panel} SAR {sar:+.2f}, SIR {sir:+.2f} dB")
    rule = "In every panel SAR is after the last epoch below that before the first, by less than SIR is above"
    return Claim("b", "SAR falls, more slowly than SIR rises", rule, holds, "; ".join(figures))


def _sdr_peaks(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for panel in SPEECH:
        epoch, gain = peak(rows, panel)
        last = max(curve(rows, panel, "sdr"))
        holds = holds and gain >= PEAK and epoch < last
        figures.append(f"{panel} {gain:+.2f} dB after {epoch} of {last} epochs")
    rule = f"In every panel SDR is highest before the last epoch, at least {PEAK:g} dB above that before the first"
    return Claim("c", "SDR peaks after some epochs", rule, holds, "; ".join(figures))


def _most_at_worst(rows: Sequence[Row]) -> Claim:
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
    found = {kind: {m: where_settled(rows, m, noise=kind) for m in MEASURES} for kind in kinds}
    good = [kind for kind, gain in found.items() if gain["sir"] >= RISE and gain["sdr"] >= -FALL]
    return Claim(
        "e",
        "Adaptation is worth it in noise that was never learned from, with no clean signal to stop it by",
        f"Where adaptation settles SIR is at least {RISE:g} dB above and SDR at most {FALL:g} dB below that before it, "
        "means over panels, in at least three quarters of the noise kinds",
        len(good) >= KINDS_OF_FOUR * len(kinds),
        "; ".join(f"{kind} SIR {gain['sir']:+.2f}, SDR {gain['sdr']:+.2f} dB" for kind, gain in found.items()),
    )


def _listed(found: dict[Panel, float]) -> str:
    return "; ".join(f"{panel} {gain:+.2f} dB" for panel, gain in found.items())
