"""What came out, as Markdown for people: the claims with their verdicts, the conditions, and the figure's numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...models.adaptive_dae import HELD, THROUGH
from ...models.nmf import DIVERGENCES
from ..claims import Claim, table
from .claims import gradients_compared, peak
from .curves import ADAPTED, INPUT, MEASURES, Panel, Row, curve, mean, nmf_named


def report(claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row], panels: Sequence[Panel]) -> str:
    """The text of claims.md.

    Args:
        claims: as `judge` gives them. conditions: lines that say what was run. rows: of all panels, see `curves`.
    """
    lines = ["# Kim & Smaragdis 2015, figure 3: the claims and this run", "", *conditions.values()]
    if claims:
        lines += ["", *table(claims), "", gradients_compared(rows)]
    lines += [
        "",
        "dB by BSS Eval, filters of 512 taps; means over all tests. Rules are of speech, panels a to d, and of the "
        "gradient through the top network.",
    ]
    for panel in panels:
        lines += ["", f"## {panel}", "", *_numbers(rows, panel)]
    return "\n".join(lines) + "\n"


def _numbers(rows: Sequence[Row], panel: Panel) -> list[str]:
    lines = ["| | SDR | SIR | SAR |", "|---|---:|---:|---:|"]

    def add(name: str, values: Sequence[float]) -> None:
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")

    own = {"panel": panel.letter}
    methods = [INPUT, *(nmf_named(kind, d) for kind in ("supervised", "semi-supervised") for d in DIVERGENCES)]
    for method in methods:
        add(method, [mean(rows, m, method=method, **own) for m in MEASURES])
    add("not adapted", [curve(rows, panel, m)[0] for m in MEASURES])
    for gradient in (THROUGH, HELD):
        found = {measure: curve(rows, panel, measure, gradient) for measure in MEASURES}
        best, last = peak(rows, panel, gradient)[0], max(found["sdr"])
        settled = {"method": ADAPTED[gradient], "settled": True, **own}
        epochs = [row["epoch"] for row in rows if all(row[key] == value for key, value in settled.items())]
        name = ADAPTED[gradient]
        add(f"{name}: SDR's peak, {best} epochs", [found[m][best] for m in MEASURES])
        add(f"{name}: settled, median {np.median(epochs):g} epochs", [mean(rows, m, **settled) for m in MEASURES])
        add(f"{name}: {last} epochs", [found[m][last] for m in MEASURES])
    return lines
