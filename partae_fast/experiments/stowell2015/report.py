"""What came out, as Markdown for people: the claims with their verdicts, the conditions, and the figure's numbers."""

from collections.abc import Mapping, Sequence

from .claims import CONDITIONS, Claim, curve, level
from .members import SHARES
from .scores import PARTLY_CLEAN, REFERENCES, SIGNAL, TRULY_CLEAN, UNTOUCHED, Row, mean_over_noises


def report(claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The text of claims.md.

    Args:
        claims: as `judge` gives them. conditions: lines that say what was run. rows: of all models, see `scores`.

    Stowell & Turner 2015, section 4.
    """
    lines = [
        "# Stowell & Turner 2015, figure 6: the claims and this run",
        "",
        *conditions.values(),
        "",
        "| | claim | verdict | figures | rule |",
        "|---|---|---|---|---|",
        *(f"| {c.letter} | {c.claim} | **{verdict(c)}** | {c.figures} | {c.rule} |" for c in claims),
        "",
        "SNRs are of magnitudes, in dB, over 128 crops from times that were not trained on; rules use means over the "
        "noises. The gain is the foreground's SNR against the truly clean less the DAE's. The partitioned model's "
        "signal is what its foreground reconstructs; at 0 %, where there is none, it is the whole reconstruction.",
    ]
    for condition in CONDITIONS:
        lines += ["", f"## {condition} noise: SNR in dB", "", *_numbers(rows, condition)]
    return "\n".join(lines) + "\n"


def verdict(claim: Claim) -> str:
    return "holds" if claim.holds else "does not hold"


def _numbers(rows: Sequence[Row], condition: str) -> list[str]:
    """A row for each method and share: its signal against each reference."""
    lines = ["| method | share % | " + " | ".join(REFERENCES) + " |", "|---|---:|" + "---:|" * len(REFERENCES)]
    none = {"method": UNTOUCHED, "condition": condition}
    untouched = [mean_over_noises(rows, **none, reference=reference) for reference in (PARTLY_CLEAN, TRULY_CLEAN)]
    lines.append(f"| none: the input | | | {untouched[0]:.1f} | {untouched[1]:.1f} |")
    dae = " | ".join(f"{level(rows, condition, reference):.1f}" for reference in REFERENCES)
    lines.append(f"| DAE | | {dae} |")
    curves = [curve(rows, condition, SIGNAL, reference) for reference in REFERENCES]
    for share in SHARES:
        lines.append(f"| partitioned | {share:g} | " + " | ".join(f"{found[share]:.1f}" for found in curves) + " |")
    return lines
