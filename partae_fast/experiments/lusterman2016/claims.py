"""The claims of Lusterman 2016, with their rules and verdicts."""

import itertools
from collections.abc import Sequence

from ..claims import Claim
from ..intervals import mean_text
from .models import CURRO, PARTITIONED, SNRS, SUPERVISED, SUPERVISED_PLAIN, SYSTEMS
from .scores import Curves, mean, select

_SUPERVISED = (SUPERVISED, SUPERVISED_PLAIN)


def check_claims(curves: Sequence[Curves]) -> list[Claim]:
    """Check each claim of Lusterman 2016 on the runs of one version.

    A claim is undecided if a system that it needs was not trained. Figures are means over the seeds, with intervals of
    the differences if there are two or more seeds.
    """
    rules = (
        _loss_falls_with_snr,
        _convergence,
        _worst_at_low_snr,
        _beats_supervised,
        _beats_curro,
        _plain_is_better,
        _curro_beats_supervised,
    )
    return [rule(letter, curves) for letter, rule in zip("abcdefg", rules, strict=True)]


def _loss_falls_with_snr(letter: str, curves: Sequence[Curves]) -> Claim:
    losses = {system: _means_by_snr(curves, system, "settled_loss") for system in SYSTEMS}
    holds = None
    if all(losses.values()):
        holds = all(all(a > b for a, b in itertools.pairwise(by_snr)) for by_snr in losses.values())
    return Claim(
        letter,
        "The loss falls lower as the SNR rises",
        "For every system, the loss of the last 200 steps falls from each of the five SNRs to the next",
        holds,
        "; ".join(f"{system} " + ", ".join(f"{x:.3g}" for x in by_snr) for system, by_snr in losses.items()),
    )


def _convergence(letter: str, curves: Sequence[Curves]) -> Claim:
    steps = {system: _means_by_snr(curves, system, "converged") for system in SYSTEMS}
    holds, means = None, {}
    if all(steps.values()):
        means = {system: sum(by_snr) / len(by_snr) for system, by_snr in steps.items()}
        holds = min(means, key=means.__getitem__) == CURRO and max(means, key=means.__getitem__) == PARTITIONED
    return Claim(
        letter,
        "Curro's system converges in the fewest steps, the partitioned system in the most",
        "Steps until less than a tenth of the fall of the loss is left, smoothed over 50 steps, mean over the five "
        "SNRs: Curro's system needs the fewest and the partitioned system the most",
        holds,
        ", ".join(f"{system} {count:.0f}" for system, count in means.items()) or "not all systems were trained",
    )


def _worst_at_low_snr(letter: str, curves: Sequence[Curves]) -> Claim:
    low = [snr for snr in SNRS if snr < 0]
    mse = {snr: _mse_by_system(curves, snr) for snr in low}
    holds = None
    if all(len(by_system) == len(SYSTEMS) for by_system in mse.values()):
        holds = all(max(by_system, key=by_system.__getitem__) == PARTITIONED for by_system in mse.values())
    return Claim(
        letter,
        "At low SNR the partitioned system has the highest MSE",
        f"At {_listed(low)} dB, its MSE, the mean of the last five measurements, is above that of every other system",
        holds,
        _figures(mse),
    )


def _beats_supervised(letter: str, curves: Sequence[Curves]) -> Claim:
    high = [snr for snr in SNRS if snr > 0]
    mse = {snr: _mse_by_system(curves, snr) for snr in high}
    holds = None
    if all({PARTITIONED, *_SUPERVISED} <= set(by_system) for by_system in mse.values()):
        holds = all(
            by_system[PARTITIONED] < min(by_system[system] for system in _SUPERVISED) for by_system in mse.values()
        )
    return Claim(
        letter,
        "At 3 and 6 dB the partitioned system beats the supervised systems",
        f"At {_listed(high)} dB, its MSE is below that of both supervised systems",
        holds,
        _figures(mse),
    )


def _beats_curro(letter: str, curves: Sequence[Curves]) -> Claim:
    highest = max(SNRS)
    by_system = _mse_by_system(curves, highest)
    holds = by_system[PARTITIONED] < by_system[CURRO] if {PARTITIONED, CURRO} <= set(by_system) else None
    return Claim(
        letter,
        "At 6 dB the partitioned system beats Curro's",
        f"At {highest:g} dB, its MSE is below that of Curro's system",
        holds,
        _figures({highest: by_system}),
    )


def _plain_is_better(letter: str, curves: Sequence[Curves]) -> Claim:
    mse = {snr: _mse_by_system(curves, snr) for snr in SNRS}
    trained = {snr: by_system for snr, by_system in mse.items() if set(_SUPERVISED) <= set(by_system)}
    lower = [snr for snr, by_system in trained.items() if by_system[SUPERVISED_PLAIN] < by_system[SUPERVISED]]
    holds = len(lower) > len(SNRS) / 2 if len(trained) == len(SNRS) else None
    return Claim(
        letter,
        "Without batch normalisation of the input the MSE is lower",
        "At most of the SNRs, the supervised system's MSE is lower without batch normalisation than with it",
        holds,
        f"lower at {_listed(lower) or 'no'} dB; {_figures(mse, _SUPERVISED)}",
    )


def _curro_beats_supervised(letter: str, curves: Sequence[Curves]) -> Claim:
    low = [snr for snr in SNRS if snr <= 0]
    mse = {snr: _mse_by_system(curves, snr) for snr in low}
    holds = None
    if all({CURRO, *_SUPERVISED} <= set(by_system) for by_system in mse.values()):
        holds = all(by_system[CURRO] < min(by_system[system] for system in _SUPERVISED) for by_system in mse.values())
    figures = [_figures(mse, (*_SUPERVISED, CURRO))]
    figures += [
        f"{snr:+g} dB: Curro minus {system} {mean_text(differences, 4)}"
        for snr in low
        for system in _SUPERVISED
        if len(differences := _paired(curves, snr, CURRO, system)) > 1
    ]
    return Claim(
        letter,
        "At low SNR Curro's system beats the supervised systems",
        f"At {_listed(low)} dB (figures 18 to 20 of the thesis), its MSE is below that of both supervised systems",
        holds,
        "; ".join(figures),
    )


def _paired(curves: Sequence[Curves], snr: float, system: str, other: str) -> list[float]:
    """Return the differences of the MSEs of two systems by seed."""
    first, second = ({c.seed: c.settled_mse for c in select(curves, name, snr)} for name in (system, other))
    return [mse - second[seed] for seed, mse in first.items() if seed in second]


def _means_by_snr(curves: Sequence[Curves], system: str, attribute: str) -> list[float]:
    """Return means over the seeds at each SNR, the lowest first; an empty list if an SNR was not trained."""
    by_snr = [select(curves, system, snr) for snr in SNRS]
    return [mean(at_snr, attribute) for at_snr in by_snr] if all(by_snr) else []


def _mse_by_system(curves: Sequence[Curves], snr: float) -> dict[str, float]:
    """Return the MSE at an SNR of each system that was trained."""
    by_system = {system: select(curves, system, snr) for system in SYSTEMS}
    return {system: mean(trained, "settled_mse") for system, trained in by_system.items() if trained}


def _figures(mse: dict[float, dict[str, float]], systems: Sequence[str] = SYSTEMS) -> str:
    return "; ".join(
        f"{snr:+g} dB: " + ", ".join(f"{system} {by_system[system]:.3g}" for system in systems if system in by_system)
        for snr, by_system in mse.items()
    )


def _listed(snrs: Sequence[float]) -> str:
    return ", ".join(f"{snr:+g}" for snr in snrs)
