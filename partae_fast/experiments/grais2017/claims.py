"""The claims of Grais & Plumbley 2017, with their rules and verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..claims import Claim
from ..intervals import median_text
from .scores import Row, improvement

CONVOLUTIONAL, FEED_FORWARD = "cdae", "fnn"
MAX_DIFFERENCE = 1.0  # dB, within which two networks are about equal
SIGNIFICANCE = 0.05
MIN_SONGS = 6  # with fewer songs, no outcome of the test is significant


def check_claims(rows: Sequence[Row], parameters: Mapping[str, int]) -> list[Claim]:
    """Check each claim. Values of a song are means over the seeds; intervals are those of the sign test over songs.

    Claims d to f are worded as the project's plan has them; the text of the paper was not at hand.

    Args:
        rows: of the songs; see `scores`.
        parameters: numbers of parameters of a network, by kind.

    Grais & Plumbley 2017, abstract, section 4 and figures 2 to 4.
    """
    return [
        _equal("a", "On vocals and bass the CDAE is about as good as the FNN", rows, ("vocals", "bass")),
        _better("b", "On drums the CDAE is better", rows, ("sdr",)),
        _smaller(parameters),
        _better("d", "On drums the CDAE is better in SIR and SAR too", rows, ("sir", "sar")),
        _equal("e", "On the other instruments the CDAE is about as good as the FNN", rows, ("other",)),
        _positive(rows),
    ]


def differences(rows: Sequence[Row], source: str, ratio: str = "sdr") -> list[float]:
    """Return a ratio of the convolutional network minus that of the feed-forward network for each song, in dB."""
    cdae, fnn = (improvement(rows, method, source, ratio) for method in (CONVOLUTIONAL, FEED_FORWARD))
    return [value - fnn[song] for song, value in cdae.items()]


def _equal(letter: str, claim: str, rows: Sequence[Row], sources: Sequence[str]) -> Claim:
    by_source = {source: differences(rows, source) for source in sources}
    decidable = all(by_source.values())
    where = "" if len(sources) == 1 else "On both, "
    return Claim(
        letter,
        claim,
        f"{where}{'the' if where else 'The'} median difference in SDR over the songs is within {MAX_DIFFERENCE:g} dB",
        all(abs(np.median(values)) <= MAX_DIFFERENCE for values in by_source.values()) if decidable else None,
        "; ".join(
            f"{source} {_summary(values)}" + (_by_seed(rows, source, "sdr") if values else "")
            for source, values in by_source.items()
        ),
    )


def _better(letter: str, claim: str, rows: Sequence[Row], ratios: Sequence[str]) -> Claim:
    by_ratio = {ratio: differences(rows, "drums", ratio) for ratio in ratios}
    decidable = all(len(values) >= MIN_SONGS for values in by_ratio.values())
    p = {ratio: _p_value(values) if decidable else 1.0 for ratio, values in by_ratio.items()}
    names = " and ".join(ratio.upper() for ratio in ratios)
    return Claim(
        letter,
        claim,
        f"The median difference in {names} over the songs is above 0 dB, and Wilcoxon's signed-rank test gives p below "
        f"{SIGNIFICANCE:g} ({MIN_SONGS} songs or more)",
        all(bool(np.median(by_ratio[r]) > 0 and p[r] < SIGNIFICANCE) for r in ratios) if decidable else None,
        "; ".join(
            f"drums {ratio.upper()} {_summary(values)}"
            + (f", p {p[ratio]:.2g}" if decidable else "")
            + (_by_seed(rows, "drums", ratio) if values else "")
            for ratio, values in by_ratio.items()
        ),
    )


def _p_value(values: Sequence[float]) -> float:
    from scipy.stats import wilcoxon

    test: Any = wilcoxon(values) if any(values) else None
    return 1.0 if test is None else float(test.pvalue)


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


def _positive(rows: Sequence[Row]) -> Claim:
    sources = dict.fromkeys(row["source"] for row in rows)
    gains = {
        (source, method): list(improvement(rows, method, source, "sdr").values())
        for source in sources
        for method in (FEED_FORWARD, CONVOLUTIONAL)
    }
    decidable = bool(gains) and all(gains.values())
    return Claim(
        "f",
        "Both networks separate every source: the normalised SDR is positive",
        "For each source and network, the median over the songs of the SDR minus that of the mixture is above 0 dB",
        all(bool(np.median(values) > 0) for values in gains.values()) if decidable else None,
        "; ".join(
            f"{source} {method.upper()} {median_text(values)}" if values else f"{source} {method.upper()} missing"
            for (source, method), values in gains.items()
        ),
    )


def _by_seed(rows: Sequence[Row], source: str, ratio: str) -> str:
    """Return the median difference of each seed as text; "" if there is only one."""
    seeds = [seed for seed in dict.fromkeys(row["seed"] for row in rows) if seed is not None]
    medians = [
        np.median(differences([row for row in rows if row["seed"] in (seed, None)], source, ratio)) for seed in seeds
    ]
    return "" if len(seeds) < 2 else "; seeds " + ", ".join(f"{median:+.2f}" for median in medians)


def _summary(values: Sequence[float]) -> str:
    if not values:
        return "missing"
    return f"{median_text(values, 2)} dB (from {min(values):+.2f} to {max(values):+.2f}, {len(values)} songs)"
