"""Every denoiser on every scene at every level, scored in the scene's band and over all frequencies."""

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
ALL_PEERS = (*PEERS, *FILTERS)
OURS = "partae"
METRICS = ("si_sdr", "snr", "sdr", "sir", "sar")
FULL = "_full"  # ends the name of a score over all frequencies; without it, it is in the band
MODES = {"noisereduce-stationary": True, "noisereduce-nonstationary": False}
_LIMIT = 100.0  # dB; no level and no score is beyond it, so that a silent estimate leaves a mean


class Scorer(Protocol):
    """Scores estimates of one scene's song."""

    def of(self, estimate: NDArray[np.float32]) -> dict[str, float]:
        """Scores by name."""
        ...


def evaluate(
    scenes: Sequence[Scene],
    ours: Sequence[Callable[[Scene], Denoiser]],
    levels: Sequence[float] = LEVELS,
    mismatch: float = 0.0,
    others: Sequence[str] | None = None,
) -> list[Row]:
    """Denoise every scene at every level with every method, and score what comes out.

    Arguments:
        scenes: see `scenes_of`.
        ours: for each seed a denoiser for a scene, such as `lambda scene: trained(scene.band, seed=0)`.
        levels: of the song over the noise, in the band, in dB.
        mismatch: how much too loud the noise-only audio is, in dB.
        others: names in `PEERS`; by default all that are installed, and the log says which are not.

    Returns a row for each scene, level and method, and of ours for each seed: `scene`, `level`, `method`, `seed` (None
    for the others), `seconds` (to train, where the method does, and to denoise), and the scores in dB: each of METRICS
    in the band and, with FULL after its name, over all frequencies. SDR, SIR and SAR are left out where fast_bss_eval
    is not installed. The method "input" is the mixture itself, and "noisereduce" is whichever of its two modes has the
    higher SI-SDR in the band, chosen for each scene and level with the knowledge of the song.

    Raises UserError for a level beyond 100 dB, a peer that is not known or, where named, not installed, scenes of one
    name, and, with its name before it, a scene that cannot be trained on.
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
            added = scored(scene, level, mismatch, others, models)
            rows += added
            told = ", ".join(f"{row['method']} {row['si_sdr']:.1f}" for row in added if row["method"] not in MODES)
            logger.info("%s at %g dB: %s", scene.name, level, told)
    return rows


def available(others: Sequence[str] | None, default: Sequence[str] = PEERS) -> list[str]:
    """The peers to run, by default all of `default` that are installed; those that are named must be."""
    unknown = [name for name in others or () if name not in ALL_PEERS]
    if unknown:
        raise UserError(f"peer {unknown[0]!r} is not known; choose of {', '.join(ALL_PEERS)}")
    chosen = list(default if others is None else dict.fromkeys(others))
    if "noisereduce" in chosen:
        try:
            peers.noisereduce(True)
        except UserError as missing:
            if others is not None:
                raise
            logger.warning("left out: %s", missing)
            chosen.remove("noisereduce")
    return chosen


def scored(
    scene: Scene,
    level: float,
    mismatch: float,
    others: Sequence[str],
    ours: Mapping[str, Sequence[tuple[int, Denoiser]]],
    scores: Callable[[Scene, NDArray[np.float32]], Scorer] | None = None,
) -> list[Row]:
    """The rows of one scene at one level: the input, the peers in `others`, and ours by name, a denoiser for a seed.

    scores: for a scene and its mixture, what scores an estimate; by default METRICS.
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
    """The peer of a name other than noisereduce."""
    if name in FILTERS:
        return peers.decision_directed(*FILTERS[name])
    return {"wiener": peers.wiener, "gate": peers.gate, CEILING: peers.ratio_mask(song)}[name]


class _Scores:
    """Scores estimates against a scene's song, in dB."""

    def __init__(self, scene: Scene, mixture: NDArray[np.float32]):
        noise = mixture - scene.song
        self._parts = {
            "": lambda x: band(x, scene.rate, *scene.band),
            FULL: lambda x: np.asarray(x, np.float64),
        }
        self._truth = {where: (part(scene.song), part(noise)) for where, part in self._parts.items()}

    def of(self, estimate: NDArray[np.float32]) -> dict[str, float]:
        scores = {}
        for where, part in self._parts.items():
            (song, noise), heard = self._truth[where], part(estimate)
            found = {"si_sdr": si_sdr(song, heard), "snr": snr(song, heard)}
            if has_bss():
                found |= bss(song, noise, heard)._asdict()
            scores |= {name + where: float(np.clip(score, -_LIMIT, _LIMIT)) for name, score in found.items()}
        return scores


@functools.cache
def has_bss() -> bool:
    """Whether SDR, SIR and SAR can be had; says so, once, where not."""
    try:
        bss([1.0, 0.0], [0.0, 1.0], [1.0, 0.0], taps=1)
    except UserError as missing:
        logger.warning("left out: %s", missing)
        return False
    return True
