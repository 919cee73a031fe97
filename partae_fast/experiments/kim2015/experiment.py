"""The whole experiment: recordings, networks, adaptation to every test, NMF, claims and figure."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...atomic import atomic_path
from ...audio.files import PathLike
from ...errors import UserError
from ...models.adaptive_dae import AdaptiveDenoisingAutoencoder
from ...systems.adaptive_dae import Settings, fit
from ...training.loop import progress_bar
from ...training.material import Material
from ...training.options import TrainingOptions
from .. import intervals
from ..corpora import MISSING, recordings_of
from ..parts import Parts
from ..settings_file import write_settings
from ..tables import write_csv
from .claims import check_claims
from .data import Recordings, load, load_singing
from .figures import draw_figure
from .markdown import claims_markdown
from .scores import SINGING, SPEECH, Panel, Row, adapted_scores, baseline_scores


@dataclass(frozen=True)
class Hyperparameters:
    """Size of the networks, and length and learning rate of training and adaptation.

    Attributes:
        hidden: units of a hidden layer.
        steps, learning_rate: of training.
        epochs, adapting_rate: of adaptation, and its learning rate.
    """

    hidden: int
    steps: int
    learning_rate: float
    epochs: int
    adapting_rate: float


# The values of the paper; it does not print steps and epochs.
PAPER = Hyperparameters(hidden=2048, steps=20000, learning_rate=1e-6, epochs=100, adapting_rate=1e-6)
# For a small run: fewer units, steps and epochs. 128 units reproduce stacks of five frames badly at any rate.
SMALL = Hyperparameters(hidden=512, steps=1200, learning_rate=1e-6, epochs=40, adapting_rate=1e-6)
SMALL_TESTS = 8  # of a small run on the corpora


def run(
    out: PathLike,
    data: PathLike | None = None,
    singing: PathLike | None = None,
    clips: int | None = None,
    tests: int | None = None,
    hidden: int | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    adapting_rate: float | None = None,
    seeds: int = 1,
    seed: int = 0,
    backend: str = "auto",
    device: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train networks, adapt them to every test at both SNRs, and check the paper's claims.

    Args:
        out: a folder for results.csv (a row for each measured epoch of each test), figure3.png, claims.md,
            settings.yaml and parts/ (what --resume needs); created if missing.
        data: a folder of speech and noise; see `data.load`. None for a small run on the recordings of `corpora`.
        singing: a folder of singing voices, for panel e; see `data.load_singing`.
        clips: the largest number of tests of singing; None for all.
        tests: the largest number of tests of speech; None for all, or 8 in a small run on the corpora.
        hidden, steps, learning_rate, epochs, adapting_rate: see `Hyperparameters`; None for the values of `PAPER`, or
            those of `SMALL` in a small run and with the project's test recordings.
        seeds: networks of each kind, with different seeds.
        seed: the first, of weights, batches and dictionaries.
        resume: whether to keep the parts that an earlier run left in parts/, and compute only the others.
        backend, device, progress: as for `pf.TrainingOptions`.

    Returns:
        A dictionary with claims (the fields of each `Claim`), conditions, seconds and files.

    Raises UserError if recordings are missing, if a result cannot be written, or if parts/ has files and `resume` is
    false.

    Kim & Smaragdis 2015, section 3 and figure 3.
    """
    started, out = time.monotonic(), Path(out)
    in_corpora = None if data is not None else recordings_of("kim2015")
    if data is None and in_corpora is None:
        raise UserError(f"kim2015: {MISSING}")
    tests = SMALL_TESTS if in_corpora and tests is None else tests
    speech = load(in_corpora or data, tests)  # pyright: ignore[reportArgumentType]
    experiments: list[tuple[str, Recordings, tuple[Panel, ...]]] = [("speech", speech, SPEECH)]
    if singing is not None:
        experiments.append(("singing", load_singing(singing, clips), (SINGING,)))
    arguments = {
        "hidden": hidden,
        "steps": steps,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "adapting_rate": adapting_rate,
    }
    changed = {name: value for name, value in arguments.items() if value is not None}
    options = TrainingOptions(seed=seed, backend=backend, device=device, progress=progress)
    rows: list[Row] = []
    conditions: dict[str, str] = {}
    used: dict[str, Hyperparameters] = {}
    for name, recordings, panels in experiments:
        small = recordings.small or in_corpora is not None
        hyperparameters = used[name] = replace(SMALL if small else PAPER, **changed)
        conditions |= _conditions(name, recordings, panels, hyperparameters, range(seed, seed + seeds))
        part_settings = {**asdict(hyperparameters), "recordings": recordings.description}
        parts = Parts(out / "parts" / name, part_settings, resume)
        for each in range(seed, seed + seeds):
            rows += _score(recordings, panels, hyperparameters, replace(options, seed=each), parts)
    claims, all_panels = check_claims(rows), [panel for _, _, panels in experiments for panel in panels]
    out.mkdir(parents=True, exist_ok=True)
    files = [out / name for name in ("results.csv", "figure3.png", "claims.md")]
    write_csv(files[0], rows, 4)
    draw_figure(files[1], rows, all_panels, conditions["speech networks"])
    with atomic_path(files[2]) as path:
        path.write_text(claims_markdown(claims, conditions, rows, all_panels))
    settings = {"clips": clips, "tests": tests, **asdict(used["speech"]), "seeds": seeds, "seed": seed}
    files.append(write_settings(out, "kim2015", settings))
    return {
        "claims": [vars(claim) for claim in claims],
        "conditions": conditions,
        "seconds": round(time.monotonic() - started, 1),
        "files": [str(path) for path in files],
    }


def _score(
    recordings: Recordings,
    panels: Sequence[Panel],
    hyperparameters: Hyperparameters,
    options: TrainingOptions,
    parts: Parts,
) -> list[Row]:
    """Train a network for each number of frames; return the rows of all panels, baselines last.

    A panel is a part of the run, and so are the baselines. A network is trained if a panel of its number of frames is
    left to do.
    """
    rows: list[Row] = []
    for context in dict.fromkeys(panel.context for panel in panels):
        of_context = [panel for panel in panels if panel.context == context]
        checkpoint = parts.folder / f"frames{context}_seed{options.seed}.checkpoint"
        resumable = replace(options, checkpoint=checkpoint, resume=True)
        train = functools.cache(functools.partial(_train, recordings, of_context[0], hyperparameters, resumable))
        for panel in of_context:

            def adapted(panel: Panel = panel, train: Callable[[], Any] = train) -> list[Row]:
                model, h = train(), hyperparameters
                with progress_bar(str(panel), 0, 2 * len(recordings.test_pairs), options.progress) as bar:
                    return list(adapted_scores(recordings, model, panel, h.epochs, h.adapting_rate, bar.update))

            rows += parts.rows(f"panel_{panel.letter}_seed{options.seed}", adapted)
        checkpoint.unlink(missing_ok=True)
    rows += parts.rows(f"baselines_seed{options.seed}", lambda: baseline_scores(recordings, panels, options.seed))
    return [{"seed": options.seed, **row} for row in rows]


def _train(
    recordings: Recordings, panel: Panel, hyperparameters: Hyperparameters, options: TrainingOptions
) -> AdaptiveDenoisingAutoencoder:
    def with_rate(channels: Iterable[Any]) -> list[tuple[Any, int]]:
        return [(channel, recordings.rate) for channel in channels]

    settings = Settings(
        rate=recordings.rate,
        n_fft=recordings.n_fft,
        hop=recordings.n_fft // 4,
        context=panel.context,
        hidden=hyperparameters.hidden,
        layers=panel.layers,
    )
    material = Material(clean=with_rate(recordings.voices), noise=with_rate(recordings.noises.values()))
    options = replace(options, steps=hyperparameters.steps, learning_rate=hyperparameters.learning_rate)
    return fit(material, settings, options)


def _conditions(
    name: str, recordings: Recordings, panels: Sequence[Panel], hyperparameters: Hyperparameters, seeds: range
) -> dict[str, str]:
    """Return lines that describe the run."""
    h = hyperparameters
    as_printed = (h.hidden, h.learning_rate, h.adapting_rate) == (
        PAPER.hidden,
        PAPER.learning_rate,
        PAPER.adapting_rate,
    )
    reduced = "" if as_printed else f" (reduced: the paper has {PAPER.hidden} units and learning rates of 1e-6)"
    return {
        f"{name} recordings": f"{name.capitalize()}. {recordings.description}",
        f"{name} networks": f"{name.capitalize()}: {panels[0].layers} hidden layers of {h.hidden} units, "
        f"{h.steps} steps at {h.learning_rate:g} on mixtures at 0 dB, windows of {recordings.n_fft} samples; "
        f"{h.epochs} epochs of adaptation at {h.adapting_rate:g}{reduced}; "
        f"{intervals.seeds_text(seeds)}.",
    }
