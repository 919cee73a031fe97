"""The text of claims.md: claims with verdicts, conditions of the run, and the numbers of the figure."""

from collections.abc import Mapping, Sequence

from ...sweeps.grid import name_of
from ..claims import claims_table
from ..intervals import mean_text
from .claims import CONDITIONS, DEFAULT_SHARE, check_claims, dae_snr, paired_gains
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
    configurations,
    mean_over_noises,
)

_LISTED = 20  # models that diverged


def claims_markdown(conditions: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return the text of claims.md: the claims of the first configuration, and all configurations beside each other.

    Args:
        conditions: lines that describe the run.
        rows: of all models; see `scores`.

    Stowell & Turner 2015, section 4.
    """
    by_configuration = configurations(rows)
    (optimizer, penalty), first = next(iter(by_configuration.items()))
    lines = [
        "# Stowell & Turner 2015, figure 6: the claims and this run",
        "",
        *conditions.values(),
        "",
        f"The claims with {optimizer} and a penalty of {penalty:g}:",
        "",
        *claims_table(check_claims(first)),
        "",
        "## Optimizers and penalties",
        "",
        *_configuration_table(by_configuration),
        "",
        "SNRs are of magnitudes, in dB, over 128 crops of the validation data; the rules use means over the noises. "
        "Silence scores 0 dB. SI-SDR is the SNR at the best level, so a lower level alone does not raise it. The gain "
        "is the SNR of the foreground minus that of the DAE, both against the truly clean signal; intervals are 95 % "
        "bootstraps over noises and seeds. The signal of the "
        "partitioned model is the reconstruction of its foreground; at 0 % it is the whole reconstruction.",
    ]
    diverged = [f"{name} ({snr:.1f} dB)" for name, snr in diverged_models(rows)]
    if len(diverged) > _LISTED:
        diverged = [*diverged[:_LISTED], f"and {len(diverged) - _LISTED} others"]
    if diverged:
        lines += [
            "",
            f"These models score below silence against their own target: {', '.join(diverged)}. Their training "
            "diverged, so a verdict that depends on them says nothing about the method.",
        ]
    for (optimizer, penalty), of_configuration in by_configuration.items():
        for condition in CONDITIONS:
            lines += ["", f"## {optimizer}, penalty {penalty:g}, {condition} noise: dB", ""]
            lines += _score_table(of_configuration, condition)
    return "\n".join(lines) + "\n"


def diverged_models(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Return name and SNR of the models whose output is below 0 dB against their own target."""
    targets = {PARTITIONED: INPUT, DENOISING: PARTLY_CLEAN}
    diverged = [
        row
        for row in rows
        if row["part"] == WHOLE and targets.get(row["method"]) == row["reference"] and row["snr_db"] < 0
    ]
    settings = ("method", "condition", "intrinsic", "extrinsic", "optimizer", "seed", "share", "penalty")
    return [(name_of({key: row[key] for key in settings if key in row}), row["snr_db"]) for row in diverged]


def _configuration_table(by_configuration: Mapping[tuple[str, float], Sequence[Row]]) -> list[str]:
    """Return a table with a row for each configuration: verdicts, gains, and the DAE against its own target."""
    shares = (50.0, DEFAULT_SHARE)
    heads = [f"gain at {share:g} %, {condition}" for condition in CONDITIONS for share in shares]
    heads += [f"DAE against its target, {condition}" for condition in CONDITIONS]
    lines: list[str] = []
    for (optimizer, penalty), rows in by_configuration.items():
        claims = check_claims(rows)
        if not lines:
            letters = " | ".join(claim.letter for claim in claims)
            lines = [
                f"| optimizer | penalty | {letters} | {' | '.join(heads)} |",
                "|---|---:|" + "---|" * len(claims) + "---:|" * len(heads),
            ]
        verdicts = ["**yes**" if claim.holds else "no" for claim in claims]
        gained = [mean_text(paired_gains(rows, condition, share)) for condition in CONDITIONS for share in shares]
        dae = [f"{dae_snr(rows, condition, PARTLY_CLEAN):.1f}" for condition in CONDITIONS]
        lines.append(f"| {optimizer} | {penalty:g} | " + " | ".join([*verdicts, *gained, *dae]) + " |")
    return lines


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
