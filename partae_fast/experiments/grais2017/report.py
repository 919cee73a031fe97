"""What came out, as Markdown for people: the claims with their verdicts, the conditions, tables 1 and 2, medians."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...models.cdae import BINS, DECODER, ENCODER, FRAMES
from ..claims import Claim, table
from .claims import CONVOLUTIONAL, FEED_FORWARD
from .scores import MIXTURE, RATIOS, Row, normalised

_NAMES = {FEED_FORWARD: "FNN", CONVOLUTIONAL: "CDAE"}


def report(
    claims: Sequence[Claim],
    conditions: Sequence[str],
    rows: Sequence[Row],
    silent: Sequence[str],
    parameters: Mapping[str, int],
) -> str:
    """The text of claims.md.

    Args:
        claims: as `judge` gives them. conditions: lines that say what was run. rows, silent: of all tasks, see
            `scores`. parameters: of a network of each kind.

    Grais & Plumbley 2017, section 4.
    """
    lines = ["# Grais & Plumbley 2017: the claims and this run", "", *_spaced(conditions), *table(claims), ""]
    lines += [
        "SDR, SIR and SAR are those of BSS Eval with filters of 512 taps. SDR and SIR are given above the mixture's "
        "own (the mixture taken for an estimate of the source). SAR is given as it is, for a mixture has no artefacts.",
        "",
    ]
    if silent:
        lines += [f"Silent, and left out: {', '.join(silent)}.", ""]
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += [f"## {task}: medians, dB", "", *_medians([row for row in rows if row["task"] == task]), ""]
    lines += ["## Table 1: the layers of a CDAE", "", *layers(), ""]
    lines += ["## Table 2: parameters of the network of one source", "", "| | parameters |", "|---|---:|"]
    lines += [f"| {_NAMES[name]} | {count:,} |" for name, count in parameters.items()]
    return "\n".join(lines) + "\n"


def layers() -> list[str]:
    """Table 1 as lines of Markdown: maps are frames x bins x filters."""
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


def _spaced(lines: Sequence[str]) -> list[str]:
    return [text for line in lines for text in (line, "")]


def _medians(rows: Sequence[Row]) -> list[str]:
    methods = [method for method in _NAMES if any(row["method"] == method for row in rows)]
    heads = [f"{_NAMES[method]} {ratio.upper()}" for method in methods for ratio in RATIOS]
    lines = [f"| source | mixture's SDR | {' | '.join(heads)} |", "|---|" + "---:|" * (1 + len(heads))]
    for source in dict.fromkeys(row["source"] for row in rows):
        own = [row["sdr_db"] for row in rows if (row["source"], row["method"]) == (source, MIXTURE)]
        found = [
            np.median(list(normalised(rows, method, source, ratio).values())) for method in methods for ratio in RATIOS
        ]
        lines.append(f"| {source} | {np.median(own):.2f} | " + " | ".join(f"{value:.2f}" for value in found) + " |")
    return lines
