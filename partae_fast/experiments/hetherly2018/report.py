"""What came out, as Markdown for people: the claims with their verdicts, the conditions, and the means."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..claims import Claim, table
from .methods import METHODS
from .scores import SETS, Row, gain


def report(claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The text of claims.md.

    Args:
        claims: as `judge` gives them. conditions: lines that say what was run. rows: of all mixtures, see `scores`.
    """
    lines = ["# Hetherly et al. 2018: the claims and this run", "", *conditions.values(), "", *table(claims)]
    for where in SETS:
        noises = sorted({row["noise"] for row in rows if row["set"] == where})
        lines += [
            "",
            f"## {where}: SDR improvement in dB, means over mixtures",
            "",
            "| | all | SI-SDR | " + " | ".join(noises) + " |",
            "|---|" + "---:|" * (len(noises) + 2),
        ]
        for method in METHODS:
            its = [row for row in rows if row["set"] == where and row["method"] == method]
            means = [gain(its), float(np.mean([row["si_sdr_db"] - row["si_sdr_in_db"] for row in its]))]
            means += [gain(its, noise=noise) for noise in noises]
            lines.append(f"| {method} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    return "\n".join(lines) + "\n"
