"""The claims of Hetherly et al. 2018, with their rules and verdicts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..claims import Claim
from ..intervals import mean_text, seeds_by_cases
from .models import DAE, DC_CLUSTERS, DC_MASKS, SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS, SNMF
from .scores import SETS, Row, improvement

_ON_PAR = 1.0  # dB, within which two methods are on par
_DRAWS = 2000  # of the bootstrap of a slope
_DEEP = (SCE_CLUSTERS, SCE_MI_MASKS, DC_MASKS)


def check_claims(rows: Sequence[Row], small: bool, stationary: Sequence[str] = ()) -> list[Claim]:
    """Check each claim of Hetherly et al. 2018, in-set and out-of-set separately.

    A claim holds if it holds in both sets. Intervals are 95 % bootstraps over mixtures of a set and seeds. Claims e
    and f are worded as the project's plan has them; the text of the paper was not at hand.

    Args:
        rows: of all mixtures; see `scores`.
        small: whether the networks are small; claim c then leaves out DAE-30, because a small network does not
            represent the paper's.
        stationary: the stationary kinds of noise.
    """
    return [
        _on_par(rows),
        _clusters(rows),
        _above_snmf(rows, small),
        _falls_with_snr(rows),
        _stationary(rows, stationary),
        _snmf_in_stationary_noise(rows, stationary),
    ]


def gains(rows: Sequence[Row], method: str, test_set: str) -> NDArray[np.float64]:
    """Return the SDR improvement of a method in each mixture of a set, (seeds, mixtures), in dB."""
    selected = [row for row in rows if (row["method"], row["set"]) == (method, test_set)]
    return seeds_by_cases({(row["seed"], row["mixture"]): row["sdr_db"] - row["sdr_in_db"] for row in selected})


def difference_text(rows: Sequence[Row], method: str, other: str, test_set: str) -> str:
    """Return the mean difference of two methods over the same mixtures in dB, with its interval."""
    return mean_text(gains(rows, method, test_set) - gains(rows, other, test_set))


def _on_par(rows: Sequence[Row]) -> Claim:
    by_set = {test_set: _improvements(rows, test_set, (SCE_MI_MASKS, DC_MASKS)) for test_set in SETS}
    return Claim(
        "a",
        "Mask inference of SCE+MI is on par with that of DC+MI",
        f"Their mean SDR improvements differ by at most {_ON_PAR:g} dB, in-set and out-of-set",
        all(abs(values[SCE_MI_MASKS] - values[DC_MASKS]) <= _ON_PAR for values in by_set.values()),
        _figures(rows, by_set, [(SCE_MI_MASKS, DC_MASKS)]),
    )


def _clusters(rows: Sequence[Row]) -> Claim:
    methods = (SCE_CLUSTERS, SCE_MI_CLUSTERS, DC_CLUSTERS)
    by_set = {test_set: _improvements(rows, test_set, methods) for test_set in SETS}
    return Claim(
        "b",
        "Clustering of SCE is better than clustering of the models that also learn masks",
        "Its mean SDR improvement is above those of both other models, in-set and out-of-set",
        all(max(values, key=values.__getitem__) == SCE_CLUSTERS for values in by_set.values()),
        _figures(rows, by_set, [(SCE_CLUSTERS, method) for method in methods[1:]]),
    )


def _above_snmf(rows: Sequence[Row], small: bool) -> Claim:
    deep = _DEEP if small else (*_DEEP, DAE)
    by_set = {test_set: _improvements(rows, test_set, (*_DEEP, DAE, SNMF)) for test_set in SETS}
    exception = f"; {DAE} is left out, because this network is much smaller than the paper's" if small else ""
    return Claim(
        "c",
        "All deep methods are above sparse NMF",
        f"The mean SDR improvement of each is above that of {SNMF}, in-set and out-of-set{exception}",
        all(min(values[name] for name in deep) > values[SNMF] for values in by_set.values()),
        _figures(rows, by_set, [(method, SNMF) for method in deep]),
    )


def _falls_with_snr(rows: Sequence[Row]) -> Claim:
    slopes = {
        test_set: {name: _slope([r for r in rows if (r["method"], r["set"]) == (name, test_set)]) for name in _DEEP}
        for test_set in SETS
    }
    return Claim(
        "d",
        "The improvement is larger at lower input SNR",
        "For each deep method, the regression line of the improvement on the input SNR falls, in-set and out-of-set",
        all(slope < 0 for by_method in slopes.values() for slope, _ in by_method.values()),
        "; ".join(
            f"{test_set}: " + ", ".join(f"{name} {text} dB per dB" for name, (_, text) in by_method.items())
            for test_set, by_method in slopes.items()
        ),
    )


def _slope(rows: Sequence[Row]) -> tuple[float, str]:
    """Return the slope of the regression line in dB per dB, and the slope with a 95 % bootstrap interval as text.

    The improvement in a mixture is its mean over the seeds, so the interval is over mixtures.
    """
    by_mixture = {row["mixture"]: row["snr_db"] for row in rows}
    snrs = np.array(list(by_mixture.values()))
    values = {(row["seed"], row["mixture"]): row["sdr_db"] - row["sdr_in_db"] for row in rows}
    improvements = seeds_by_cases(values).mean(axis=0)
    slope = float(np.polyfit(snrs, improvements, 1)[0])
    drawn = np.random.default_rng(0).integers(len(snrs), size=(_DRAWS, len(snrs)))
    x = snrs[drawn] - snrs[drawn].mean(1, keepdims=True)
    power = np.square(x).sum(1)
    varied = power > 0  # a draw of one mixture only has no slope
    slopes = (x * improvements[drawn]).sum(1)[varied] / power[varied]
    low, high = np.percentile(slopes, (2.5, 97.5)) if len(slopes) else (slope, slope)
    return slope, f"{slope:+.2f} [{low:+.2f}, {high:+.2f}]"


def _stationary(rows: Sequence[Row], stationary: Sequence[str]) -> Claim:
    means = {
        test_set: {name: _by_stationarity(rows, name, test_set, stationary) for name in _DEEP} for test_set in SETS
    }
    pairs = [pair for by_method in means.values() for pair in by_method.values()]
    return Claim(
        "e",
        "Stationary noise is removed better",
        "For each deep method, the mean SDR improvement is larger in the stationary half of the noises than in the "
        f"other, in-set and out-of-set (stationary, by the deviation of the level: {', '.join(stationary) or 'none'})",
        all(a > b for a, b in pairs) if np.isfinite(pairs).all() else None,
        _pair_figures(means),
    )


def _snmf_in_stationary_noise(rows: Sequence[Row], stationary: Sequence[str]) -> Claim:
    means = {test_set: {SNMF: _by_stationarity(rows, SNMF, test_set, stationary)} for test_set in SETS}
    pairs = [by_method[SNMF] for by_method in means.values()]
    return Claim(
        "f",
        "Sparse NMF is best in stationary noise",
        f"The mean SDR improvement of {SNMF} is larger in the stationary half of the noises than in the other, in-set "
        "and out-of-set",
        all(a > b for a, b in pairs) if np.isfinite(pairs).all() else None,
        _pair_figures(means),
    )


def _by_stationarity(rows: Sequence[Row], method: str, test_set: str, stationary: Sequence[str]) -> tuple[float, float]:
    """Return mean improvements in stationary and in other noise in dB; NaN if there is none."""
    of_method = [row for row in rows if (row["method"], row["set"]) == (method, test_set)]
    return (
        improvement([row for row in of_method if row["noise"] in stationary]),
        improvement([row for row in of_method if row["noise"] not in stationary]),
    )


def _pair_figures(means: dict[str, dict[str, tuple[float, float]]]) -> str:
    return "; ".join(
        f"{test_set}: " + ", ".join(f"{name} {a:.1f} against {b:.1f} dB" for name, (a, b) in by_method.items())
        for test_set, by_method in means.items()
    )


def _improvements(rows: Sequence[Row], test_set: str, methods: Sequence[str]) -> dict[str, float]:
    return {name: improvement(rows, method=name, set=test_set) for name in methods}


def _figures(rows: Sequence[Row], by_set: dict[str, dict[str, float]], compared: Sequence[tuple[str, str]]) -> str:
    return "; ".join(
        f"{test_set}: "
        + ", ".join(
            [
                *(f"{name} {value:.1f}" for name, value in values.items()),
                *(f"{a} minus {b} {difference_text(rows, a, b, test_set)}" for a, b in compared),
            ]
        )
        for test_set, values in by_set.items()
    )
