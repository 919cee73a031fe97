"""Claims of a paper, each with the rule that decides it, set before any training, and the verdict of a run."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim of a paper and its verdict.

    Attributes:
        letter: a short name, unique within the paper.
        claim: what the paper claims.
        rule: when the claim holds.
        holds: the verdict; None if this run cannot decide it.
        figures: the measured values, as text.
    """

    letter: str
    claim: str
    rule: str
    holds: bool | None
    figures: str


def verdict(claim: Claim) -> str:
    """Return the verdict as text.

    >>> verdict(Claim("a", "More is more", "2 is above 1", True, "2 against 1"))
    'holds'
    """
    return {True: "holds", False: "does not hold", None: "undecided"}[claim.holds]


def claims_table(claims: Iterable[Claim]) -> list[str]:
    """Return the lines of a Markdown table with a row for each claim."""
    return [
        "| | claim | verdict | figures | rule |",
        "|---|---|---|---|---|",
        *(f"| {c.letter} | {c.claim} | **{verdict(c)}** | {c.figures} | {c.rule} |" for c in claims),
    ]
