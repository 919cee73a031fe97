"""How well the sources of songs are told apart: BSS ratios of both networks' estimates, and of the mixture itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...denoising.separate import separate
from ...metrics import bss_of_each
from ...models.separation import SourceSeparator
from ...systems.cdae import Piece

MIXTURE = "mixture"  # as an estimate of each of its sources
RATIOS = ("sdr", "sir", "sar")

Row = dict[str, Any]  # task, song, source, method, and the three ratios in dB


def scores(
    task: str,
    pieces: Sequence[Piece],
    models: Mapping[str, SourceSeparator],
    rate: int,
    tell: Callable[[str], None] = lambda name: None,
) -> tuple[list[Row], list[str]]:
    """A row for each piece, source and method, MIXTURE among them; and the silent sources, which are left out, by name.

    A source that never sounds in a piece has no ratio, and is no interference either.
    """
    rows, silent = [], []
    for piece in pieces:
        tell(piece.name)
        estimates = {name: separate(piece.mixture, rate, model) for name, model in models.items()}
        sounding = {source: stem for source, stem in piece.stems.items() if stem.any()}
        silent += [f"{source} of {piece.name}" for source in piece.stems if source not in sounding]
        for source, stem in sounding.items():
            others = [other for name, other in sounding.items() if name != source]
            if not others:
                continue  # alone in its piece, there is nothing to tell it from
            made = {MIXTURE: piece.mixture, **{method: parts[source] for method, parts in estimates.items()}}
            for method, ratios in zip(made, bss_of_each(stem, np.stack(others), list(made.values())), strict=True):
                where = {"task": task, "song": piece.name, "source": source, "method": method}
                rows.append({**where, **{f"{name}_db": value for name, value in ratios._asdict().items()}})
    return rows, silent


def normalised(rows: Sequence[Row], method: str, source: str, ratio: str) -> dict[str, float]:
    """A ratio of a method by song, in dB; of SDR and SIR by how much it is above the mixture's own.

    A mixture has no artefacts: its SAR, 60 dB by this measure whatever it is, is taken off nothing.
    """
    found = _by_song(rows, method, source, ratio)
    if ratio == "sar":
        return found
    own = _by_song(rows, MIXTURE, source, ratio)
    return {song: value - own[song] for song, value in found.items()}


def _by_song(rows: Sequence[Row], method: str, source: str, ratio: str) -> dict[str, float]:
    return {r["song"]: r[f"{ratio}_db"] for r in rows if (r["method"], r["source"]) == (method, source)}
