"""The claims of Grais & Plumbley 2017, with their rules and verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..claims import Claim
from .scores import Row, improvement

CONVOLUTIONAL, FEED_FORWARD = "cdae", "fnn"
MAX_DIFFERENCE = 1.0  # dB, within which two networks are about equal
SIGNIFICANCE = 0.05
MIN_SONGS = 6  # with fewer songs, no outcome of the test is significant


def check_claims(rows: Sequence[Row], parameters: Mapping[str, int]) -> list[Claim]:
    """Check each claim.

    Args:
        rows: of the songs; see `scores`.
        parameters: numbers of parameters of a network, by kind.

    Grais & Plumbley 2017, abstract, section 4 and figures 2 to 4.
    """
    return [_equal(rows), _better(rows), _smaller(parameters)]


def differences(rows: Sequence[Row], source: str) -> list[float]:
    """Return the SDR of the convolutional network minus that of the feed-forward network for each song, in dB."""
    cdae, fnn = (improvement(rows, method, source, "sdr") for method in (CONVOLUTIONAL, FEED_FORWARD))
    return [value - fnn[song] for song, value in cdae.items()]


def _equal(rows: Sequence[Row]) -> Claim:
    by_source = {source: differences(rows, source) for source in ("vocals", "bass")}
    decidable = all(by_source.values())
    return Claim(
        "a",
        "On vocals and bass the CDAE is about as good as the FNN",
        f"On both, the median difference in SDR over the songs is within {MAX_DIFFERENCE:g} dB",
        all(abs(np.median(values)) <= MAX_DIFFERENCE for values in by_source.values()) if decidable else None,
        "; ".join(f"{source} {_summary(values)}" for source, values in by_source.items()),
    )


def _better(rows: Sequence[Row]) -> Claim:
    from scipy.stats import wilcoxon

    drums = differences(rows, "drums")
    decidable = len(drums) >= MIN_SONGS
    test: Any = wilcoxon(drums) if decidable and any(drums) else None
    p = 1.0 if test is None else float(test.pvalue)
    return Claim(
        "b",
        "On drums the CDAE is better",
        "The median difference in SDR over the songs is above 0 dB, and Wilcoxon's signed-rank test gives p below "
        f"{SIGNIFICANCE:g} ({MIN_SONGS} songs or more)",
        bool(np.median(drums) > 0 and p < SIGNIFICANCE) if decidable else None,
        f"drums {_summary(drums)}" + (f", p {p:.2g}" if decidable else ""),
    )


def _smaller(parameters: Mapping[str, int]) -> Claim:
    cdae, fnn = parameters[CONVOLUTIONAL], parameters[FEED_FORWARD]
    share = 100 * cdae / fnn
    return Claim(
        "c",
        "The CDAE has 1 % of the parameters",
        "The share of the parameters, rounded to whole per cent, is 1 %",
        round(share) == 1,
        f"{cdae:,} against {fnn:,}, {share:.2f} %",
    )


def _summary(values: Sequence[float]) -> str:
    if not values:
        return "missing"
    return f"{np.median(values):+.2f} dB (from {min(values):+.2f} to {max(values):+.2f}, {len(values)} songs)"
