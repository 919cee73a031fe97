"""The claims of Kim & Smaragdis 2015, with their rules and verdicts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...models.adaptive_dae import GRADIENTS, HELD, THROUGH
from ..claims import Claim
from ..intervals import mean_text, seeds_by_cases
from .scores import ADAPTED, SPEECH, Panel, Row, curve, mean

MIN_RISE, MIN_PEAK = 1.0, 0.1  # dB: the smallest rise of SIR, and the smallest peak of SDR
JUDGED = (
    20  # epochs after which SIR and SAR are judged; after more, networks are adapted too far (SDR is below its start)
)


def check_claims(rows: Sequence[Row]) -> list[Claim]:
    """Check each claim against the rows of the speech panels; see `scores`.

    Means are over tests and seeds, and intervals are bootstraps over both. The figures are of the gradient through the
    top network.

    Kim & Smaragdis 2015, section 3 and figure 3.
    """
    return [_sir_rises(rows), _sar_falls_slower(rows), _sdr_peaks(rows), _largest_gain(rows)]


def judged_epoch(rows: Sequence[Row]) -> int:
    """Return the epoch after which SIR and SAR are judged: the last measured one up to `JUDGED`."""
    return max(epoch for epoch in curve(rows, SPEECH[0], "sir") if epoch <= JUDGED)


def changes(rows: Sequence[Row], panel: Panel, measure: str, epoch: int) -> NDArray[np.float64]:
    """Return the change of a measure from the start of adaptation to an epoch, (seeds, tests), in dB."""
    of_panel = {"panel": panel.letter, "method": ADAPTED[THROUGH]}
    selected = [row for row in rows if of_panel.items() <= row.items()]
    start, end = (
        {(row["seed"], (row["voice"], row["noise"])): row[measure] for row in selected if row["epoch"] == e}
        for e in (0, epoch)
    )
    return seeds_by_cases({test: value - start[test] for test, value in end.items()})


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
    epoch = judged_epoch(rows)
    rises = {panel: changes(rows, panel, "sir", epoch) for panel in SPEECH}
    return Claim(
        "a",
        "SIR rises with adaptation",
        f"In every panel, the mean SIR after {epoch} epochs is at least {MIN_RISE:g} dB above that before the first",
        all(bool(np.mean(rise) >= MIN_RISE) for rise in rises.values()),
        "; ".join(f"{panel} {mean_text(rise, 2)} dB" for panel, rise in rises.items()),
    )


def _sar_falls_slower(rows: Sequence[Row]) -> Claim:
    holds, figures, epoch = True, [], judged_epoch(rows)
    for panel in SPEECH:
        sir, sar = (changes(rows, panel, measure, epoch) for measure in ("sir", "sar"))
        holds = holds and bool(-np.mean(sir) < np.mean(sar) < 0)
        figures.append(f"{panel} SAR {mean_text(sar, 2)}, SIR {mean_text(sir, 2)} dB")
    rule = f"In every panel, the mean SAR falls in {epoch} epochs, by less than SIR rises"
    return Claim("b", "SAR falls, more slowly than SIR rises", rule, holds, "; ".join(figures))


def _sdr_peaks(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for panel in SPEECH:
        epoch, gain = peak(rows, panel)
        last = max(curve(rows, panel, "sdr"))
        holds = holds and gain >= MIN_PEAK and epoch < last
        text = mean_text(changes(rows, panel, "sdr", epoch), 2)
        figures.append(f"{panel} {text} dB after {epoch} of {last} epochs")
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


def _listed(gains: dict[Panel, float]) -> str:
    return "; ".join(f"{panel} {gain:+.2f} dB" for panel, gain in gains.items())
