"""The paper's claims, each with a rule that was set before any model was trained, and what this run says of it."""

from collections.abc import Sequence

import numpy as np

from ..claims import Claim
from .methods import DAE, DC_CLUSTERS, DC_MASKS, SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS, SNMF
from .scores import SETS, Row, gain

_PAR = 1.0  # dB, within which two methods are on par
_DEEP = (SCE_CLUSTERS, SCE_MI_MASKS, DC_MASKS)


def judge(rows: Sequence[Row], small: bool) -> list[Claim]:
    """The verdict on each claim of Hetherly et al. 2018; `small` where networks are too small to speak for DAE-30."""
    return [_on_par(rows), _clusters(rows), _above_snmf(rows, small), _lower_snr(rows)]


def _on_par(rows: Sequence[Row]) -> Claim:
    found = {where: _gains(rows, where, (SCE_MI_MASKS, DC_MASKS)) for where in SETS}
    return Claim(
        "a",
        "Mask inference of SCE+MI is on par with that of DC+MI",
        f"Their mean SDR improvements differ by {_PAR:g} dB at most, in-set and out-of-set",
        all(abs(at[SCE_MI_MASKS] - at[DC_MASKS]) <= _PAR for at in found.values()),
        _figures(found),
    )


def _clusters(rows: Sequence[Row]) -> Claim:
    found = {where: _gains(rows, where, (SCE_CLUSTERS, SCE_MI_CLUSTERS, DC_CLUSTERS)) for where in SETS}
    return Claim(
        "b",
        "Clustering of SCE is better than that of the models that learn masks as well",
        "Its mean SDR improvement is above both others', in-set and out-of-set",
        all(max(at, key=at.__getitem__) == SCE_CLUSTERS for at in found.values()),
        _figures(found),
    )


def _above_snmf(rows: Sequence[Row], small: bool) -> Claim:
    deep = _DEEP if small else (*_DEEP, DAE)
    found = {where: _gains(rows, where, (*deep, *((DAE,) if small else ()), SNMF)) for where in SETS}
    beyond = f"; {DAE} does not count, for a network of this size cannot speak for the paper's" if small else ""
    return Claim(
        "c",
        "All deep methods are above sparse NMF",
        f"Each one's mean SDR improvement is above that of {SNMF}, in-set and out-of-set{beyond}",
        all(min(at[name] for name in deep) > at[SNMF] for at in found.values()),
        _figures(found),
    )


def _lower_snr(rows: Sequence[Row]) -> Claim:
    slopes = {name: _slope([row for row in rows if row["method"] == name]) for name in _DEEP}
    return Claim(
        "d",
        "There is more gain at lower input SNR",
        "Of each deep method a line through improvement over input SNR, over all mixtures, falls",
        all(slope < 0 for slope in slopes.values()),
        ", ".join(f"{name} {slope:+.2f} dB a dB" for name, slope in slopes.items()),
    )


def _slope(rows: Sequence[Row]) -> float:
    snrs = [row["snr_db"] for row in rows]
    return float(np.polyfit(snrs, [row["sdr_db"] - row["sdr_in_db"] for row in rows], 1)[0])


def _gains(rows: Sequence[Row], where: str, methods: Sequence[str]) -> dict[str, float]:
    return {name: gain(rows, method=name, set=where) for name in methods}


def _figures(found: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{where}: " + ", ".join(f"{name} {value:.1f}" for name, value in at.items()) for where, at in found.items()
    )
