"""The paper's claims, each with a rule that was set before any model was trained, and what this run says of it."""

from collections.abc import Sequence

from ..claims import Claim
from .members import DENOISING, PARTITIONED, SHARES
from .scores import INPUT, PARTLY_CLEAN, SIGNAL, TRULY_CLEAN, WHOLE, Row, mean_over_noises

MATCHED, UNMATCHED = CONDITIONS = ("matched", "unmatched")

# The share that the preset has; and what is a broad range: half of the seven shares that leave latents to both sides,
# side by side.
USUAL_SHARE, BROAD = 75.0, 4


def judge(rows: Sequence[Row]) -> list[Claim]:
    """The verdict on each claim, from SNRs (dB, means over the noises) of all models; see `scores`.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    return [_own_objective(rows), _gain(rows), _broad(rows), _underfits(rows), _not_sustained(rows)]


def curve(rows: Sequence[Row], condition: str, part: str, reference: str) -> dict[float, float]:
    """Mean SNR in dB of the partitioned model by its share of foreground latents in per cent."""
    where = {"method": PARTITIONED, "condition": condition, "part": part, "reference": reference}
    return {share: mean_over_noises(rows, share=share, **where) for share in SHARES}


def level(rows: Sequence[Row], condition: str, reference: str) -> float:
    """Mean SNR in dB of the DAE."""
    return mean_over_noises(rows, method=DENOISING, condition=condition, part=WHOLE, reference=reference)


def gains(rows: Sequence[Row], condition: str) -> dict[float, float]:
    """By share, how many dB the partitioned model's foreground is closer to the truly clean than the DAE's output."""
    dae = level(rows, condition, TRULY_CLEAN)
    return {share: snr - dae for share, snr in curve(rows, condition, SIGNAL, TRULY_CLEAN).items()}


def _own_objective(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for condition in CONDITIONS:
        whole = curve(rows, condition, WHOLE, INPUT)[USUAL_SHARE]
        best = max(snr for share, snr in curve(rows, condition, SIGNAL, PARTLY_CLEAN).items() if share > 0)
        of_input, of_partly = (level(rows, condition, reference) for reference in (INPUT, PARTLY_CLEAN))
        holds = holds and whole > of_input and of_partly > best
        figures.append(
            f"{condition}: input {whole:.1f} against {of_input:.1f} dB of the DAE; partly clean {of_partly:.1f} of the "
            f"DAE against {best:.1f} dB at best"
        )
    rule = (
        f"In both conditions the partitioned model's whole reconstruction at {USUAL_SHARE:g} % is closer to the input "
        "than the DAE's output, and the DAE's is closer to the partly clean than the foreground's at any share above 0"
    )
    return Claim("a", "Each method does best by its own objective", rule, holds, "; ".join(figures))


def _gain(rows: Sequence[Row]) -> Claim:
    found = gains(rows, MATCHED)
    return Claim(
        "b",
        "Matched noise: the partitioned model beats the DAE against the truly clean signal",
        f"The gain at {USUAL_SHARE:g} % is above 0 dB in matched noise",
        _gains_at_usual_share(found),
        f"gain {found[USUAL_SHARE]:+.1f} dB ({_against_dae(rows, MATCHED)})",
    )


def _broad(rows: Sequence[Row]) -> Claim:
    found = gains(rows, MATCHED)
    return Claim(
        "c",
        "The gain holds over a broad range of shares",
        f"It is above 0 dB at {BROAD} or more neighbours of the shares 12.5 to 87.5 %, in matched noise",
        _gains_broadly(found),
        _listed(found),
    )


def _underfits(rows: Sequence[Row]) -> Claim:
    holds, figures = True, []
    for condition in CONDITIONS:
        found = curve(rows, condition, WHOLE, INPUT)
        least = min(snr for share, snr in found.items() if share < 100)
        holds = holds and found[100.0] < least
        figures.append(f"{condition}: {found[100.0]:.1f} dB at 100 %, {least:.1f} dB or more at the others")
    rule = "In both conditions the whole reconstruction is farther from the input at 100 % than at any other share"
    return Claim("d", "100 % regularised underfits", rule, holds, "; ".join(figures))


def _not_sustained(rows: Sequence[Row]) -> Claim:
    found = gains(rows, UNMATCHED)
    return Claim(
        "e",
        "Unmatched noise: the gain is not sustained",
        "In unmatched noise the rule of b or that of c does not hold",
        not (_gains_at_usual_share(found) and _gains_broadly(found)),
        f"{_listed(found)} ({_against_dae(rows, UNMATCHED)})",
    )


def _gains_at_usual_share(found: dict[float, float]) -> bool:
    return found[USUAL_SHARE] > 0


def _gains_broadly(found: dict[float, float]) -> bool:
    most = run = 0
    for share, gain in found.items():
        run = run + 1 if 0 < share < 100 and gain > 0 else 0
        most = max(most, run)
    return most >= BROAD


def _against_dae(rows: Sequence[Row], condition: str) -> str:
    snr = curve(rows, condition, SIGNAL, TRULY_CLEAN)[USUAL_SHARE]
    return f"{snr:.1f} against {level(rows, condition, TRULY_CLEAN):.1f} dB of the DAE at {USUAL_SHARE:g} %"


def _listed(found: dict[float, float]) -> str:
    return "gains " + ", ".join(f"{gain:+.1f} at {share:g} %" for share, gain in found.items() if 0 < share < 100)
