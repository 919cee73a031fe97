"""The text of claims.md: claims with verdicts, conditions of the run, and the final scores of each model."""

from collections.abc import Mapping, Sequence

from ..claims import Claim, claims_table
from .models import PROGRAM, TEXT
from .scores import Curves, input_mse, mean, select

_TITLES = {TEXT: "The claims, as the text says", PROGRAM: "The claims, as the program does"}


def claims_markdown(
    claims: Mapping[str, Sequence[Claim]], conditions: Mapping[str, str], curves: Sequence[Curves]
) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`, by version of the thesis.
        conditions: lines that describe the run.
        curves: of all models.
    """
    lines = [
        "# Lusterman 2016, figures 5 to 22: the claims and this run",
        "",
        *conditions.values(),
    ]
    for version, checked in claims.items():
        lines += ["", f"## {_TITLES[version]}", "", *claims_table(checked)]
    lines += [
        "",
        "## Final scores",
        "",
        "Means over the seeds. Loss: the last 200 steps, on each system's own scale. Converged: the step from which "
        "less than a tenth of the fall of the loss is left. MSE: of peak-normalised signals, the mean of the last five "
        "measurements. Input: the MSE of the noisy example itself; a system with a higher MSE is worse than no system. "
        "Gain, SI-SDR and SDR: of the example after training, in dB.",
        "",
        "| version | system | SNR (dB) | loss | converged | MSE | input | SNR gain | SI-SDR | SDR | s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for version in claims:
        of_version = [c for c in curves if c.version == version]
        for system in dict.fromkeys(c.system for c in of_version):
            for snr in sorted({c.snr for c in select(of_version, system)}):
                lines.append(_row(version, system, snr, select(of_version, system, snr)))
    return "\n".join(lines) + "\n"


def _row(version: str, system: str, snr: float, curves: Sequence[Curves]) -> str:
    final = [f"{sum(c.final[score] for c in curves) / len(curves):.1f}" for score in ("snr_gain", "si_sdr", "sdr")]
    noisy = input_mse(curves)
    cells = [
        version,
        system,
        f"{snr:+g}",
        f"{mean(curves, 'settled_loss'):.3g}",
        f"{mean(curves, 'converged'):.0f}",
        f"{mean(curves, 'settled_mse'):.3g}",
        "" if noisy is None else f"{noisy:.3g}",
        *final,
        f"{mean(curves, 'seconds'):.0f}",
    ]
    return f"| {' | '.join(cells)} |"
