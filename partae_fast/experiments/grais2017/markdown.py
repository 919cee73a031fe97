"""The text of claims.md: claims with verdicts, conditions of the run, medians, and tables 1 and 2 of the paper."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...models.cdae import BINS, DECODER, ENCODER, FRAMES
from ..claims import Claim, claims_table
from .claims import CONVOLUTIONAL, FEED_FORWARD
from .scores import MIXTURE, RATIOS, Row, improvement

_NAMES = {FEED_FORWARD: "FNN", CONVOLUTIONAL: "CDAE"}


def claims_markdown(
    claims: Sequence[Claim],
    conditions: Sequence[str],
    rows: Sequence[Row],
    silent: Sequence[str],
    parameters: Mapping[str, int],
) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`.
        conditions: lines that describe the run.
        rows, silent: of all datasets; see `scores`.
        parameters: numbers of parameters of a network, by kind.

    Grais & Plumbley 2017, section 4.
    """
    lines = ["# Grais & Plumbley 2017: the claims and this run", ""]
    for condition in conditions:
        lines += [condition, ""]
    lines += [
        *claims_table(claims),
        "",
        "SDR, SIR and SAR are those of BSS Eval with filters of 512 taps. SDR and SIR are relative to those of the "
        "mixture as an estimate of the source. SAR is absolute, because a mixture has no artefacts. Intervals are 95 % "
        "intervals of the median by the sign test.",
        "",
    ]
    if silent:
        lines += [f"Silent sources, which are omitted: {', '.join(silent)}.", ""]
    for dataset in dict.fromkeys(row["task"] for row in rows):
        lines += [f"## {dataset}: medians, dB", "", *_medians([row for row in rows if row["task"] == dataset]), ""]
    lines += ["## Table 1: the layers of a CDAE", "", *layer_table(), ""]
    lines += ["## Table 2: parameters of the network of one source", "", "| | parameters |", "|---|---:|"]
    lines += [f"| {_NAMES[name]} | {count:,} |" for name, count in parameters.items()]
    return "\n".join(lines) + "\n"


def layer_table() -> list[str]:
    """Return table 1 as lines of Markdown; outputs are frames x bins x filters."""
    lines = ["| layer | output | parameters |", "|---|---|---:|", f"| input | {FRAMES} x {BINS} | |"]
    frames, bins, inputs = FRAMES, BINS, 1
    for number, (filters, (p, q)) in enumerate((*ENCODER, *DECODER)):
        if number >= len(ENCODER):
            frames, bins = frames * p, bins * q
            lines.append(f"| up-sampling ({p}, {q}) | {frames} x {bins} x {inputs} | |")
        count = 9 * inputs * filters + filters
        lines.append(f"| 3 x 3 convolution, {filters} | {frames} x {bins} x {filters} | {count:,} |")
        if number < len(ENCODER) and (p, q) != (1, 1):
            frames, bins = frames // p, bins // q
            lines.append(f"| max-pooling ({p}, {q}) | {frames} x {bins} x {filters} | |")
        inputs = filters
    return lines


def _medians(rows: Sequence[Row]) -> list[str]:
    methods = [method for method in _NAMES if any(row["method"] == method for row in rows)]
    heads = [f"{_NAMES[method]} {ratio.upper()}" for method in methods for ratio in RATIOS]
    lines = [f"| source | mixture's SDR | {' | '.join(heads)} |", "|---|" + "---:|" * (1 + len(heads))]
    for source in dict.fromkeys(row["source"] for row in rows):
        mixture = [row["sdr_db"] for row in rows if (row["source"], row["method"]) == (source, MIXTURE)]
        medians = [np.median(mixture)]
        for method in methods:
            medians += [np.median(list(improvement(rows, method, source, ratio).values())) for ratio in RATIOS]
        lines.append(f"| {source} | " + " | ".join(f"{median:.2f}" for median in medians) + " |")
    return lines
