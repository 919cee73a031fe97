"""The thesis's claims, each with a rule that was set before any model was trained, and what this run says of it."""

import itertools
from collections.abc import Sequence

from ..claims import Claim
from .curves import Curves, mean, of
from .members import CURRO, PARTITIONED, SNRS, SUPERVISED, SUPERVISED_PLAIN, SYSTEMS

_SUPERVISED = (SUPERVISED, SUPERVISED_PLAIN)


def judge(curves: Sequence[Curves]) -> list[Claim]:
    """The verdict on each claim of Lusterman 2016; one that needs what was not trained cannot be told."""
    rules = (_loss_falls_lower, _converges, _worst_when_weak, _beats_supervised, _beats_curro, _plain_is_better)
    return [rule(letter, curves) for letter, rule in zip("abcdef", rules, strict=True)]


def _loss_falls_lower(letter: str, curves: Sequence[Curves]) -> Claim:
    losses = {system: _over_snrs(curves, system, "settled_loss") for system in SYSTEMS}
    holds = None
    if all(losses.values()):
        holds = all(all(a > b for a, b in itertools.pairwise(found)) for found in losses.values())
    return Claim(
        letter,
        "The loss falls lower as the SNR rises",
        "For every system the loss of the last 200 steps falls from each of the five SNRs to the next",
        holds,
        "; ".join(f"{system} " + ", ".join(f"{x:.3g}" for x in found) for system, found in losses.items()),
    )


def _converges(letter: str, curves: Sequence[Curves]) -> Claim:
    steps = {system: _over_snrs(curves, system, "converged") for system in SYSTEMS}
    holds, means = None, {}
    if all(steps.values()):
        means = {system: sum(found) / len(found) for system, found in steps.items()}
        holds = min(means, key=means.__getitem__) == CURRO and max(means, key=means.__getitem__) == PARTITIONED
    return Claim(
        letter,
        "Curro's converges in the fewest steps, the partitioned one in the most",
        "Steps until less than a tenth of the loss's fall is left, smoothed over 50 steps, mean over the five SNRs",
        holds,
        ", ".join(f"{system} {count:.0f}" for system, count in means.items()) or "not all were trained",
    )


def _worst_when_weak(letter: str, curves: Sequence[Curves]) -> Claim:
    low = [snr for snr in SNRS if snr < 0]
    found = {snr: _at(curves, snr) for snr in low}
    holds = None
    if all(len(at) == len(SYSTEMS) for at in found.values()):
        holds = all(max(at, key=at.__getitem__) == PARTITIONED for at in found.values())
    return Claim(
        letter,
        "At low SNR the partitioned one has the highest MSE",
        f"At {_listed(low)} dB its MSE, the mean of the last five measures, is above every other system's",
        holds,
        _figures(found),
    )


def _beats_supervised(letter: str, curves: Sequence[Curves]) -> Claim:
    high = [snr for snr in SNRS if snr > 0]
    found = {snr: _at(curves, snr) for snr in high}
    holds = None
    if all({PARTITIONED, *_SUPERVISED} <= set(at) for at in found.values()):
        holds = all(at[PARTITIONED] < min(at[system] for system in _SUPERVISED) for at in found.values())
    return Claim(
        letter,
        "At 3 and 6 dB the partitioned one beats the supervised ones",
        f"At {_listed(high)} dB its MSE is below both supervised systems'",
        holds,
        _figures(found),
    )


def _beats_curro(letter: str, curves: Sequence[Curves]) -> Claim:
    highest = max(SNRS)
    at = _at(curves, highest)
    holds = at[PARTITIONED] < at[CURRO] if {PARTITIONED, CURRO} <= set(at) else None
    return Claim(
        letter,
        "At 6 dB the partitioned one beats Curro's",
        f"At {highest:g} dB its MSE is below that of Curro's",
        holds,
        _figures({highest: at}),
    )


def _plain_is_better(letter: str, curves: Sequence[Curves]) -> Claim:
    found = {snr: _at(curves, snr) for snr in SNRS}
    holds, lower = None, [snr for snr, at in found.items() if set(_SUPERVISED) <= set(at) and _is_lower(at)]
    if all(set(_SUPERVISED) <= set(at) for at in found.values()):
        holds = len(lower) > len(SNRS) / 2
    return Claim(
        letter,
        "Without batch normalisation of the input the MSE is lower",
        "The supervised system's MSE without it is below that with it at most of the SNRs",
        holds,
        f"lower at {_listed(lower) or 'none'} dB; {_figures(found, _SUPERVISED)}",
    )


def _is_lower(at: dict[str, float]) -> bool:
    return at[SUPERVISED_PLAIN] < at[SUPERVISED]


def _over_snrs(curves: Sequence[Curves], system: str, what: str) -> list[float]:
    """Means over the seeds at each SNR, from the lowest; none where one is missing."""
    found = [of(curves, system, snr) for snr in SNRS]
    return [mean(at, what) for at in found] if all(found) else []


def _at(curves: Sequence[Curves], snr: float) -> dict[str, float]:
    """Each system's MSE at an SNR, where it was trained."""
    found = {system: of(curves, system, snr) for system in SYSTEMS}
    return {system: mean(its, "settled_mse") for system, its in found.items() if its}


def _figures(found: dict[float, dict[str, float]], systems: Sequence[str] = SYSTEMS) -> str:
    return "; ".join(
        f"{snr:+g} dB: " + ", ".join(f"{system} {at[system]:.3g}" for system in systems if system in at)
        for snr, at in found.items()
    )


def _listed(snrs: Sequence[float]) -> str:
    return ", ".join(f"{snr:+g}" for snr in snrs)
