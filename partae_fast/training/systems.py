"""The systems that are not the convolutional partitioned autoencoder: what each learns from, and how it is trained.

Each has a module with two names. `Settings` is a frozen dataclass of int, float, bool and str, all with defaults: what
is the system's own. `fit(given, settings, run)` trains a model on what was `Given`, as the `Run` says.
"""

import contextlib
import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import labels as labelling
from ..audio.folders import recordings_in
from ..errors import UserError
from ..file_lock import only_writer
from .distributed import current
from .fit import chosen_device
from .material import Audio, PathLike, check_apart, labelled, samples_of, sources_of
from .plateau import Plateau
from .record import JsonLines, Record, TensorBoard
from .trainer import Sampler, Trainer

logger = logging.getLogger("partae_fast")

# What a system may be given, and how that is said to a person.
KINDS = {
    "recordings": "noisy recordings",
    "noise": "recordings of noise (--noise)",
    "labels": "labels (--labels)",
    "clean": "clean recordings of what is wanted (--clean)",
    "stems": "a folder of songs in stems (--stems)",
    "speech": "folders of speech (--speech)",
}


@dataclass(frozen=True)
class System:
    """Where a system was published, what it must be given and what it may be given besides, and its module.

    `chosen` are settings that its name stands for; they may still be given another value.
    """

    source: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    module: str
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, given: Mapping[str, Any] | None = None) -> Any:
        """The system's settings, some of them as given, by name: values, or text that says one.

        Raises UserError for a name that it has not, and for a value of another kind.
        """
        kind = self._part("Settings")
        known: dict[str, Any] = {entry.name: entry.default for entry in fields(kind)} | dict(self.chosen)
        unknown = sorted(set(given or {}) - set(known))
        if unknown:
            raise UserError(f"there is no setting {unknown[0]!r}; there are {', '.join(known)}")
        said = {name: _as(name, value, known[name]) for name, value in (given or {}).items()}
        return kind(**{**self.chosen, **said})

    def fit(self, given: "Given", settings: Any, run: "Run") -> Any:
        """The model that the system's module trains; raises UserError where something is missing, or too much."""
        wanted = [name for name in self.needs if not getattr(given, name)]
        if wanted:
            raise UserError(f"{KINDS[wanted[0]]} must be given to train this model")
        surplus = [name for name in KINDS if getattr(given, name) and name not in (*self.needs, *self.may)]
        if surplus:
            takes = ", ".join(KINDS[name] for name in (*self.needs, *self.may))
            raise UserError(f"this model does not learn from {KINDS[surplus[0]]}; it takes {takes}")
        if current().count > 1:
            raise UserError("this model is trained by one process; run it without torchrun")
        return self._part("fit")(given, settings, run)

    def _part(self, name: str) -> Any:
        return getattr(importlib.import_module(self.module), name)


_LUSTERMAN = "Lusterman 2016, A partitioned autoencoder for audio de-noising (thesis, The Cooper Union)"
_GRAIS = "Grais & Plumbley 2017, Single channel audio source separation using convolutional denoising autoencoders"
_KIM = "Kim & Smaragdis 2015, Adaptive denoising autoencoders: a fine-tuning scheme to learn from test mixtures"
_HETHERLY = "Hetherly et al. 2018, Deep speech denoising with vector space projections"
_WEAK = ("recordings", "noise", "labels", "clean")
# The deep network of Lusterman's program, of which his text says nothing.
_DEEP = {"layers": "400-330-300-270-300-330-400", "activation": "leaky_relu", "batch_norm": "every"}
SYSTEMS = {
    "dense": System(_LUSTERMAN, ("clean",), ("noise",), f"{__package__}.dense"),
    "dense-deep": System(_LUSTERMAN, ("clean",), ("noise",), f"{__package__}.dense", _DEEP | {"l2": 1e-5, "l1": 1e-6}),
    "dense-partitioned": System(_LUSTERMAN, (), _WEAK, f"{__package__}.dense_partitioned"),
    "curro": System(_LUSTERMAN, (), _WEAK, f"{__package__}.curro"),
    **{name: System(_GRAIS, ("stems",), (), f"{__package__}.cdae", {"network": name}) for name in ("cdae", "fnn")},
    "adaptive-dae": System(_KIM, ("clean", "noise"), (), f"{__package__}.adaptive_dae"),
    **{
        name: System(_HETHERLY, ("speech", "noise"), (), f"{__package__}.embedding", {"objective": name})
        for name in ("sce", "sce-mi", "dc-mi")
    },
    "dae-30": System(_HETHERLY, ("speech", "noise"), (), f"{__package__}.dae30"),
    "snmf": System(_HETHERLY, ("speech", "noise"), (), f"{__package__}.snmf"),
}


def system_named(name: str) -> System:
    """The system of this name; raises UserError where there is none, listing those that there are."""
    if name not in SYSTEMS:
        raise UserError(f"model {name!r} is not known; choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


@dataclass(frozen=True)
class Given:
    """What a system learns from: lists of files, folders or pairs (samples, rate in Hz), each of a kind of `KINDS`.

    A folder stands for every audio file in it and in its folders, but in `stems` and `speech`, whose folders mean
    something. `rules` says which labels count; see `partae_fast.labels.Rules`.
    """

    recordings: Sequence[Audio] = ()
    noise: Sequence[Audio] = ()
    labels: Sequence[PathLike] = ()
    clean: Sequence[Audio] = ()
    stems: Sequence[PathLike] = ()
    speech: Sequence[PathLike] = ()
    rules: labelling.Rules = field(default_factory=labelling.Rules)
    label_format: str | None = None

    def channels(self, kind: str, rate: int) -> list[NDArray[np.float32]]:
        """Each channel that is not silent of each recording of a kind, (T,) at `rate` Hz, in the order given."""
        return [channel for source in self._sources(kind) for channel in samples_of(source, rate).channels]

    def weakly_labelled(self, rate: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """What may have signal and what is noise-only, channels or stretches of them, (T,) at `rate` Hz.

        Raises UserError where there is nothing of either.
        """
        signal, noise = [], self.channels("noise", rate) if self.noise else []
        sources = labelled(self._sources("recordings"), list(self.labels) or None, self.rules, self.label_format)
        if self.noise:
            check_apart(sources, self._sources("noise"))
        for source in sources:
            its = samples_of(source, rate)
            for channel, number in zip(its.channels, its.numbers, strict=True):
                if source.events is None:
                    signal.append(channel)
                    continue
                timeline = labelling.Timeline.from_events(source.events, its.seconds, source.rules, source.name, number)
                for kind, stretches in ((signal, timeline.signal), (noise, timeline.noise)):
                    kind += [channel[round(start * rate) : round(end * rate)] for start, end in stretches]
        if not signal:
            raise UserError("the labels say that all is noise-only or unknown; add recordings with signal")
        if not noise:
            raise UserError("no noise-only time was given; give --noise, or labels with gaps between events")
        return signal, noise

    def _sources(self, kind: str) -> list[Any]:
        audio = [
            file
            for item in getattr(self, kind)
            for file in (recordings_in(item) if not isinstance(item, tuple) and Path(item).is_dir() else [item])
        ]
        return sources_of(KINDS[kind].partition(" (")[0].removesuffix("s"), audio)


@dataclass(frozen=True)
class Run:
    """How a system is trained; None leaves a choice to the system. See `partae_fast.training.trainer.Trainer`."""

    steps: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float = 0.0
    penalty: float | None = None
    seed: int = 0
    backend: str = "auto"
    device: str | torch.device | None = None
    checkpoint: PathLike | None = None
    resume: bool = False
    overwrite: bool = False
    progress: bool | None = None
    history: PathLike | None = None
    tensorboard: PathLike | None = None

    def chosen_device(self) -> torch.device:
        """The device to train on: the one asked for, else a GPU where there is one and the back-end can use it."""
        return chosen_device(self.device, self.backend)


def train(
    model: Any,
    sampler: Sampler,
    run: Run,
    source: str,
    steps: int,
    optimizer: str = "adam",
    learning_rate: float | None = None,
    penalty: float = 0.0,
    options: dict[str, float] | None = None,
    plateau: Plateau | None = None,
) -> Any:
    """Train a model on a sampler's batches, with checkpoint and record; returns it with `history`.

    What the run does not say is as the other arguments have it. `source` is where the system was published; `options`
    are the optimiser's own settings, which another optimizer than `optimizer` does not get; `plateau` is as for
    `Trainer`.
    """
    own = run.optimizer in (None, optimizer)
    options = {**(options or {} if own else {}), "weight_decay": run.weight_decay}
    steps = steps if run.steps is None else run.steps
    if steps < 0:
        raise UserError(f"steps is {steps}; it must be 0 or more")
    with contextlib.ExitStack() as open_files:
        if run.checkpoint:
            open_files.enter_context(only_writer(run.checkpoint))
        about = {"source": source}
        sinks: list[Any] = [] if run.history is None else [JsonLines(run.history, about, run.resume)]
        record = Record(sinks if run.tensorboard is None else [*sinks, TensorBoard(run.tensorboard)])
        open_files.callback(record.close)
        trainer = Trainer(
            model.to(run.chosen_device()),
            sampler,
            penalty=penalty if run.penalty is None else run.penalty,
            optimizer=run.optimizer or optimizer,
            learning_rate=learning_rate if run.learning_rate is None and own else run.learning_rate,
            options=options,
            backend=run.backend,
            checkpoint=run.checkpoint,
            resume=run.resume,
            overwrite=run.overwrite,
            progress=run.progress,
            watch=record.watch,
            plateau=plateau,
        )
        record.begin(trainer)
        if run.checkpoint is not None and trainer.step >= steps > 0:
            logger.info("%s: %d steps were done already, of %d", run.checkpoint, trainer.step, steps)
        trainer.run(max(0, steps - trainer.step))
        record.end(trainer)
    model.history = trainer.history
    return model


def fit_system(
    name: str,
    *,
    recordings: Sequence[Audio] = (),
    noise: Sequence[Audio] = (),
    labels: PathLike | Sequence[PathLike] = (),
    clean: Sequence[Audio] = (),
    stems: PathLike | Sequence[PathLike] = (),
    speech: PathLike | Sequence[PathLike] = (),
    rules: labelling.Rules | None = None,
    label_format: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **run: Any,
) -> Any:
    """Train one of `SYSTEMS` by its name; returns the model, ready to denoise or separate.

    Args:
        name: of the system, such as "curro".
        recordings, noise, clean: files, folders of them, or pairs (samples (T,) or (T, channels), rate in Hz): noisy
            recordings, recordings of noise alone, and clean ones of what is wanted; which of these a system needs and
            takes, `SYSTEMS` says, and whoever gives too little or too much is told.
        labels, rules, label_format: weak labels for `recordings`; see `fit`.
        stems, speech: folders.
        settings: the system's own, by name; see `Settings` in its module.
        run: fields of `Run`, such as steps, seed, device, checkpoint.

    Raises UserError, one line, for whatever is wrong with files or settings.
    """
    unknown = sorted(set(run) - {entry.name for entry in fields(Run)})
    if unknown:
        raise UserError(f"fit_system has no argument {unknown[0]!r}; what is the system's own goes into settings")
    lists = {
        kind: [value] if isinstance(value, str | os.PathLike) else value
        for kind, value in (("labels", labels), ("stems", stems), ("speech", speech))
    }
    given = Given(recordings, noise, clean=clean, rules=rules or labelling.Rules(), label_format=label_format, **lists)
    system = system_named(name)
    return system.fit(given, system.settings(settings), Run(**run))


def _as(name: str, value: Any, default: Any) -> Any:
    """A setting's value of its default's kind."""
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(default)]
    text = str(value).strip()
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        return float(text) if isinstance(default, float) else text
    except (KeyError, ValueError):
        raise UserError(f"{name} is {value!r}; it must be {wanted}, such as {default}") from None
