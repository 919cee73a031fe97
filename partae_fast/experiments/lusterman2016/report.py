"""What came out, as Markdown for people: the claims with their verdicts, the conditions, and where each run came to."""

from collections.abc import Mapping, Sequence

from ..claims import Claim, table
from .curves import Curves, mean, of


def report(claims: Sequence[Claim], conditions: Mapping[str, str], curves: Sequence[Curves]) -> str:
    """The text of claims.md.

    Args:
        claims: as `judge` gives them. conditions: lines that say what was run. curves: of all models.
    """
    lines = ["# Lusterman 2016, figures 5 to 22: the claims and this run", "", *conditions.values(), "", *table(claims)]
    lines += [
        "",
        "## Where each model came to",
        "",
        "Means over the seeds. Loss: of the last 200 steps, on each system's own scale. Converged: the step from which "
        "less than a tenth of its fall is left. MSE: of peak-normalised signals, the mean of the last five measures. "
        "Gain, SI-SDR and SDR: of the example at the end, in dB.",
        "",
        "| system | SNR (dB) | loss | converged | MSE | SNR gain | SI-SDR | SDR | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for system in dict.fromkeys(c.system for c in curves):
        for snr in sorted({c.snr for c in of(curves, system)}):
            lines.append(_row(system, snr, of(curves, system, snr)))
    return "\n".join(lines) + "\n"


def _row(system: str, snr: float, found: Sequence[Curves]) -> str:
    ends = [f"{sum(c.final[what] for c in found) / len(found):.1f}" for what in ("snr_gain", "si_sdr", "sdr")]
    cells = [
        system,
        f"{snr:+g}",
        f"{mean(found, 'settled_loss'):.3g}",
        f"{mean(found, 'converged'):.0f}",
        f"{mean(found, 'settled_mse'):.3g}",
        *ends,
        f"{mean(found, 'seconds'):.0f}",
    ]
    return f"| {' | '.join(cells)} |"
