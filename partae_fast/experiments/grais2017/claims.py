"""The paper's claims, each with a rule that was set before any network was trained, and what this run says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..claims import Claim
from .scores import Row, normalised

CONVOLUTIONAL, FEED_FORWARD = "cdae", "fnn"
EQUAL = 1.0  # dB, what counts as about the same
LIKELY = 0.05  # the most that a difference by chance may be likely
LEAST_SONGS = 6  # of fewer, no outcome is that unlikely


def judge(rows: Sequence[Row], parameters: Mapping[str, int]) -> list[Claim]:
    """The verdict on each claim, from the rows of songs (see `scores`) and the parameters of a network of each kind.

    Grais & Plumbley 2017, abstract, section 4 and figures 2 to 4.
    """
    return [_equal(rows), _better(rows), _smaller(parameters)]


def differences(rows: Sequence[Row], source: str) -> list[float]:
    """By how many dB of SDR the convolutional network is above the other, song by song."""
    ours, theirs = (normalised(rows, method, source, "sdr") for method in (CONVOLUTIONAL, FEED_FORWARD))
    return [value - theirs[song] for song, value in ours.items()]


def _equal(rows: Sequence[Row]) -> Claim:
    found = {source: differences(rows, source) for source in ("vocals", "bass")}
    told = all(found.values())
    return Claim(
        "a",
        "On vocals and bass the CDAE is about as good as the FNN",
        f"The median over the songs of the difference in SDR is within {EQUAL:g} dB either way, on both",
        all(abs(np.median(values)) <= EQUAL for values in found.values()) if told else None,
        "; ".join(f"{source} {_median(values)}" for source, values in found.items()),
    )


def _better(rows: Sequence[Row]) -> Claim:
    from scipy.stats import wilcoxon

    found = differences(rows, "drums")
    told = len(found) >= LEAST_SONGS
    test: Any = wilcoxon(found) if told and any(found) else None
    chance = 1.0 if test is None else float(test.pvalue)
    return Claim(
        "b",
        "On drums the CDAE is better",
        "The median over the songs of the difference in SDR is above 0 dB, and Wilcoxon's signed-rank test gives p "
        f"below {LIKELY:g} ({LEAST_SONGS} songs or more)",
        bool(np.median(found) > 0 and chance < LIKELY) if told else None,
        f"drums {_median(found)}" + (f", p {chance:.2g}" if told else ""),
    )


def _smaller(parameters: Mapping[str, int]) -> Claim:
    ours, theirs = parameters[CONVOLUTIONAL], parameters[FEED_FORWARD]
    share = 100 * ours / theirs
    return Claim(
        "c",
        "It does so with 1 % of the parameters",
        "The share of the parameters, rounded to a whole per cent, is 1",
        round(share) == 1,
        f"{ours:,} against {theirs:,}, {share:.2f} %",
    )


def _median(values: Sequence[float]) -> str:
    if not values:
        return "is not there"
    return f"{np.median(values):+.2f} dB (from {min(values):+.2f} to {max(values):+.2f}, {len(values)} songs)"
