"""The text of claims.md: claims with verdicts, conditions of the run, and means."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..claims import Claim, claims_table
from .claims import difference_text
from .models import DAE, METHODS, SCE_MI_MASKS
from .scores import SETS, Row, improvement


def claims_markdown(claims: Sequence[Claim], conditions: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return the text of claims.md.

    Args:
        claims: from `check_claims`.
        conditions: lines that describe the run.
        rows: of all mixtures; see `scores`.
    """
    lines = ["# Hetherly et al. 2018: the claims and this run", "", *conditions.values(), "", *claims_table(claims)]
    lines += [
        "",
        f"{DAE} minus {SCE_MI_MASKS}, which the paper does not compare: "
        + ", ".join(f"{test_set} {difference_text(rows, DAE, SCE_MI_MASKS, test_set)} dB" for test_set in SETS)
        + ". Intervals are 95 % bootstraps over mixtures of a set and seeds.",
    ]
    for test_set in SETS:
        noises = sorted({row["noise"] for row in rows if row["set"] == test_set})
        lines += [
            "",
            f"## {test_set}: SDR improvement in dB, means over mixtures and seeds",
            "",
            "| | all | SI-SDR | " + " | ".join(noises) + " |",
            "|---|" + "---:|" * (len(noises) + 2),
        ]
        for method in METHODS:
            selected = [row for row in rows if row["set"] == test_set and row["method"] == method]
            si_sdr = float(np.mean([row["si_sdr_db"] - row["si_sdr_in_db"] for row in selected]))
            means = [improvement(selected), si_sdr, *(improvement(selected, noise=noise) for noise in noises)]
            lines.append(f"| {method} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    return "\n".join(lines) + "\n"
