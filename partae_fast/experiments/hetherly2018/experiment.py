"""All of it in one call: recordings, models, test mixtures, scores, claims, figure."""

import csv
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...models import load as load_model
from ...models import save
from ...systems.mixing import MixtureSettings
from ...training.options import TrainingOptions
from .claims import judge
from .data import Material, load
from .figure import figure
from .methods import MODELS, PAPER, SMALL, Sizes, methods_of, steps_of, train
from .report import report
from .scores import INSIDE, OUTSIDE, Row, scores

logger = logging.getLogger("partae_fast")

_TEST_SEED = 2**32 - 1  # of the test mixtures; training's are small


def run(
    data: PathLike,
    out: PathLike,
    steps: int | None = None,
    mixtures: int = 100,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train SCE, SCE+MI, DC+MI, DAE-30 and sparse NMF on the same mixtures, measure them, and judge the paper's claims.

    On the project's own test recordings networks are small, and the claims say which of them that cannot test.

    Args:
        data: a folder with speech/ and noise/, see `data.load`, or the project's test recordings.
        out: a folder for results.csv (a row for each mixture and method), figure.png, figure.svg, claims.md and, below
            models/, the models; created if it is not there.
        steps: of the embedding models, DAE-30 taking half as many; None for 20000, or 600 where networks are small.
        mixtures: to test on, in-set and as many out-of-set.
        seed: of weights and training mixtures.
        backend, device, progress: as for `pf.Trainer`.
        resume: take what models/ has, and train the rest.

    Returns claims (the fields of each), conditions, seconds and files.

    Raises UserError where recordings are missing or too short, models/ holds another run's and `resume` is false, a
    result cannot be written, or a loss turned NaN.

    Hetherly et al. 2018, section 5.
    """
    started, out = time.monotonic(), Path(out)
    mixing = MixtureSettings()
    material = load(data, mixing.rate, round(mixing.seconds * mixing.rate / 2))
    if material.small:
        mixing = replace(mixing, seconds=mixing.seconds / 2)
    sizes = SMALL if material.small else PAPER
    steps = steps or (600 if material.small else 20000)
    conditions = _conditions(material, mixing, sizes, steps, mixtures, seed)
    for line in conditions.values():
        logger.info("%s", line)
    how = TrainingOptions(
        seed=seed, backend=backend, device=device, progress=progress, learning_rate=sizes.learning_rate
    )
    models = _models(out / "models", material, mixing, sizes, steps, how, resume)
    rows: list[Row] = []
    for where, (voices, noises) in ((INSIDE, material.inside), (OUTSIDE, material.outside)):
        rows += scores(methods_of(models), mixing.sampler(voices, noises, _TEST_SEED), where, mixtures)
    claims = judge(rows, material.small)
    files = [out / name for name in ("results.csv", "figure.png", "figure.svg", "claims.md")]
    with atomic_path(files[0]) as path:
        path.write_text(_table(rows))
    for path in files[1:3]:
        figure(path, rows, conditions["material"])
    with atomic_path(files[3]) as path:
        path.write_text(report(claims, conditions, rows))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _models(
    folder: Path,
    material: Material,
    mixing: MixtureSettings,
    sizes: Sizes,
    steps: int,
    how: TrainingOptions,
    resume: bool,
) -> dict[str, Any]:
    """Every model by name, from the folder where it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not resume:
        raise UserError(f"{folder}: holds an earlier run; go on with --resume, or name another folder with --out")
    models = {}
    for name in MODELS:
        path = folder / f"{name}.safetensors"
        if path.exists():
            models[name] = load_model(path)
            continue
        begun = time.monotonic()
        rate = sizes.dae_rate if name == "dae-30" else sizes.learning_rate
        models[name] = train(
            name, material, mixing, sizes, replace(how, steps=steps_of(name, steps), learning_rate=rate)
        )
        save(models[name], path)
        logger.info("%s: trained in %.0f s", name, time.monotonic() - begun)
    return models


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(value, 2) if key.endswith("_db") else value for key, value in row.items()})
    return text.getvalue()


def _conditions(
    material: Material, mixing: MixtureSettings, sizes: Sizes, steps: int, mixtures: int, seed: int
) -> dict[str, str]:
    """What the run is, in lines to be read."""
    small = "Small networks, for little material: " if material.small else "As in the paper: "
    snrs = f"{mixing.snr_low:g} to {mixing.snr_high:g} dB"
    return {
        "material": material.about,
        "mixing": f"Mixtures of {mixing.seconds:g} s at {mixing.rate} Hz and {snrs}; windows of {mixing.n_fft}, "
        f"hop {mixing.hop}. {mixtures} mixtures in-set and as many out-of-set are tested on.",
        "sizes": f"{small}{sizes.about()}",
        "training": f"{steps} steps of each embedding model, {steps_of('dae-30', steps)} of DAE-30; seed {seed}.",
        "clusters": "Of two clusters the one nearer to the clean voice counts, as in the paper.",
    }
