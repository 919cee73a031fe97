"""The text of claims.md: claims with verdicts, conditions of the run, and the numbers of the figure."""

from collections.abc import Mapping, Sequence

from ...sweeps.grid import name_of
from ..claims import Claim, claims_table
from .claims import CONDITIONS
from .models import DENOISING, PARTITIONED, SHARES
from .scores import (
    INPUT,
    PARTLY_CLEAN,
    REFERENCES,
    SIGNAL,
    TRULY_CLEAN,
    UNPROCESSED,
    WHOLE,
    Row,
    mean_over_noises,
)


def claims_markdown(claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`.
        conditions: lines that describe the run.
        rows: of all models; see `scores`.

    Stowell & Turner 2015, section 4.
    """
    lines = [
        "# Stowell & Turner 2015, figure 6: the claims and this run",
        "",
        *conditions.values(),
        "",
        *claims_table(claims),
        "",
        "SNRs are of magnitudes, in dB, over 128 crops of the validation data; the rules use means over the noises. "
        "Silence scores 0 dB. SI-SDR is the SNR at the best level, so a lower level alone does not raise it. The gain "
        "is the SNR of the foreground minus that of the DAE, both against the truly clean signal. The signal of the "
        "partitioned model is the reconstruction of its foreground; at 0 % it is the whole reconstruction.",
    ]
    diverged = [f"{name} ({snr:.1f} dB)" for name, snr in diverged_models(rows)]
    if diverged:
        lines += [
            "",
            f"These models score below silence against their own target: {', '.join(diverged)}. Their training "
            "diverged, so a verdict that depends on them says nothing about the method.",
        ]
    for condition in CONDITIONS:
        lines += ["", f"## {condition} noise: dB", "", *_score_table(rows, condition)]
    return "\n".join(lines) + "\n"


def diverged_models(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Return name and SNR of the models whose output is below 0 dB against their own target."""
    targets = {PARTITIONED: INPUT, DENOISING: PARTLY_CLEAN}
    diverged = [
        row
        for row in rows
        if row["part"] == WHOLE and targets.get(row["method"]) == row["reference"] and row["snr_db"] < 0
    ]
    settings = ("method", "condition", "intrinsic", "extrinsic", "share")
    return [(name_of({key: row[key] for key in settings}), row["snr_db"]) for row in diverged]


def _score_table(rows: Sequence[Row], condition: str) -> list[str]:
    """Return a table with a row for each method and share: the scores of its signal against each reference."""
    columns = [*((reference, "snr_db") for reference in REFERENCES), (TRULY_CLEAN, "si_sdr_db")]
    methods = [("the input", UNPROCESSED, None, REFERENCES[1:]), ("DAE", DENOISING, None, REFERENCES)]
    methods += [(f"partitioned, {share:g} %", PARTITIONED, share, REFERENCES) for share in SHARES]
    lines = ["| | " + " | ".join(REFERENCES) + f" | {TRULY_CLEAN}, SI-SDR |", "|---|" + "---:|" * len(columns)]
    for name, method, share, references in methods:
        key = {"condition": condition, "method": method, "share": share, "part": SIGNAL}
        cells = [
            f"{mean_over_noises(rows, measure, reference=reference, **key):.1f}" if reference in references else ""
            for reference, measure in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines
