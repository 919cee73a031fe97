"""The text of claims.md: claims with verdicts, conditions of the run, and the final scores of each model."""

from collections.abc import Mapping, Sequence

from ..claims import Claim, claims_table
from .scores import Curves, mean, select


def claims_markdown(claims: Sequence[Claim], conditions: Mapping[str, str], curves: Sequence[Curves]) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`.
        conditions: lines that describe the run.
        curves: of all models.
    """
    lines = [
        "# Lusterman 2016, figures 5 to 22: the claims and this run",
        "",
        *conditions.values(),
        "",
        *claims_table(claims),
    ]
    lines += [
        "",
        "## Final scores",
        "",
        "Means over the seeds. Loss: the last 200 steps, on each system's own scale. Converged: the step from which "
        "less than a tenth of the fall of the loss is left. MSE: of peak-normalised signals, the mean of the last five "
        "measurements. Gain, SI-SDR and SDR: of the example after training, in dB.",
        "",
        "| system | SNR (dB) | loss | converged | MSE | SNR gain | SI-SDR | SDR | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for system in dict.fromkeys(c.system for c in curves):
        for snr in sorted({c.snr for c in select(curves, system)}):
            lines.append(_row(system, snr, select(curves, system, snr)))
    return "\n".join(lines) + "\n"


def _row(system: str, snr: float, curves: Sequence[Curves]) -> str:
    final = [f"{sum(c.final[score] for c in curves) / len(curves):.1f}" for score in ("snr_gain", "si_sdr", "sdr")]
    cells = [
        system,
        f"{snr:+g}",
        f"{mean(curves, 'settled_loss'):.3g}",
        f"{mean(curves, 'converged'):.0f}",
        f"{mean(curves, 'settled_mse'):.3g}",
        *final,
        f"{mean(curves, 'seconds'):.0f}",
    ]
    return f"| {' | '.join(cells)} |"
