"""The claims of Hetherly et al. 2018, with their rules and verdicts."""

from collections.abc import Sequence

import numpy as np

from ..claims import Claim
from .models import DAE, DC_CLUSTERS, DC_MASKS, SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS, SNMF
from .scores import SETS, Row, improvement

_ON_PAR = 1.0  # dB, within which two methods are on par
_DEEP = (SCE_CLUSTERS, SCE_MI_MASKS, DC_MASKS)


def check_claims(rows: Sequence[Row], small: bool) -> list[Claim]:
    """Check each claim of Hetherly et al. 2018.

    Args:
        rows: of all mixtures; see `scores`.
        small: whether the networks are small; claim c then leaves out DAE-30, because a small network does not
            represent the paper's.
    """
    return [_on_par(rows), _clusters(rows), _above_snmf(rows, small), _falls_with_snr(rows)]


def _on_par(rows: Sequence[Row]) -> Claim:
    by_set = {test_set: _improvements(rows, test_set, (SCE_MI_MASKS, DC_MASKS)) for test_set in SETS}
    return Claim(
        "a",
        "Mask inference of SCE+MI is on par with that of DC+MI",
        f"Their mean SDR improvements differ by at most {_ON_PAR:g} dB, in-set and out-of-set",
        all(abs(values[SCE_MI_MASKS] - values[DC_MASKS]) <= _ON_PAR for values in by_set.values()),
        _figures(by_set),
    )


def _clusters(rows: Sequence[Row]) -> Claim:
    methods = (SCE_CLUSTERS, SCE_MI_CLUSTERS, DC_CLUSTERS)
    by_set = {test_set: _improvements(rows, test_set, methods) for test_set in SETS}
    return Claim(
        "b",
        "Clustering of SCE is better than clustering of the models that also learn masks",
        "Its mean SDR improvement is above those of both other models, in-set and out-of-set",
        all(max(values, key=values.__getitem__) == SCE_CLUSTERS for values in by_set.values()),
        _figures(by_set),
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
        _figures(by_set),
    )


def _falls_with_snr(rows: Sequence[Row]) -> Claim:
    slopes = {name: _slope([row for row in rows if row["method"] == name]) for name in _DEEP}
    return Claim(
        "d",
        "The improvement is larger at lower input SNR",
        "For each deep method, the regression line of the improvement on the input SNR, over all mixtures, falls",
        all(slope < 0 for slope in slopes.values()),
        ", ".join(f"{name} {slope:+.2f} dB per dB" for name, slope in slopes.items()),
    )


def _slope(rows: Sequence[Row]) -> float:
    snrs = [row["snr_db"] for row in rows]
    return float(np.polyfit(snrs, [row["sdr_db"] - row["sdr_in_db"] for row in rows], 1)[0])


def _improvements(rows: Sequence[Row], test_set: str, methods: Sequence[str]) -> dict[str, float]:
    return {name: improvement(rows, method=name, set=test_set) for name in methods}


def _figures(by_set: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{test_set}: " + ", ".join(f"{name} {value:.1f}" for name, value in values.items())
        for test_set, values in by_set.items()
    )
