"""All of it in one call: recordings, networks, adaptation to every test, NMF, claims, figure."""

import csv
import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...models.adaptive_dae import AdaptiveDenoisingAutoencoder
from ...systems.adaptive_dae import Settings, fit
from ...training.loop import progress_bar
from ...training.material import Material as TrainingMaterial
from ...training.options import TrainingOptions
from .claims import judge
from .curves import SINGING, SPEECH, Panel, Row, adapted, unadapted
from .data import Material, load, load_singing
from .figure import figure
from .report import report


@dataclass(frozen=True)
class Sizes:
    """Units of a hidden layer; steps of training, their step size; epochs of adaptation, their step size."""

    hidden: int
    steps: int
    learning_rate: float
    epochs: int
    adapting_rate: float


# Those of the paper, but for steps and epochs, which are not printed; and small ones for the project's test recordings,
# half a minute of speech, where twice the step size takes half the steps and half the epochs.
PAPER = Sizes(hidden=2048, steps=20000, learning_rate=1e-6, epochs=100, adapting_rate=1e-6)
SMALL = Sizes(hidden=128, steps=2000, learning_rate=2e-6, epochs=40, adapting_rate=2e-6)


@dataclass(frozen=True)
class _Place:
    """Where networks are trained and what decides their bits; see `run`."""

    seed: int
    backend: str
    device: str | None
    progress: bool | None


def run(
    data: PathLike,
    out: PathLike,
    singing: PathLike | None = None,
    hidden: int | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    adapting_rate: float | None = None,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train a network for each number of frames, adapt it to every test at both ratios, and judge the paper's claims.

    Args:
        data: a folder of speech and noise; see `data.load`.
        out: a folder for results.csv (a row for each measured epoch of each test), figure3.png and claims.md; created
            if it is not there.
        singing: a folder of singing voices, for panel e; see `data.load_singing`.
        hidden: units of a hidden layer. steps, learning_rate: of training. epochs, adapting_rate: of adaptation, and
            its step size. None for what `PAPER` says, or on the project's test recordings `SMALL`.
        seed: of weights, batches and dictionaries. backend, device, progress: as for `pf.TrainingOptions`.

    Returns claims (letter, claim, rule, holds, figures), conditions, seconds and files.

    Raises UserError where recordings are missing or a result cannot be written.

    Kim & Smaragdis 2015, section 3 and figure 3.
    """
    started, out = time.monotonic(), Path(out)
    parts: list[tuple[str, Material, tuple[Panel, ...]]] = [("speech", load(data), SPEECH)]
    if singing is not None:
        parts.append(("singing", load_singing(singing), (SINGING,)))
    asked = {
        "hidden": hidden,
        "steps": steps,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "adapting_rate": adapting_rate,
    }
    rows: list[Row] = []
    conditions: dict[str, str] = {}
    for name, material, panels in parts:
        usual = SMALL if material.small else PAPER
        sizes = replace(usual, **{key: value for key, value in asked.items() if value is not None})
        conditions |= _conditions(name, material, panels, sizes, seed)
        rows += _rows(material, panels, sizes, _Place(seed, backend, device, progress))
    claims, drawn = judge(rows), [panel for _, _, panels in parts for panel in panels]
    out.mkdir(parents=True, exist_ok=True)
    files = [out / name for name in ("results.csv", "figure3.png", "claims.md")]
    _write_table(files[0], rows)
    figure(files[1], rows, drawn, conditions["speech networks"])
    with atomic_path(files[2]) as path:
        path.write_text(report(claims, conditions, rows, drawn))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _rows(material: Material, panels: Sequence[Panel], sizes: Sizes, place: _Place) -> list[Row]:
    """All measures on some material: a network for each number of frames, and what does not adapt."""
    rows: list[Row] = []
    for context in dict.fromkeys(panel.context for panel in panels):
        own = [panel for panel in panels if panel.context == context]
        model = _trained(material, own[0], sizes, place)
        for panel in own:
            with progress_bar(str(panel), 0, 2 * len(material.tests), place.progress) as bar:
                rows += adapted(material, model, panel, sizes.epochs, sizes.adapting_rate, bar.update)
    return rows + list(unadapted(material, panels, place.seed))


def _trained(material: Material, panel: Panel, sizes: Sizes, place: _Place) -> AdaptiveDenoisingAutoencoder:
    def recordings(channels: Iterable[Any]) -> list[tuple[Any, int]]:
        return [(channel, material.rate) for channel in channels]

    settings = Settings(
        rate=material.rate,
        n_fft=material.n_fft,
        hop=material.n_fft // 4,
        context=panel.context,
        hidden=sizes.hidden,
        layers=panel.layers,
    )
    run = TrainingOptions(
        steps=sizes.steps,
        learning_rate=sizes.learning_rate,
        seed=place.seed,
        backend=place.backend,
        device=place.device,
        progress=place.progress,
    )
    given = TrainingMaterial(clean=recordings(material.clean), noise=recordings(material.noise.values()))
    return fit(given, settings, run)


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())


def _conditions(name: str, material: Material, panels: Sequence[Panel], sizes: Sizes, seed: int) -> dict[str, str]:
    """What the run is, in lines to be read."""
    reduced = "" if sizes == PAPER else f" (reduced: of the paper's size are {PAPER.hidden} units and steps of 1e-6)"
    return {
        f"{name} recordings": f"{name.capitalize()}. {material.about}",
        f"{name} networks": f"{name.capitalize()}: {panels[0].layers} hidden layers of {sizes.hidden} units, "
        f"{sizes.steps} steps of {sizes.learning_rate:g} on mixtures at 0 dB, windows of {material.n_fft} samples; "
        f"{sizes.epochs} epochs of adaptation, step size {sizes.adapting_rate:g}{reduced}; seed {seed}.",
    }
