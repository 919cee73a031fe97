"""The whole experiment: recordings, models, test mixtures, scores, claims and figure."""

import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...models import load as load_model
from ...models import save
from ...systems.mixing import MixtureSettings
from ...training.options import TrainingOptions
from ..corpora import MISSING, recordings_of
from ..intervals import seeds_text
from ..parts import require_unused
from ..settings_file import write_settings
from ..tables import write_csv
from .claims import check_claims
from .data import Recordings, load
from .figures import draw_figure
from .markdown import claims_markdown
from .models import MODELS, PAPER, SMALL, Hyperparameters, estimators_of, steps_of, train
from .scores import IN_SET, OUT_OF_SET, Row, scores

logger = logging.getLogger("partae_fast")

STEPS, SMALL_STEPS = 20000, 600  # of the embedding models
_TEST_SEED = 2**32 - 1  # of the test mixtures; other than the usual seeds of training


def run(
    out: PathLike,
    data: PathLike | None = None,
    steps: int | None = None,
    mixtures: int = 100,
    snmf_frames: int | None = None,
    small_dae: bool = False,
    seeds: int = 1,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train SCE, SCE+MI, DC+MI, DAE-30 and sparse NMF on the same mixtures, score them, and check the paper's claims.

    In a small run, and with the project's test recordings, the networks are small.

    Args:
        out: a folder for results.csv (a row for each mixture and method), figure.png, figure.svg, claims.md,
            settings.yaml and models/; created if missing.
        data: a folder with speech/ and noise/, or the project's test recordings; see `data.load`. None for a small run
            on the recordings of `corpora`.
        steps: of the embedding models; DAE-30 takes half as many. None for 20000, or 600 for small networks.
        mixtures: test mixtures in each set, in-set and out-of-set.
        snmf_frames: training frames of sparse NMF, of voices and of noises; None for those of 5000 mixtures of 2 s, or
            20000 for small networks.
        small_dae: whether DAE-30 has the size of a small run, and claim c leaves it out.
        seeds: models of each kind, with different seeds; all have the same test mixtures.
        seed: the first, of weights and training mixtures.
        backend, device, progress: as for `pf.Trainer`.
        resume: whether to keep the models in models/ and train only the others.

    Returns:
        A dictionary with claims (the fields of each `Claim`), conditions, seconds and files.

    Raises UserError if recordings are missing or too short, if models/ contains models and `resume` is false, if a
    result cannot be written, or if a loss becomes NaN.

    Hetherly et al. 2018, section 5.
    """
    started, out = time.monotonic(), Path(out)
    mixing = MixtureSettings()
    in_corpora = None if data is not None else recordings_of("hetherly2018")
    if data is None and in_corpora is None:
        raise UserError(f"hetherly2018: {MISSING}")
    folder = in_corpora or data
    recordings = load(folder, mixing.rate, round(mixing.seconds * mixing.rate / 2))  # pyright: ignore[reportArgumentType]
    if in_corpora:
        recordings = replace(recordings, small=True)
    if recordings.small:
        mixing = replace(mixing, seconds=mixing.seconds / 2)
    hyperparameters = SMALL if recordings.small else PAPER
    if small_dae:
        reduced = {name: getattr(SMALL, name) for name in ("filters", "patch", "dae_batch", "dae_rate")}
        hyperparameters = replace(hyperparameters, **reduced)
    if snmf_frames is not None:
        hyperparameters = replace(hyperparameters, snmf_frames=snmf_frames)
    steps = steps or (SMALL_STEPS if recordings.small else STEPS)
    conditions = _conditions(recordings, mixing, hyperparameters, steps, mixtures, range(seed, seed + seeds))
    for line in conditions.values():
        logger.info("%s", line)
    options = TrainingOptions(seed=seed, backend=backend, device=device, progress=progress)
    require_unused(out / "models", resume)
    rows: list[Row] = []
    for each in range(seed, seed + seeds):
        of_seed = replace(options, seed=each)
        models = _train_or_load(out / "models", recordings, mixing, hyperparameters, steps, of_seed)
        for test_set, (voices, noises) in ((IN_SET, recordings.in_set), (OUT_OF_SET, recordings.out_of_set)):
            sampler = mixing.sampler(voices, noises, _TEST_SEED)
            rows += ({"seed": each, **row} for row in scores(estimators_of(models), sampler, test_set, mixtures))
    claims = check_claims(rows, recordings.small or small_dae, recordings.stationary)
    files = [out / name for name in ("results.csv", "figure.png", "figure.svg", "claims.md")]
    write_csv(files[0], rows, 2)
    for path in files[1:3]:
        draw_figure(path, rows, conditions["material"])
    with atomic_path(files[3]) as path:
        path.write_text(claims_markdown(claims, conditions, rows))
    settings = {
        "steps": steps,
        "mixtures": mixtures,
        "snmf_frames": hyperparameters.snmf_frames,
        "small_dae": small_dae,
        "seeds": seeds,
        "seed": seed,
    }
    files.append(write_settings(out, "hetherly2018", settings, networks=asdict(hyperparameters)))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _train_or_load(
    folder: Path,
    recordings: Recordings,
    mixing: MixtureSettings,
    hyperparameters: Hyperparameters,
    steps: int,
    options: TrainingOptions,
) -> dict[str, Any]:
    """Return every model of a seed by name; models in the folder are loaded and the others trained."""
    models = {}
    for name in MODELS:
        path = folder / f"{name}_seed{options.seed}.safetensors"
        if path.exists():
            models[name] = load_model(path)
            continue
        started = time.monotonic()
        models[name] = train(name, recordings, mixing, hyperparameters, steps, options)
        save(models[name], path)
        logger.info("%s: trained in %.0f s", name, time.monotonic() - started)
    return models


def _conditions(
    recordings: Recordings,
    mixing: MixtureSettings,
    hyperparameters: Hyperparameters,
    steps: int,
    mixtures: int,
    seeds: range,
) -> dict[str, str]:
    """Return lines that describe the run."""
    kind = "Small networks, for little data: " if recordings.small else "As in the paper: "
    snrs = f"{mixing.snr_low:g} to {mixing.snr_high:g} dB"
    return {
        "material": recordings.description,
        "mixing": f"Mixtures of {mixing.seconds:g} s at {mixing.rate} Hz and {snrs}; windows of {mixing.n_fft}, "
        f"hop {mixing.hop}. There are {mixtures} test mixtures in-set and as many out-of-set.",
        "sizes": f"{kind}{hyperparameters.description()}",
        "training": f"{steps} steps of each embedding model, {steps_of('dae-30', steps)} of DAE-30; "
        f"{seeds_text(seeds)}.",
        "clusters": "Of two clusters, the one closer to the clean voice is scored, as in the paper.",
    }
