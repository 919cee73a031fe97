"""The claims of Stowell & Turner 2015, with their rules and verdicts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..claims import Claim
from ..intervals import mean_text, seeds_by_cases
from .models import DENOISING, PARTITIONED, SHARES
from .scores import INPUT, PARTLY_CLEAN, SIGNAL, TRULY_CLEAN, WHOLE, Row, mean_over_noises

MATCHED, UNMATCHED = CONDITIONS = ("matched", "unmatched")

DEFAULT_SHARE = 75.0  # per cent of foreground latents in the preset
BROAD_RANGE = 4  # adjacent shares: half of the seven that leave latents to both foreground and background


def check_claims(rows: Sequence[Row]) -> list[Claim]:
    """Check each claim against the scores of a configuration; see `scores.configurations`.

    SNRs are means over the noises and seeds, in dB. Intervals are bootstraps over them.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    return [_own_objective(rows), _gain(rows), _broad_range(rows), _underfits(rows), _not_sustained(rows)]


def partitioned_snrs(rows: Sequence[Row], condition: str, part: str, reference: str) -> dict[float, float]:
    """Return mean SNRs of the partitioned model in dB, by share of foreground latents in per cent."""
    key = {"method": PARTITIONED, "condition": condition, "part": part, "reference": reference}
    return {share: mean_over_noises(rows, share=share, **key) for share in SHARES}


def dae_snr(rows: Sequence[Row], condition: str, reference: str) -> float:
    """Return the mean SNR of the DAE in dB."""
    return mean_over_noises(rows, method=DENOISING, condition=condition, part=WHOLE, reference=reference)


def gains(rows: Sequence[Row], condition: str) -> dict[float, float]:
    """Return the SNR of the foreground minus that of the DAE in dB, by share; both against the truly clean signal."""
    dae = dae_snr(rows, condition, TRULY_CLEAN)
    return {share: snr - dae for share, snr in partitioned_snrs(rows, condition, SIGNAL, TRULY_CLEAN).items()}


def paired_gains(rows: Sequence[Row], condition: str, share: float) -> NDArray[np.float64]:
    """Return the gains of partitioned models over DAEs with the same noises and seed, (seeds, noises), in dB."""
    key = {"condition": condition, "reference": TRULY_CLEAN}

    def by_pair(**values: object) -> dict[tuple[object, object], float]:
        selected = [row for row in rows if all(row[name] == value for name, value in {**key, **values}.items())]
        return {(row.get("seed"), (row.get("intrinsic"), row.get("extrinsic"))): row["snr_db"] for row in selected}

    dae = by_pair(method=DENOISING, part=WHOLE)
    partitioned = by_pair(method=PARTITIONED, part=SIGNAL, share=share)
    return seeds_by_cases({pair: snr - dae[pair] for pair, snr in partitioned.items()})


def _own_objective(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for condition in CONDITIONS:
        whole = partitioned_snrs(rows, condition, WHOLE, INPUT)[DEFAULT_SHARE]
        best = max(snr for share, snr in partitioned_snrs(rows, condition, SIGNAL, PARTLY_CLEAN).items() if share > 0)
        dae_input, dae_partly = (dae_snr(rows, condition, reference) for reference in (INPUT, PARTLY_CLEAN))
        holds = holds and whole > dae_input and dae_partly > best
        figures.append(
            f"{condition}: input {whole:.1f} dB, DAE {dae_input:.1f} dB; partly clean at most {best:.1f} dB, "
            f"DAE {dae_partly:.1f} dB"
        )
    rule = (
        f"In both conditions, the partitioned model's whole reconstruction at {DEFAULT_SHARE:g} % has a higher SNR "
        "against the input than the DAE's output, and the DAE's output has a higher SNR against the partly clean "
        "signal than the foreground at any share above 0 %"
    )
    return Claim("a", "Each method does best by its own objective", rule, holds, "; ".join(figures))


def _gain(rows: Sequence[Row]) -> Claim:
    matched = gains(rows, MATCHED)
    return Claim(
        "b",
        "Matched noise: the partitioned model beats the DAE against the truly clean signal",
        f"The gain at {DEFAULT_SHARE:g} % is above 0 dB in matched noise",
        _gains_at_default_share(matched),
        f"gain {mean_text(paired_gains(rows, MATCHED, DEFAULT_SHARE))} dB ({_compared(rows, MATCHED)})",
    )


def _broad_range(rows: Sequence[Row]) -> Claim:
    matched = gains(rows, MATCHED)
    return Claim(
        "c",
        "The gain holds over a broad range of shares",
        f"In matched noise, the gain is above 0 dB at {BROAD_RANGE} or more adjacent shares from 12.5 to 87.5 %",
        _gains_over_broad_range(matched),
        _listed(matched),
    )


def _underfits(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for condition in CONDITIONS:
        snrs = partitioned_snrs(rows, condition, WHOLE, INPUT)
        lowest = min(snr for share, snr in snrs.items() if share < 100)
        holds = holds and snrs[100.0] < lowest
        figures.append(f"{condition}: {snrs[100.0]:.1f} dB at 100 %, at least {lowest:.1f} dB at other shares")
    rule = "In both conditions, the whole reconstruction has its lowest SNR against the input at 100 %"
    return Claim("d", "100 % regularised underfits", rule, holds, "; ".join(figures))


def _not_sustained(rows: Sequence[Row]) -> Claim:
    unmatched = gains(rows, UNMATCHED)
    return Claim(
        "e",
        "Unmatched noise: the gain is not sustained",
        "In unmatched noise, the rule of b or the rule of c fails",
        not (_gains_at_default_share(unmatched) and _gains_over_broad_range(unmatched)),
        f"{_listed(unmatched)}; gain {mean_text(paired_gains(rows, UNMATCHED, DEFAULT_SHARE))} dB "
        f"({_compared(rows, UNMATCHED)})",
    )


def _gains_at_default_share(gain_by_share: dict[float, float]) -> bool:
    return gain_by_share[DEFAULT_SHARE] > 0


def _gains_over_broad_range(gain_by_share: dict[float, float]) -> bool:
    longest = length = 0
    for share, gain in gain_by_share.items():
        length = length + 1 if 0 < share < 100 and gain > 0 else 0
        longest = max(longest, length)
    return longest >= BROAD_RANGE


def _compared(rows: Sequence[Row], condition: str) -> str:
    snr = partitioned_snrs(rows, condition, SIGNAL, TRULY_CLEAN)[DEFAULT_SHARE]
    return f"at {DEFAULT_SHARE:g} %: {snr:.1f} dB, DAE {dae_snr(rows, condition, TRULY_CLEAN):.1f} dB"


def _listed(gain_by_share: dict[float, float]) -> str:
    return "gains " + ", ".join(
        f"{gain:+.1f} dB at {share:g} %" for share, gain in gain_by_share.items() if 0 < share < 100
    )
