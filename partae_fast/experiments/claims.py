"""A paper's claims, each with a rule that is set before anything is trained, and what a run says of them."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, the rule that decides, the verdict, and the figures of this run, in words.

    holds: None where a run of these sizes cannot tell.
    """

    letter: str
    claim: str
    rule: str
    holds: bool | None
    figures: str


def verdict(claim: Claim) -> str:
    """The verdict in words.

    >>> verdict(Claim("a", "More is more", "2 is above 1", True, "2 against 1"))
    'holds'
    """
    return {True: "holds", False: "does not hold", None: "cannot be told"}[claim.holds]


def table(claims: Iterable[Claim]) -> list[str]:
    """The claims as lines of a Markdown table, one a row, in their order."""
    return [
        "| | claim | verdict | figures | rule |",
        "|---|---|---|---|---|",
        *(f"| {c.letter} | {c.claim} | **{verdict(c)}** | {c.figures} | {c.rule} |" for c in claims),
    ]
