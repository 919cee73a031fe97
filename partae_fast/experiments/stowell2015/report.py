"""What came out, as Markdown for people: the claims with their verdicts, the conditions, and the figure's numbers."""

from collections.abc import Mapping, Sequence

from ...sweeps.grid import name_of
from ..claims import Claim, table
from .claims import CONDITIONS
from .members import DENOISING, PARTITIONED, SHARES
from .scores import (
    INPUT,
    PARTLY_CLEAN,
    REFERENCES,
    SIGNAL,
    TRULY_CLEAN,
    UNTOUCHED,
    WHOLE,
    Row,
    mean_over_noises,
)


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
        *table(claims),
        "",
        "SNRs are of magnitudes, in dB, over 128 crops from times that were not trained on; rules use means over the "
        "noises. Silence would score 0 dB. SI-SDR is the SNR at the best level: less sound alone gains nothing there. "
        "The gain is the foreground's SNR against the truly clean less the DAE's. The partitioned model's signal is "
        "what its foreground reconstructs; at 0 %, where there is none, it is the whole reconstruction.",
    ]
    broken = [f"{name} ({snr:.1f} dB)" for name, snr in broken_out(rows)]
    if broken:
        said = f"Farther from what they were trained for than silence is: {', '.join(broken)}."
        lines += ["", f"{said} A verdict that leans on such a model says nothing of its method."]
    for condition in CONDITIONS:
        lines += ["", f"## {condition} noise: dB", "", *_numbers(rows, condition)]
    return "\n".join(lines) + "\n"


def broken_out(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Models whose output is below 0 dB against their own target: name and dB. Their training broke out."""
    target = {PARTITIONED: INPUT, DENOISING: PARTLY_CLEAN}
    found = [r for r in rows if r["part"] == WHOLE and target.get(r["method"]) == r["reference"] and r["snr_db"] < 0]
    settings = ("method", "condition", "intrinsic", "extrinsic", "share")
    return [(name_of({key: row[key] for key in settings}), row["snr_db"]) for row in found]


def _numbers(rows: Sequence[Row], condition: str) -> list[str]:
    """A row for each method and share: its signal against each reference."""
    columns = [*((reference, "snr_db") for reference in REFERENCES), (TRULY_CLEAN, "si_sdr_db")]
    kinds = [("the input", UNTOUCHED, None, REFERENCES[1:]), ("DAE", DENOISING, None, REFERENCES)]
    kinds += [(f"partitioned, {share:g} %", PARTITIONED, share, REFERENCES) for share in SHARES]
    lines = ["| | " + " | ".join(REFERENCES) + f" | {TRULY_CLEAN}, SI-SDR |", "|---|" + "---:|" * len(columns)]
    for name, method, share, known in kinds:
        where = {"condition": condition, "method": method, "share": share, "part": SIGNAL}
        found = [
            f"{mean_over_noises(rows, measure, reference=reference, **where):.1f}" if reference in known else ""
            for reference, measure in columns
        ]
        lines.append(f"| {name} | " + " | ".join(found) + " |")
    return lines
