"""BSS Eval ratios of the separated sources of songs, for both networks and for the mixture itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...denoising.separate import separate
from ...metrics import bss_of_each
from ...models.separation import SourceSeparator
from ...systems.cdae import Piece

MIXTURE = "mixture"  # the method that returns the mixture for each source
RATIOS = ("sdr", "sir", "sar")

Row = dict[str, Any]  # seed (None for MIXTURE), task, song, source, method, and the three ratios in dB


def scores(
    dataset: str,
    pieces: Sequence[Piece],
    models: Mapping[str, SourceSeparator],
    rate: int,
    seed: int = 0,
    progress_callback: Callable[[str], None] = lambda name: None,
) -> tuple[list[Row], list[str]]:
    """Separate each piece with each model and return the rows, and the names of silent sources.

    A source that is silent in a piece has no ratios and is no interference. There is a row for each piece, source that
    is not silent, and method; one method is MIXTURE.

    Args:
        dataset: name for the column task.
        pieces: test pieces.
        models: by method.
        rate: of the pieces in Hz.
        seed: of the models.
        progress_callback: called with the name of each piece.
    """
    rows, silent = [], []
    for piece in pieces:
        progress_callback(piece.name)
        estimates = {name: separate(piece.mixture, rate, model) for name, model in models.items()}
        audible = {source: stem for source, stem in piece.stems.items() if stem.any()}
        silent += [f"{source} of {piece.name}" for source in piece.stems if source not in audible]
        for source, stem in audible.items():
            others = [other for name, other in audible.items() if name != source]
            if not others:
                continue  # without another source there is no interference to measure
            by_method = {MIXTURE: piece.mixture, **{method: parts[source] for method, parts in estimates.items()}}
            all_ratios = bss_of_each(stem, np.stack(others), list(by_method.values()))
            for method, ratios in zip(by_method, all_ratios, strict=True):
                key = {"seed": None if method == MIXTURE else seed, "task": dataset, "song": piece.name}
                key |= {"source": source, "method": method}
                rows.append({**key, **{f"{name}_db": value for name, value in ratios._asdict().items()}})
    return rows, silent


def improvement(rows: Sequence[Row], method: str, source: str, ratio: str) -> dict[str, float]:
    """Return a ratio by song in dB, the mean over the seeds: SDR and SIR minus those of the mixture, SAR as it is.

    A mixture has no artefacts, so its SAR is a constant 60 dB.
    """
    values = _by_song(rows, method, source, ratio)
    if ratio == "sar":
        return values
    mixture = _by_song(rows, MIXTURE, source, ratio)
    return {song: value - mixture[song] for song, value in values.items()}


def _by_song(rows: Sequence[Row], method: str, source: str, ratio: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        if (row["method"], row["source"]) == (method, source):
            values.setdefault(row["song"], []).append(row[f"{ratio}_db"])
    return {song: float(np.mean(of_song)) for song, of_song in values.items()}
