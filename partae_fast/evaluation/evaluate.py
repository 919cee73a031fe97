"""Scores of every denoiser on every scene at every level, in the scene's band and over all frequencies."""

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..metrics import band, bss, si_sdr, snr
from . import peers
from .peers import Denoiser
from .scenes import Scene

logger = logging.getLogger("partae_fast")

Row = dict[str, Any]

LEVELS = (-10.0, -5.0, 0.0, 5.0)
CEILING = "ratio-mask"
PEERS = ("noisereduce", "wiener", "gate", CEILING)
# Decision-directed filters with longer windows: samples at 22.05 kHz, and the rule of the gain.
FILTERS = {f"{rule}-{windows}": (windows, rule) for rule in ("wiener", "log-mmse") for windows in (512, 1024)}
RNNOISE = "rnnoise"
ALL_PEERS = (*PEERS, *FILTERS, RNNOISE)
OURS = "partae"
METRICS = ("si_sdr", "snr", "sdr", "sir", "sar")
FULL = "_full"  # suffix of a score over all frequencies; a score without it is in the band
MODES = {"noisereduce-stationary": True, "noisereduce-nonstationary": False}
_LIMIT = 100.0  # dB; levels and scores are limited to +-100, so that a silent estimate leaves the mean finite


class Scorer(Protocol):
    """Scores estimates of one scene's song."""

    def of(self, estimate: NDArray[np.float32]) -> dict[str, float]:
        """Return the scores by name."""
        ...


def evaluate(
    scenes: Sequence[Scene],
    ours: Sequence[Callable[[Scene], Denoiser]],
    levels: Sequence[float] = LEVELS,
    mismatch: float = 0.0,
    others: Sequence[str] | None = None,
) -> list[Row]:
    """Denoise every scene at every level with every method, and score the estimates.

    Args:
        scenes: see `scenes_of`.
        ours: a function for each seed that returns a denoiser for a scene, such as
            `lambda scene: trained(scene.band, seed=0)`.
        levels: of the song relative to the noise, in the band, in dB.
        mismatch: excess level of the noise-only audio over the noise in the mixture, in dB.
        others: names in `PEERS`; None for all that are installed, with a warning for those that are not.

    Returns:
        A row for each scene, level, method and seed:

        scene, level, method
        seed        None for the peers
        seconds     for training, if the method trains, and denoising
        scores      in dB: each of METRICS in the band and, with the suffix FULL, over all frequencies. SDR, SIR and
                    SAR are omitted if fast_bss_eval is not installed

        The method "input" is the mixture itself. The method "noisereduce" is the better of both modes of noisereduce,
        chosen by the SI-SDR in the band for each scene and level, which a user without the clean song could not do.

    Raises UserError if a level is beyond 100 dB, if a peer is unknown, if a peer in `others` is not installed, if two
    scenes have the same name, or if a denoiser rejects a scene.
    """
    out_of_range = [value for value in (*levels, mismatch) if not abs(value) <= _LIMIT]
    if out_of_range:
        raise UserError(f"a level or mismatch is {out_of_range[0]:g} dB; it must lie within -{_LIMIT:g} .. {_LIMIT:g}")
    others = available(others)
    names = [scene.name for scene in scenes]
    if len(set(names)) < len(names):
        raise UserError(f"two scenes are called {max(names, key=names.count)}; rename a recording")
    rows: list[Row] = []
    for scene in scenes:
        for level in levels:
            models = {OURS: [(seed, denoiser_for(scene)) for seed, denoiser_for in enumerate(ours)]}
            new_rows = scored(scene, level, mismatch, others, models)
            rows += new_rows
            scores = ", ".join(f"{row['method']} {row['si_sdr']:.1f}" for row in new_rows if row["method"] not in MODES)
            logger.info("%s at %g dB: %s", scene.name, level, scores)
    return rows


def available(others: Sequence[str] | None, default: Sequence[str] = PEERS) -> list[str]:
    """Return the peers to run; raise UserError if a peer in `others` is unknown or not installed."""
    unknown = [name for name in others or () if name not in ALL_PEERS]
    if unknown:
        raise UserError(f"peer {unknown[0]!r} is unknown; choose from {', '.join(ALL_PEERS)}")
    chosen = list(default if others is None else dict.fromkeys(others))
    for name, make in (("noisereduce", lambda: peers.noisereduce(True)), (RNNOISE, lambda: peers.rnnoise())):
        if name in chosen:
            try:
                make()
            except UserError as error:
                if others is not None:
                    raise
                logger.warning("skipped: %s", error)
                chosen.remove(name)
    return chosen


def scored(
    scene: Scene,
    level: float,
    mismatch: float,
    others: Sequence[str],
    ours: Mapping[str, Sequence[tuple[int, Denoiser]]],
    scores: Callable[[Scene, NDArray[np.float32]], Scorer] | None = None,
) -> list[Row]:
    """Return the rows of one scene at one level: of the input, of the peers, and of ours.

    Args:
        others: names of peers.
        ours: for each method name, pairs of a seed and a denoiser.
        scores: makes what scores an estimate, from a scene and its mixture; by default METRICS are scored.
    """
    mixture, noise_only = scene.mixture(level, mismatch)
    scorer = (scores or _Scores)(scene, mixture)
    rows = []

    def run(method: str, denoiser: Denoiser, seed: int | None = None) -> None:
        started = time.perf_counter()
        try:
            estimate = denoiser(mixture, noise_only, scene.rate)
        except UserError as error:
            raise UserError(f"{scene.name} at {level:g} dB: {method}: {error}") from error
        seconds = round(time.perf_counter() - started, 3)
        row = {"scene": scene.name, "level": level, "method": method, "seed": seed, "seconds": seconds}
        rows.append({**row, **scorer.of(estimate)})

    run("input", lambda mixture, *_: mixture)
    for name in others:
        if name == "noisereduce":
            for mode, stationary in MODES.items():
                run(mode, peers.noisereduce(stationary))
            rows.append({**max(rows[-2:], key=lambda row: row["si_sdr"]), "method": name})
        else:
            run(name, _peer(name, scene.song))
    for name, models in ours.items():
        for seed, denoiser in models:
            run(name, denoiser, seed)
    return rows


def _peer(name: str, song: NDArray[np.float32]) -> Denoiser:
    """Return the peer with this name, which is not noisereduce."""
    if name in FILTERS:
        return peers.decision_directed(*FILTERS[name])
    if name == RNNOISE:
        return peers.rnnoise()
    return {"wiener": peers.wiener, "gate": peers.gate, CEILING: peers.ratio_mask(song)}[name]


class _Scores:
    """Scores of estimates against a scene's song, in dB."""

    def __init__(self, scene: Scene, mixture: NDArray[np.float32]):
        noise = mixture - scene.song
        self._filters = {
            "": lambda x: band(x, scene.rate, *scene.band),
            FULL: lambda x: np.asarray(x, np.float64),
        }
        self._references = {
            suffix: (filtered(scene.song), filtered(noise)) for suffix, filtered in self._filters.items()
        }

    def of(self, estimate: NDArray[np.float32]) -> dict[str, float]:
        scores = {}
        for suffix, filtered in self._filters.items():
            (song, noise), output = self._references[suffix], filtered(estimate)
            metrics = {"si_sdr": si_sdr(song, output), "snr": snr(song, output)}
            if has_bss():
                metrics |= bss(song, noise, output)._asdict()
            scores |= {name + suffix: float(np.clip(score, -_LIMIT, _LIMIT)) for name, score in metrics.items()}
        return scores


@functools.cache
def has_bss() -> bool:
    """Return whether SDR, SIR and SAR can be computed; the first call warns if they cannot."""
    try:
        bss([1.0, 0.0], [0.0, 1.0], [1.0, 0.0], taps=1)
    except UserError as error:
        logger.warning("skipped: %s", error)
        return False
    return True
