"""The text of claims.md: claims with verdicts, conditions of the run, and the numbers of the figure."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...models.adaptive_dae import HELD, THROUGH
from ...models.nmf import DIVERGENCES
from ..claims import Claim, claims_table
from .claims import compare_gradients, peak
from .scores import ADAPTED, INPUT, MEASURES, Panel, Row, curve, mean, nmf_method


def claims_markdown(
    claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row], panels: Sequence[Panel]
) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`.
        conditions: lines that describe the run.
        rows: of all panels; see `scores`.
        panels: to tabulate.
    """
    lines = ["# Kim & Smaragdis 2015, figure 3: the claims and this run", "", *conditions.values()]
    if claims:
        lines += ["", *claims_table(claims), "", compare_gradients(rows)]
    lines += [
        "",
        "Scores are in dB, by BSS Eval with filters of 512 taps; means over all tests and seeds. The rules apply to "
        "speech, panels a to d, and to the gradient through the top network. Intervals are 95 % bootstraps over tests "
        "and seeds. Settled: the epoch at which adaptation would end by a rule of this project that needs no clean "
        "signal: the purity error has fallen by a tenth or rises.",
    ]
    for panel in panels:
        lines += ["", f"## {panel}", "", *_score_table(rows, panel)]
    return "\n".join(lines) + "\n"


def _score_table(rows: Sequence[Row], panel: Panel) -> list[str]:
    lines = ["| | SDR | SIR | SAR |", "|---|---:|---:|---:|"]

    def add(name: str, values: Sequence[float]) -> None:
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")

    in_panel = {"panel": panel.letter}
    methods = [INPUT, *(nmf_method(kind, d) for kind in ("supervised", "semi-supervised") for d in DIVERGENCES)]
    for method in methods:
        add(method, [mean(rows, m, method=method, **in_panel) for m in MEASURES])
    add("not adapted", [curve(rows, panel, m)[0] for m in MEASURES])
    for gradient in (THROUGH, HELD):
        curves = {measure: curve(rows, panel, measure, gradient) for measure in MEASURES}
        best, last = peak(rows, panel, gradient)[0], max(curves["sdr"])
        settled = {"method": ADAPTED[gradient], "settled": True, **in_panel}
        epochs = [row["epoch"] for row in rows if all(row[key] == value for key, value in settled.items())]
        name = ADAPTED[gradient]
        add(f"{name}: peak of SDR, {best} epochs", [curves[m][best] for m in MEASURES])
        add(f"{name}: settled, median {np.median(epochs):g} epochs", [mean(rows, m, **settled) for m in MEASURES])
        add(f"{name}: {last} epochs", [curves[m][last] for m in MEASURES])
    return lines
